#include "app/arguments.h"

#include <cstdlib>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sstream>

namespace defib::app {
namespace {

using testing::HasSubstr;

class ArgumentsTest : public testing::Test {
 protected:
  void SetUp() override {
    ::unsetenv("DEFIB_URL");
    ::unsetenv("DEFIB_TOKEN");
  }
  void TearDown() override { SetUp(); }

  Arguments read(const std::vector<std::string>& words) {
    out_.str("");
    err_.str("");
    return read_arguments(words, {.out = out_, .err = err_});
  }
  template <typename T>
  T read_as(const std::vector<std::string>& words) {
    const Arguments arguments = read(words);
    EXPECT_EQ(err_.str(), "");
    if (!arguments.flags || !std::holds_alternative<T>(*arguments.flags)) {
      ADD_FAILURE() << "another subcommand, or none";
      return T{};
    }
    return std::get<T>(*arguments.flags);
  }
  // Exit code 2 and this on stderr.
  void expect_wrong(const std::vector<std::string>& words, const std::string& told) {
    const Arguments arguments = read(words);
    EXPECT_FALSE(arguments.flags);
    EXPECT_EQ(arguments.exit_code, 2);
    EXPECT_THAT(err_.str(), HasSubstr(told));
    EXPECT_EQ(out_.str(), "");
  }

