#include "run/run_program.h"

#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <fmt/format.h>
#include <memory>
#include <sys/random.h>
#include <unistd.h>

#include "base/ids.h"
#include "base/text.h"
#include "core/types.h"
#include "net/proc.h"
#include "run/monitor_link.h"
#include "run/runner.h"

namespace defib::run {
namespace {

// Longer instance ids would not fit in the beats' bounds.
constexpr std::size_t kInstanceBytesMax = 64;

std::string environment(const char* name, const std::string& otherwise = {}) {
  const char* value = std::getenv(name);
  return value == nullptr || *value == '\0' ? otherwise : value;
}

int refuse(std::string_view why) {
  fmt::print(stderr, "defib run: {}\n", why);
  return kExitOwnFault;
}

// A descriptor that we open must never become somebody's stdin, stdout or stderr.
void open_standard_descriptors() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (fcntl(fd, F_GETFD) < 0) [[maybe_unused]]
      const int opened = open("/dev/null", O_RDWR);
  }
}

bool has_terminal() {
  const UniqueFd terminal(open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY));
  return terminal.is_open();
}

// Whoever starts us in another's place says which instance the first start is; one that was meant for the agent
// around us (the runner's own program starting a runner) is not ours.
std::string given_instance(const std::string& agent_id) {
  const std::string instance = environment("DEFIB_INSTANCE");
  const bool is_for_us = environment("DEFIB_AGENT_ID", agent_id) == agent_id;
  return is_for_us && instance.size() <= kInstanceBytesMax ? instance : std::string();
}

// What every start of the program finds in its environment, besides DEFIB_INSTANCE.
void prepare_environment(const std::string& agent_id, const std::string& url, bool is_redis) {
  setenv("DEFIB_AGENT_ID", agent_id.c_str(), 1);
  setenv("AGENT_ID", agent_id.c_str(), 1);
  setenv("DEFIB_URL", url.c_str(), 1);
  // The program may have a Redis of its own, which is none of our business.
  if (is_redis) setenv("REDIS_URL", url.c_str(), 0);
}

}  // namespace

std::string default_agent_id(std::string_view command, std::string_view host) {
  while (command.ends_with('/')) command.remove_suffix(1);
  std::string id = fmt::format("{}-{}", command.substr(command.rfind('/') + 1), host);
  for (char& c : id) {
    if (!is_valid_agent_id(std::string_view(&c, 1)) && c != '-' && c != '.') c = '-';
  }
  id.erase(0, std::min(id.find_first_not_of("-."), id.size()));
  id.resize(std::min(id.size(), kAgentIdBytesMax));
  return id.empty() ? "program" : id;
}

int run_program(const RunOptions& options) {
  open_standard_descriptors();
  if (options.command.empty() || options.command[0].empty())
    return refuse("no command: say `defib run -- COMMAND ...`");
  if (options.interval < core::kIntervalMin || options.interval > core::kIntervalMax) {
    return refuse(fmt::format("an interval is {} to {}", format_duration(core::kIntervalMin),
                              format_duration(core::kIntervalMax)));
  }
  const std::string host = net::read_host_name();
  const std::string id = options.id.empty() ? default_agent_id(options.command[0], host) : options.id;
  if (!is_valid_agent_id(id)) return refuse(kAgentIdRule);
  const std::string url_text =
      options.url.empty() ? environment("DEFIB_URL", std::string(kDefaultMonitorUrl)) : options.url;
  const Result<MonitorUrl> url = parse_monitor_url(url_text);
  if (!url) return refuse(url.error());

  RunnerSetup setup{.command = options.command,
                    .agent_id = id,
                    .agent_type = options.type,
                    .host = host,
                    .first_instance = given_instance(id),
                    .interval = options.interval,
                    .kill_grace = options.kill_grace,
                    .restart = options.restart,
                    .has_terminal = has_terminal()};
  if (getrandom(&setup.seed, sizeof setup.seed, 0) != sizeof setup.seed) return refuse("no random numbers to be had");
  LinkOptions link{.url = url.value(),
                   .token = options.token.empty() ? environment("DEFIB_TOKEN") : options.token,
                   .agent_id = id,
                   .name_space = options.name_space.empty() ? environment("DEFIB_NAMESPACE") : options.name_space,
                   .interval = options.interval,
                   .seed = setup.seed};
  prepare_environment(id, url_text, url.value().is_redis());
  Runner runner(std::move(setup),
                url.value().is_redis() ? make_resp_link(std::move(link)) : make_http_link(std::move(link)));
  return runner.run();
}

}  // namespace defib::run
