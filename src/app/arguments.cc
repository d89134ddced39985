#include "app/arguments.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <fmt/format.h>
#include <functional>
#include <limits>
#include <memory>
#include <ostream>
#include <span>

#include <CLI/CLI.hpp>

#include "app/config_section.h"
#include "base/ids.h"
#include "base/text.h"
#include "core/types.h"

namespace defib::app {
namespace {

constexpr std::string_view kDefaultServer = "http://127.0.0.1:7070";

std::string environment(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool is_http_url(std::string_view url) { return url.starts_with("http://") || url.starts_with("https://"); }

// DEFIB_URL may also name a Redis or the agents' endpoint (redis://), which answers no questions.
std::string default_server() {
  const std::string url = environment("DEFIB_URL");
  return is_http_url(url) ? url : std::string(kDefaultServer);
}

std::string check_server(const std::string& url) {
  return is_http_url(url) ? "" : fmt::format("{} is no address of a monitor: it begins with http:// or https://", url);
}

std::string check_agent_id(const std::string& id) { return is_valid_agent_id(id) ? "" : std::string(kAgentIdRule); }

std::string check_interval(const std::string& text) {
  const Result<Duration> read = parse_duration(text);
  if (!read) return read.error();
  return read.value() < core::kIntervalMin || read.value() > core::kIntervalMax ? "an interval is from 100ms to 7d"
                                                                                : "";
}

// A check that the text is one of `names`, told with the nearest.
template <std::size_t N>
auto one_of(const std::array<std::string_view, N>& names) {
  return [&names](const std::string& text) -> std::string {
    if (std::find(names.begin(), names.end(), text) != names.end()) return "";
    return fmt::format("{} is not {}{}", shown(text), name_list(names, "or"), did_you_mean(text, names));
  };
}

// A check that the text is a whole number from `least` to `most`.
auto number_within(std::uint64_t least, std::uint64_t most) {
  return [least, most](const std::string& text) -> std::string {
    std::uint64_t number = 0;
    const char* const end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, number);
    const bool is_good = error == std::errc() && rest == end && number >= least && number <= most;
    return is_good ? "" : fmt::format("{} is not a whole number from {} to {}", shown(text), least, most);
  };
}

constexpr const char* kTokenHelp = "the monitor's token; better in DEFIB_TOKEN, where no list of processes shows it";
constexpr std::array<std::string_view, 3> kRestartRules = {"no", "on-failure", "always"};  // In RestartMode's order.
constexpr std::array<std::string_view, 6> kAgentStates = {"starting", "healthy", "missing",
                                                          "failed",   "stalled", "stopped"};
constexpr std::array<std::string_view, 3> kIncidentStates = {"open", "closed", "all"};

// Declares all subcommands, and holds their flags while CLI11 fills them.
class Reader {
 public:
  explicit Reader(Arguments& out)
      : out_(out), app_("Watches a fleet of AI agents, and brings back those that stop.", "defib") {
    app_.require_subcommand(1);
    app_.set_version_flag("--version", "defib " DEFIB_VERSION, "print the version");
    app_.set_help_flag("-h,--help", "print this help");
    app_.footer("`defib COMMAND --help` tells more, with an example. Exit codes: 0 well, 1 a clear no, 2 wrong use.");
    add_monitor();
    add_run();
    add_ping();
    add_agents();
    add_agent();
    add_why();
    add_incidents();
    add_events();
    add_recover();
    add_incident_wish("ack", IncidentWish::acknowledge, "acknowledge an incident: its alerts are repeated no more");
    add_incident_wish("close", IncidentWish::close, "close an incident by hand");
    add_check_config();
    add_version();
  }

  CLI::App& app() { return app_; }

