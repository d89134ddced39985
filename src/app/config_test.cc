#include "app/config.h"

#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <gtest/gtest.h>
#include <set>
#include <sstream>

namespace defib::app {
namespace {

namespace fs = std::filesystem;

std::string read_text(const fs::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// As the .expected files write it: one finding a line, mistakes first.
std::string told(const ConfigReading& reading) {
  std::string out;
  for (const ConfigMistake& mistake : reading.mistakes) {
    out += fmt::format("{}:{}: {}\n", mistake.line, mistake.column, mistake.message);
  }
  for (const ConfigMistake& warning : reading.warnings) {
    out += fmt::format("warning {}:{}: {}\n", warning.line, warning.column, warning.message);
  }
  return out;
}

ConfigReading read_clean(std::string_view yaml) {
  ConfigReading reading = read_config(yaml);
  EXPECT_EQ(told(reading), "");
  return reading;
}

class ConfigFiles : public testing::Test {
 protected:
  void SetUp() override {
    ::setenv("DEFIB_TEST_WEBHOOK", "https://alerts.example/secret-path", 1);
    ::setenv("DEFIB_TEST_WORD", "sekrit-word", 1);
    ::unsetenv("DEFIB_TEST_ABSENT");
  }
};

// One bad file a rule, each with what must be told beside it; a file that has nothing to tell has an empty
// .expected. No message may show a value from the environment.
TEST_F(ConfigFiles, EachFileIsToldExactlyWhatStandsBesideIt) {
  std::set<fs::path> files;
  for (const auto& entry : fs::directory_iterator(fs::path(DEFIB_SOURCE_DIR) / "tests/config")) {
    if (entry.path().extension() == ".yaml") files.insert(entry.path());
  }
  ASSERT_GE(files.size(), 40U);
  for (const fs::path& file : files) {
    SCOPED_TRACE(file.filename());
    fs::path expected = file;
    expected.replace_extension(".expected");
    ASSERT_TRUE(fs::exists(expected)) << "write what must be told into " << expected.filename();
    const std::string found = told(read_config_file(file.string()));
    EXPECT_EQ(found, read_text(expected));
    EXPECT_EQ(found.find("sekrit"), std::string::npos);
    EXPECT_EQ(found.find("secret-path"), std::string::npos);
  }
}

TEST(Config, AnEmptyTextIsAllDefaults) {
  for (const std::string_view text : {"", "\n", "# nothing\n", "---\n", "{}"}) {
    const ConfigReading reading = read_clean(text);
    EXPECT_EQ(reading.config.http, "127.0.0.1:7070");
    EXPECT_EQ(reading.config.agents, "127.0.0.1:7379");
    EXPECT_EQ(reading.config.data_dir, "./defib-data");
    EXPECT_EQ(reading.config.rules, core::Rules{});
  }
}

TEST(Config, EveryKeyArrivesWhereItBelongs) {
  const ConfigReading reading = read_clean(R"(
http: 0.0.0.0:8080
agents: "[::1]:0"
data_dir: memory
state: journal
namespace: prod
token: abc123
allow_open: true
alert_repeat: 1h
guard: {share: 40%, within: 10s, at_least: 7, holds_at_most: 2m}
fleet_limits: {at_once: 3, per_minute: 9}
keep: {stopped_agents: 1h, events: 2d, incidents: 3d}
bounds: {agents: 5000}
policies:
  - match: {id: "a-*", type: planner}
    interval: 10s
    missed_beats: 4
    startup_grace: 2m
    mode: observe
    exit_zero: failed
    stall: {no_progress: 5m, repeats: 9, longest_hold: 1h, mode: enforce}
    recovery:
      - restart: {with: runner}
      - replace: {with: exec, command: [/bin/new, "{agentId}"], verify_within: 30s, timeout: 5s, allow_two: true}
      - alert: {to: [oncall]}
    limits: {recoveries: 2, per: 1m}
  - match: {type: "x"}
    recovery: []
  - match: {id: "*"}
alerts:
  oncall: {webhook: {url: "https://example.test/hook", headers: {X-Key: v}}}
)");
  const Config& config = reading.config;
  EXPECT_EQ(config.http, "0.0.0.0:8080");
  EXPECT_EQ(config.agents, "[::1]:0");
  EXPECT_EQ(config.data_dir, "memory");
  EXPECT_EQ(config.name_space, "prod");
  EXPECT_EQ(config.token, "abc123");
  EXPECT_TRUE(config.allow_open);
  EXPECT_EQ(config.rules.alert_repeat, 1h);
  EXPECT_EQ(config.rules.guard, (core::GuardRule{40, 10s, 7, 2min}));
  EXPECT_EQ(config.rules.limits, (core::FleetLimits{3, 9}));
  EXPECT_EQ(config.rules.keep, (core::Keep{1h, 48h, 72h}));
  EXPECT_EQ(config.rules.bounds.agents, 5000U);
  ASSERT_EQ(config.channels.size(), 1U);
  EXPECT_EQ(config.channels[0].name, "oncall");
  EXPECT_EQ(config.channels[0].kind, "webhook");
  EXPECT_EQ(config.channels[0].url, "https://example.test/hook");
  EXPECT_EQ(config.channels[0].headers, (std::vector<std::pair<std::string, std::string>>{{"X-Key", "v"}}));
  EXPECT_EQ(config.rules.channels, (std::vector<std::string>{"oncall"}));

  core::Policy first;
  first.match_id = "a-*";
  first.match_type = "planner";
  first.interval = 10s;
  first.missed_beats = 4;
  first.startup_grace = 2min;
  first.mode = core::Mode::observe;
  first.exit_zero = core::State::failed;
  first.stall = {5min, 9, 1h, core::Mode::enforce};
  first.recovery = {{.kind = core::StepKind::restart, .with = "runner", .attempts = 2},
                    {.kind = core::StepKind::replace,
                     .with = "exec",
                     .command = {"/bin/new", "{agentId}"},
                     .attempts = 1,
                     .verify_within = 30s,
                     .timeout = 5s,
                     .allow_two = true},
                    {.kind = core::StepKind::alert, .to = {"oncall"}}};
  first.limits = {2, 1min};
  ASSERT_EQ(config.rules.policies.size(), 3U);
  EXPECT_EQ(config.rules.policies[0], first);
  // "[]" is verdicts only; no `recovery` at all is an alert to all channels.
  EXPECT_TRUE(config.rules.policies[1].recovery.empty());
  ASSERT_EQ(config.rules.policies[2].recovery.size(), 1U);
  EXPECT_EQ(config.rules.policies[2].recovery[0], core::Step{.kind = core::StepKind::alert});
}

TEST_F(ConfigFiles, ValuesComeFromTheEnvironment) {
  const ConfigReading reading = read_clean(
      "token: \"a-${DEFIB_TEST_WORD}-b\"\ndata_dir: \"$${HOME}/x\"\nalerts: {a: {webhook: {url: "
      "\"${DEFIB_TEST_WEBHOOK}\"}}}\n");
  EXPECT_EQ(reading.config.token, "a-sekrit-word-b");
  EXPECT_EQ(reading.config.data_dir, "${HOME}/x");
  EXPECT_EQ(reading.config.channels.at(0).url, "https://alerts.example/secret-path");
}

TEST_F(ConfigFiles, TheEnvironmentCannotBlowAFileUp) {
  const std::string large(100'000, 'x');
  ::setenv("DEFIB_TEST_LARGE", large.c_str(), 1);
  std::string yaml = "policies:\n";
  for (int i = 0; i < 20; ++i) yaml += "  - match: {id: \"${DEFIB_TEST_LARGE}\"}\n";
  const std::string found = told(read_config(yaml));
  EXPECT_NE(found.find("the environment's values make this file larger"), std::string::npos);
  ::unsetenv("DEFIB_TEST_LARGE");
}

TEST(Config, HostileTextsAreOneMistakeEach) {
  EXPECT_NE(told(read_config(std::string((std::size_t{1} << 20) + 1, '#'))).find("too many for a configuration"),
            std::string::npos);
  EXPECT_NE(told(read_config(std::string(100'000, '['))).find("not YAML"), std::string::npos);
  EXPECT_NE(told(read_config("a: " + std::string(20, '[') + std::string(20, ']'))).find("nested deeper"),
            std::string::npos);
  EXPECT_NE(told(read_config(std::string_view("http: a\0b", 9))).find("zero byte"), std::string::npos);
  std::string many;
  for (int i = 0; i < 5000; ++i) many += fmt::format("k{}: 1\n", i);
  EXPECT_EQ(read_config(many).mistakes.size(), 200U);
}

TEST(Config, AFileThatCannotBeReadIsOneMistake) {
  EXPECT_EQ(told(read_config_file("/nonexistent/defib.yaml")), "0:0: can't be opened: No such file or directory\n");
  EXPECT_EQ(told(read_config_file("/")), "0:0: can't be read: Is a directory\n");
}

TEST(CheckConfig, ListeningWideNeedsATokenOrTheOperatorsWord) {
  Config config;
  EXPECT_TRUE(check_config(config).empty());
  config.http = "0.0.0.0:7070";
  ASSERT_EQ(check_config(config).size(), 1U);
  EXPECT_NE(check_config(config)[0].message.find("open to other machines"), std::string::npos);
  config.agents = "[::]:7379";
  EXPECT_EQ(check_config(config).size(), 2U);
  config.token = "t";
  EXPECT_TRUE(check_config(config).empty());
  config.token.clear();
  config.allow_open = true;
  EXPECT_TRUE(check_config(config).empty());
}

TEST(CheckConfig, FlagsAreCheckedAsTheFileIs) {
  Config config;
  config.http = ":7070";
  config.agents = "127.0.0.1";
  config.redis = "redis://user:hidden@127.0.0.1";
  config.data_dir = "";
  config.state = "sqlite";
  const std::vector<ConfigMistake> mistakes = check_config(config);
  EXPECT_EQ(mistakes.size(), 5U);
  for (const ConfigMistake& mistake : mistakes) EXPECT_EQ(mistake.message.find("hidden"), std::string::npos);
}

}  // namespace
}  // namespace defib::app