  std::ostringstream out_;
  std::ostringstream err_;
};

TEST_F(ArgumentsTest, MonitorLeavesWhatIsNotGivenToTheFile) {
  const auto none = read_as<MonitorFlags>({"monitor"});
  EXPECT_FALSE(none.config || none.http || none.agents || none.redis || none.data_dir || none.state || none.token);
  const auto all =
      read_as<MonitorFlags>({"monitor", "--config", "f.yaml", "--http", "127.0.0.1:1", "--agents=127.0.0.1:2",
                             "--redis", "redis://x", "--data-dir", "memory", "--state", "redis", "--token", "t"});
  EXPECT_EQ(all.config, "f.yaml");
  EXPECT_EQ(all.http, "127.0.0.1:1");
  EXPECT_EQ(all.agents, "127.0.0.1:2");
  EXPECT_EQ(all.redis, "redis://x");
  EXPECT_EQ(all.data_dir, "memory");
  EXPECT_EQ(all.state, "redis");
  EXPECT_EQ(all.token, "t");
}

TEST_F(ArgumentsTest, TheTokenComesFromTheEnvironmentUnlessItIsGiven) {
  ::setenv("DEFIB_TOKEN", "from-env", 1);
  EXPECT_EQ(read_as<MonitorFlags>({"monitor"}).token, "from-env");
  EXPECT_EQ(read_as<AgentsFlags>({"agents"}).server.token, "from-env");
  EXPECT_EQ(read_as<AgentsFlags>({"agents", "--token", "given"}).server.token, "given");
}

TEST_F(ArgumentsTest, TheServerIsTheFlagThenDefibUrlThenLoopback) {
  EXPECT_EQ(read_as<AgentsFlags>({"agents"}).server.server, "http://127.0.0.1:7070");
  ::setenv("DEFIB_URL", "https://defib.lan/", 1);
  EXPECT_EQ(read_as<AgentsFlags>({"agents"}).server.server, "https://defib.lan");
  EXPECT_EQ(read_as<AgentsFlags>({"agents", "--server", "http://b:1/"}).server.server, "http://b:1");
  // DEFIB_URL is also how agents find their Redis or the agents' endpoint, which answers no questions.
  ::setenv("DEFIB_URL", "redis://127.0.0.1:7379", 1);
  EXPECT_EQ(read_as<AgentsFlags>({"agents"}).server.server, "http://127.0.0.1:7070");
  expect_wrong({"agents", "--server", "127.0.0.1:7070"}, "begins with http:// or https://");
}

TEST_F(ArgumentsTest, AllBehindTwoDashesIsTheProgram) {
  const auto run = read_as<run::RunOptions>({"run", "--id", "planner-1", "--type", "planner", "--interval", "5s",
                                             "--restart", "always", "--", "agents", "--json", "--", "-x"});
  EXPECT_EQ(run.id, "planner-1");
  EXPECT_EQ(run.type, "planner");
  EXPECT_EQ(run.interval, 5s);
  EXPECT_EQ(run.restart, run::RestartMode::always);
  EXPECT_EQ(run.command, (std::vector<std::string>{"agents", "--json", "--", "-x"}));
  const auto plain = read_as<run::RunOptions>({"run", "--", "true"});
  EXPECT_EQ(plain.interval, 30s);
  EXPECT_EQ(plain.restart, run::RestartMode::on_failure);
  EXPECT_EQ(read_as<run::RunOptions>({"run", "--url", "redis://h:1", "--", "true"}).url, "redis://h:1");
}

TEST_F(ArgumentsTest, RunSaysWhatIsMissingOrWrong) {
  expect_wrong({"run"}, "defib run: no program: write it behind `--`");
  expect_wrong({"run", "--"}, "no program");
  expect_wrong({"run", "python3", "x.py"}, "write the program behind `--`, like `defib run -- \"python3\"`");
  expect_wrong({"run", "--interval", "30", "--", "true"}, "\"30\" is not a duration");
  expect_wrong({"run", "--interval", "10ms", "--", "true"}, "from 100ms to 7d");
  expect_wrong({"run", "--restart", "allways", "--", "true"}, "did you mean `always`?");
  expect_wrong({"run", "--id", "-x", "--", "true"}, "an agent id is 1 to 128");
  expect_wrong({"run", "--idd", "x", "--", "true"}, "unknown option \"--idd\" (did you mean `--id`?)");
}

TEST_F(ArgumentsTest, APingSaysOneThing) {
  EXPECT_EQ(read_as<PingFlags>({"ping", "--id", "cron-1"}).kind, PingKind::beat);
  EXPECT_EQ(read_as<PingFlags>({"ping", "--id", "cron-1", "--start"}).kind, PingKind::start);
  EXPECT_EQ(read_as<PingFlags>({"ping", "--id", "cron-1", "--fail"}).kind, PingKind::fail);
  const auto log = read_as<PingFlags>({"ping", "--id", "cron-1", "--log", "hello", "--url", "http://x"});
  EXPECT_EQ(log.kind, PingKind::log);
  EXPECT_EQ(log.text, "hello");
  EXPECT_EQ(log.server.server, "http://x");
  const auto ended = read_as<PingFlags>({"ping", "--id", "cron-1", "--exit-code", "7"});
  EXPECT_EQ(ended.kind, PingKind::exit_code);
  EXPECT_EQ(ended.exit_code, 7U);
  const auto first = read_as<PingFlags>({"ping", "--id", "cron-1", "--type", "cron", "--interval", "1d"});
  EXPECT_EQ(first.type, "cron");
  EXPECT_EQ(first.interval, "1d");
  expect_wrong({"ping"}, "--id is required");
  expect_wrong({"ping", "--id", "a", "--interval", "8d"}, "from 100ms to 7d");
  expect_wrong({"ping", "--id", "a", "--exit-code", "256"}, "from 0 to 255");
  expect_wrong({"ping", "--id", "a", "--start", "--fail"}, "defib ping:");
  expect_wrong({"ping", "--id", "a", "--strat"}, "did you mean `--start`?");
}

TEST_F(ArgumentsTest, LookingAndActing) {
  const auto agents =
      read_as<AgentsFlags>({"agents", "--state", "failed", "--type", "t", "--text", "x", "--limit", "5", "--json"});
  EXPECT_EQ(agents.state, "failed");
  EXPECT_EQ(agents.type, "t");
  EXPECT_EQ(agents.text, "x");
  EXPECT_EQ(agents.limit, 5U);
  EXPECT_TRUE(agents.server.is_json);
  EXPECT_EQ(read_as<AgentFlags>({"agent", "a:1"}).id, "a:1");
  EXPECT_EQ(read_as<WhyFlags>({"why", "a:1"}).id, "a:1");
  EXPECT_EQ(read_as<IncidentsFlags>({"incidents"}).number, 0U);
  EXPECT_EQ(read_as<IncidentsFlags>({"incidents", "12"}).number, 12U);
  EXPECT_EQ(read_as<IncidentsFlags>({"incidents", "--state", "open"}).state, "open");
  EXPECT_TRUE(read_as<EventsFlags>({"events", "-f"}).follows);
  EXPECT_EQ(read_as<EventsFlags>({"events", "--last", "0"}).last, 0U);
  EXPECT_FALSE(read_as<RecoverFlags>({"recover", "a"}).force);
  EXPECT_TRUE(read_as<RecoverFlags>({"recover", "a", "--force"}).force);
  EXPECT_EQ(read_as<IncidentWishFlags>({"ack", "3"}).wish, IncidentWish::acknowledge);
  EXPECT_EQ(read_as<IncidentWishFlags>({"close", "3"}).wish, IncidentWish::close);
  EXPECT_EQ(read_as<CheckConfigFlags>({"check-config", "x.yaml"}).file, "x.yaml");
  read_as<VersionFlags>({"version"});
}

TEST_F(ArgumentsTest, WrongUseIsExitCodeTwoWithTheNearestName) {
  expect_wrong({}, "Usage: defib");
  expect_wrong({"agnets"}, "unknown command \"agnets\" (did you mean `agents`?)");
  expect_wrong({"--jsn"}, "unknown option \"--jsn\"");
  expect_wrong({"agents", "--jsno"}, "unknown option \"--jsno\" (did you mean `--json`?)");
  expect_wrong({"agents", "--state", "faild"}, "did you mean `failed`?");
  expect_wrong({"agents", "--limit", "0"}, "not a whole number from 1");
  expect_wrong({"agent"}, "ID is required");
  expect_wrong({"agent", "../etc"}, "an agent id is 1 to 128");
  expect_wrong({"agent", "a", "b"}, "one argument too many");
  expect_wrong({"ack", "x"}, "not a whole number");
  expect_wrong({"check-config"}, "FILE is required");
}

TEST_F(ArgumentsTest, EverySubcommandHelpsWithAnExample) {
  for (const char* const command : {"monitor", "run", "ping", "agents", "agent", "why", "incidents", "events",
                                    "recover", "ack", "close", "check-config", "version"}) {
    const Arguments arguments = read({command, "--help"});
    EXPECT_FALSE(arguments.flags) << command;
    EXPECT_EQ(arguments.exit_code, 0) << command;
    EXPECT_EQ(err_.str(), "") << command;
    EXPECT_THAT(out_.str(), HasSubstr("Example: ")) << command;
  }
  EXPECT_EQ(read({"--help"}).exit_code, 0);
  EXPECT_THAT(out_.str(), HasSubstr("check-config"));
  EXPECT_EQ(read({"--version"}).exit_code, 0);
  EXPECT_EQ(out_.str(), "defib " DEFIB_VERSION "\n");
}

}  // namespace
}  // namespace defib::app