 private:
  CLI::App* add(const std::string& name, const std::string& description, const std::string& example) {
    CLI::App* const command = app_.add_subcommand(name, description);
    command->footer("Example: " + example);
    return command;
  }
  // Flags that outlive the declaration; `finish` is the last hand on them, once all have been read.
  template <typename T>
  std::shared_ptr<T> flags_of(
      CLI::App* command, std::function<void(T&)> finish = [](T&) {}) {
    auto flags = std::make_shared<T>();
    command->final_callback([this, flags, finish = std::move(finish)] {
      finish(*flags);
      if constexpr (requires { flags->server.server; }) {
        // Paths begin with a slash.
        while (flags->server.server.ends_with('/')) flags->server.server.pop_back();
      }
      out_.flags = *flags;
    });
    return flags;
  }
  static void add_token(CLI::App* command, std::string& token) {
    token = environment("DEFIB_TOKEN");
    command->add_option("--token", token, kTokenHelp)->type_name("TOKEN");
  }
  static void add_server(CLI::App* command, ServerFlags& server) {
    server.server = default_server();
    command->add_option("--server,--url", server.server, "the monitor (default: DEFIB_URL, else http://127.0.0.1:7070)")
        ->type_name("URL")
        ->check(check_server);
    add_token(command, server.token);
    command->add_flag("--json", server.is_json, "print JSON, for machines");
  }
  static void add_id(CLI::App* command, std::string& id) {
    command->add_option("ID", id, "the agent's id")->required()->type_name(" ")->check(check_agent_id);
  }
  static void add_limit(CLI::App* command, std::size_t& limit, const std::string& what) {
    command->add_option("--limit", limit, fmt::format("at most so many {} (default {})", what, limit))
        ->type_name("N")
        ->check(number_within(1, 10'000'000));
  }

  void add_monitor() {
    CLI::App* const command = add("monitor", "watch agents, and recover those that fail",
                                  "defib monitor --config defib.yaml --data-dir /var/lib/defib");
    const auto flags = flags_of<MonitorFlags>(command);
    if (const std::string token = environment("DEFIB_TOKEN"); !token.empty()) flags->token = token;
    const auto option = [&](const char* name, std::optional<std::string>& to, const char* type, const char* what) {
      command->add_option(name, to, what)->type_name(type);
    };
    option("--config", flags->config, "FILE", "the configuration (YAML); a flag beats it");
    option("--http", flags->http, "ADDR", "where to serve HTTP (default 127.0.0.1:7070)");
    option("--agents", flags->agents, "ADDR", "where agents connect, as to Redis (default 127.0.0.1:7379)");
    option("--redis", flags->redis, "URL", "a Redis to hear agents on (not in this version)");
    option("--data-dir", flags->data_dir, "DIR", "keeps the journal (default ./defib-data); `memory` keeps nothing");
    option("--state", flags->state, "WHERE", "where state is kept: journal (redis is not in this version)");
    option("--token", flags->token, "TOKEN",
           "what callers must show; better in DEFIB_TOKEN, where no list of processes shows it");
  }

  void add_run() {
    CLI::App* const command =
        add("run", "run a program as an agent: beat for it, watch it, restart it. It stands after `--`",
            "defib run --id planner-1 -- python3 planner.py");
    const auto interval = std::make_shared<std::string>("30s");
    const auto restart = std::make_shared<std::string>("on-failure");
    const auto flags = flags_of<run::RunOptions>(command, [interval, restart](run::RunOptions& run) {
      run.interval = parse_duration(*interval).value();
      const auto* const rule = std::find(kRestartRules.begin(), kRestartRules.end(), *restart);
      run.restart = static_cast<run::RestartMode>(rule - kRestartRules.begin());
    });
    command->add_option("--id", flags->id, "the agent's id (default: from the host and the program)")
        ->type_name("ID")
        ->check(check_agent_id);
    command->add_option("--type", flags->type, "the agent's type, which policies can match")->type_name("TYPE");
    command->add_option("--interval", *interval, "how often to beat (default 30s)")
        ->type_name("DURATION")
        ->check(check_interval);
    command
        ->add_option("--url", flags->url,
                     "the monitor: http://, https:// or redis:// (default: DEFIB_URL, else redis://127.0.0.1:7379)")
        ->type_name("URL");
    command->add_option("--restart", *restart, "when no monitor decides: no, on-failure (default) or always")
        ->type_name("RULE")
        ->check(one_of(kRestartRules));
    command->add_option("--token", flags->token, kTokenHelp)->type_name("TOKEN");
  }

