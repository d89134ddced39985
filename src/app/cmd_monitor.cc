#include "app/cmd_monitor.h"

#include <cstdio>
#include <fmt/format.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <utility>

#include "app/config.h"
#include "app/daemon.h"

namespace defib::app {
namespace {

void set_up_log() {
  auto logger = spdlog::stderr_color_mt("defib");
  logger->set_pattern("%H:%M:%S.%e %^%L%$ %v");
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
}

void lay_over(Config& config, const MonitorFlags& flags) {
  const auto take = [](std::string& value, const std::optional<std::string>& flag) {
    if (flag) value = *flag;
  };
  take(config.http, flags.http);
  take(config.agents, flags.agents);
  take(config.redis, flags.redis);
  take(config.data_dir, flags.data_dir);
  take(config.state, flags.state);
  take(config.token, flags.token);
}

}  // namespace

int cmd_monitor(const MonitorFlags& flags) {
  set_up_log();
  ConfigReading reading;
  if (flags.config) reading = read_config_file(*flags.config);
  if (reading.mistakes.empty()) {
    lay_over(reading.config, flags);
    reading.mistakes = check_config(reading.config);
  }
  const std::string where = flags.config.value_or("defib monitor");
  for (const ConfigMistake& mistake : reading.mistakes) fmt::print(stderr, "{}\n", mistake_line(where, mistake, ""));
  if (!reading.mistakes.empty()) return 2;
  for (const ConfigMistake& warning : reading.warnings) {
    fmt::print(stderr, "{}\n", mistake_line(where, warning, "warning: "));
  }

  Daemon daemon(std::move(reading.config), flags.config.value_or(""));
  return daemon.run();
}

}  // namespace defib::app
