// `defib run` without its command line, for the tests of this room.
//
// run_probe [--id I] [--url U] [--token T] [--type T] [--interval-ms N] [--grace-ms N] [--restart MODE] -- COMMAND ...
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

#include "run/run_program.h"

int main(int argument_count, char** arguments) {
  defib::run::RunOptions options;
  int i = 1;
  for (; i + 1 < argument_count && std::string(arguments[i]) != "--"; i += 2) {
    const std::string flag = arguments[i];
    const std::string value = arguments[i + 1];
    const std::map<std::string, defib::run::RestartMode> modes = {{"no", defib::run::RestartMode::no},
                                                                  {"on-failure", defib::run::RestartMode::on_failure},
                                                                  {"always", defib::run::RestartMode::always}};
    if (flag == "--id") options.id = value;
    if (flag == "--url") options.url = value;
    if (flag == "--token") options.token = value;
    if (flag == "--type") options.type = value;
    if (flag == "--interval-ms") options.interval = defib::from_ms(std::atoll(value.c_str()));
    if (flag == "--grace-ms") options.kill_grace = defib::from_ms(std::atoll(value.c_str()));
    if (flag == "--restart") options.restart = modes.at(value);
  }
  options.command.assign(arguments + i + 1, arguments + argument_count);
  return defib::run::run_program(options);
}