  void add_ping() {
    CLI::App* const command =
        add("ping", "one beat, from a shell or a cron job", "backup.sh; defib ping --id backup --exit-code $?");
    const auto flags = flags_of<PingFlags>(command);
    command->add_option("--id", flags->id, "the agent's id")->required()->type_name("ID")->check(check_agent_id);
    auto* const kinds = command->add_option_group("kind", "What it says (default: I am well)");
    kinds->require_option(0, 1);
    kinds->add_flag_callback(
        "--start", [flags] { flags->kind = PingKind::start; }, "a run begins");
    kinds->add_flag_callback(
        "--fail", [flags] { flags->kind = PingKind::fail; }, "the run failed");
    kinds->add_option("--log", flags->text, "a line for the record, which proves nothing")->type_name("TEXT");
    kinds->add_option("--exit-code", flags->exit_code, "the run ended with it: 0 is a success, anything else a failure")
        ->type_name("N")
        ->check(number_within(0, 255));
    command->add_option("--type", flags->type, "the agent's type, which policies can match")->type_name("TYPE");
    command->add_option("--interval", flags->interval, "how long until the next ping is due (default: the policy's)")
        ->type_name("DURATION")
        ->check(check_interval);
    command->parse_complete_callback([flags, kinds] {
      if (kinds->count("--log") > 0) flags->kind = PingKind::log;
      if (kinds->count("--exit-code") > 0) flags->kind = PingKind::exit_code;
    });
    add_server(command, flags->server);
  }

  void add_agents() {
    CLI::App* const command = add("agents", "list the agents, those in trouble first", "defib agents --state failed");
    const auto flags = flags_of<AgentsFlags>(command);
    command->add_option("--state", flags->state, "only those in this state")
        ->type_name("STATE")
        ->check(one_of(kAgentStates));
    command->add_option("--type", flags->type, "only those of this type")->type_name("TYPE");
    command->add_option("--text", flags->text, "only those with this in their id")->type_name("TEXT");
    add_limit(command, flags->limit, "agents");
    add_server(command, flags->server);
  }

  void add_agent() {
    CLI::App* const command = add("agent", "show one agent", "defib agent planner-1");
    const auto flags = flags_of<AgentFlags>(command);
    add_id(command, flags->id);
    add_server(command, flags->server);
  }

  void add_why() {
    CLI::App* const command =
        add("why", "say why an agent is in its state, and what would change that next", "defib why planner-1");
    const auto flags = flags_of<WhyFlags>(command);
    add_id(command, flags->id);
    add_server(command, flags->server);
  }

  void add_incidents() {
    CLI::App* const command = add("incidents", "list incidents, newest first, or show one with what was tried",
                                  "defib incidents --state open");
    const auto flags = flags_of<IncidentsFlags>(command);
    command->add_option("NUMBER", flags->number, "show this one")->type_name(" ")->check(number_within(1, kNumberMax));
    command->add_option("--state", flags->state, "open, closed or all (default)")
        ->type_name("STATE")
        ->check(one_of(kIncidentStates));
    add_limit(command, flags->limit, "incidents");
    add_server(command, flags->server);
  }

  void add_events() {
    CLI::App* const command = add("events", "print what happened lately", "defib events -f");
    const auto flags = flags_of<EventsFlags>(command);
    command->add_flag("-f,--follow", flags->follows, "go on with what happens from now on");
    command->add_option("--last", flags->last, fmt::format("begin with so many of the past (default {})", flags->last))
        ->type_name("N")
        ->check(number_within(0, 1000));
    add_server(command, flags->server);
  }

  void add_recover() {
    CLI::App* const command = add("recover", "recover an agent now, by its policy's ladder", "defib recover planner-1");
    const auto flags = flags_of<RecoverFlags>(command);
    add_id(command, flags->id);
    command->add_flag("--force", flags->force, "even where the agent is healthy");
    add_server(command, flags->server);
  }

  void add_incident_wish(const std::string& name, IncidentWish wish, const std::string& description) {
    CLI::App* const command = add(name, description, fmt::format("defib {} 17", name));
    const auto flags = flags_of<IncidentWishFlags>(command);
    flags->wish = wish;
    command->add_option("NUMBER", flags->number, "the incident's number")
        ->required()
        ->type_name(" ")
        ->check(number_within(1, kNumberMax));
    add_server(command, flags->server);
  }

  void add_check_config() {
    CLI::App* const command = add("check-config", "find every mistake in a configuration, and say what it asks for",
                                  "defib check-config defib.yaml");
    const auto flags = flags_of<CheckConfigFlags>(command);
    command->add_option("FILE", flags->file, "the configuration (YAML)")->required()->type_name(" ");
  }

