// The program's table of contents: which subcommand does what.
#include <string>
#include <variant>
#include <vector>

#include "app/arguments.h"
#include "app/cmd_monitor.h"
#include "app/commands.h"
#include "app/console.h"
#include "run/run_program.h"

namespace defib::app {
namespace {

struct Obey {
  const Console& console;

  int operator()(const MonitorFlags& flags) const { return cmd_monitor(flags); }
  int operator()(const run::RunOptions& options) const { return run::run_program(options); }
  int operator()(const PingFlags& flags) const { return cmd_ping(flags, console); }
  int operator()(const AgentsFlags& flags) const { return cmd_agents(flags, console); }
  int operator()(const AgentFlags& flags) const { return cmd_agent(flags, console); }
  int operator()(const WhyFlags& flags) const { return cmd_why(flags, console); }
  int operator()(const IncidentsFlags& flags) const { return cmd_incidents(flags, console); }
  int operator()(const EventsFlags& flags) const { return cmd_events(flags, console); }
  int operator()(const RecoverFlags& flags) const { return cmd_recover(flags, console); }
  int operator()(const IncidentWishFlags& flags) const { return cmd_incident_wish(flags, console); }
  int operator()(const CheckConfigFlags& flags) const { return cmd_check_config(flags, console); }
  int operator()(const VersionFlags&) const { return cmd_version(console); }
};

int run(int count, char** words) {
  const Console console = process_console();
  const Arguments arguments =
      read_arguments(std::vector<std::string>(words + (count > 0 ? 1 : 0), words + count), console);
  return arguments.flags ? std::visit(Obey{console}, *arguments.flags) : arguments.exit_code;
}

}  // namespace
}  // namespace defib::app

int main(int count, char** words) { return defib::app::run(count, words); }