  void add_version() { flags_of<VersionFlags>(add("version", "print the version", "defib version")); }

  static constexpr std::uint64_t kNumberMax = std::numeric_limits<std::int64_t>::max();

  Arguments& out_;
  CLI::App app_;
};

std::vector<std::string> command_names(const CLI::App& app) {
  std::vector<std::string> out;
  for (const CLI::App* const command : app.get_subcommands({})) out.push_back(command->get_name());
  return out;
}

// All "--name"s of a subcommand, those of its option groups included.
std::vector<std::string> option_names(const CLI::App& command) {
  std::vector<std::string> out;
  for (const CLI::Option* const option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) out.push_back("--" + name);
  }
  for (const CLI::App* const group : command.get_subcommands({})) {
    for (std::string& name : option_names(*group)) out.push_back(std::move(name));
  }
  return out;
}

std::string hint_of(std::string_view word, const std::vector<std::string>& candidates) {
  return did_you_mean(word, std::vector<std::string_view>(candidates.begin(), candidates.end()));
}

Arguments wrong_use(const Console& console, std::string_view command, std::string_view what) {
  const std::string_view gap = command.empty() ? "" : " ";
  console.err << fmt::format("defib{0}{1}: {2}\nSee `defib{0}{1} --help`.\n", gap, command, what);
  return {.exit_code = 2};
}

// CLI11 knows nothing of what stands behind `--`.
std::string help_of(const CLI::App& command, bool is_subcommand) {
  std::string help = command.help(is_subcommand ? "defib" : "", CLI::AppFormatMode::Normal);
  constexpr std::string_view kRunUsage = "Usage: defib run [OPTIONS]";
  if (const std::size_t usage = help.find(kRunUsage); usage != std::string::npos) {
    help.insert(usage + kRunUsage.size(), " -- COMMAND [ARGUMENT...]");
  }
  return help;
}

Arguments explain(const CLI::ParseError& error, const CLI::App& app, const Console& console) {
  const std::vector<CLI::App*> chosen = app.get_subcommands();
  const CLI::App& command = chosen.empty() ? app : *chosen.front();
  if (error.get_exit_code() == 0) {
    const bool is_version = dynamic_cast<const CLI::CallForVersion*>(&error) != nullptr;
    console.out << (is_version ? fmt::format("{}\n", error.what()) : help_of(command, !chosen.empty()));
    return {};
  }
  const std::string name = chosen.empty() ? "" : command.get_name();
  for (const std::string& word : command.remaining()) {
    const std::string option = word.substr(0, word.find('='));
    if (option.starts_with("-")) {
      return wrong_use(console, name,
                       fmt::format("unknown option {}{}", shown(option), hint_of(option, option_names(command))));
    }
    if (name == "run")
      return wrong_use(console, name,
                       fmt::format("write the program behind `--`, like `defib run -- {}`", shown(word)));
    return wrong_use(console, name, fmt::format("{} is one argument too many", shown(word)));
  }
  return wrong_use(console, name, error.what());
}

}  // namespace

Arguments read_arguments(const std::vector<std::string>& words, const Console& console) {
  Arguments out;
  Reader reader(out);
  CLI::App& app = reader.app();
  if (words.empty()) {
    console.err << app.help();
    return {.exit_code = 2};
  }
  const std::vector<std::string> names = command_names(app);
  if (!words.front().starts_with("-") && std::find(names.begin(), names.end(), words.front()) == names.end()) {
    return wrong_use(console, "",
                     fmt::format("unknown command {}{}", shown(words.front()), hint_of(words.front(), names)));
  }
  // All behind `--` is the program's own, whatever it looks like, so CLI11 does not see it.
  const auto dashes = words.front() == "run" ? std::find(words.begin(), words.end(), "--") : words.end();
  std::vector<std::string> reversed(words.begin(), dashes);
  std::reverse(reversed.begin(), reversed.end());
  try {
    app.parse(reversed);
  } catch (const CLI::ParseError& error) {
    return explain(error, app, console);
  }
  if (auto* const run = std::get_if<run::RunOptions>(&*out.flags)) {
    if (dashes != words.end()) run->command.assign(dashes + 1, words.end());
    if (run->command.empty())
      return wrong_use(console, "run", "no program: write it behind `--`, like `defib run -- python3 agent.py`");
  }
  return out;
}

}  // namespace defib::app
