#include "ingest/agents_session.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <vector>

namespace defib::ingest {
namespace {

using core::Answer;

// A session and what surrounds it, with the core's part played by `answers`: the next ones, else `accepted`.
class Talk final : public SessionOutlet {
 public:
  explicit Talk(std::string token = "", std::string name_space = "")
      : desk(inbox, codec, name_space, std::move(token), std::string(40, 'f')) {
    desk.now = Instant(1000s);
    session = std::make_unique<AgentsSession>(desk, *this, 7);
  }
  void on_output() override { ++outputs; }

  // Sends commands as a client writes them on one line each, ends the turn, and returns the replies.
  std::string say(std::string_view lines) {
    wire::CommandParser parser;
    EXPECT_TRUE(parser.feed(lines).ok());
    while (const auto command = parser.next()) session->run(*command);
    EXPECT_EQ(parser.fatal(), "");
    return end_turn();
  }

  std::string end_turn() {
    std::vector<Answer> now(inbox.events().size(), Answer::accepted);
    for (std::size_t i = 0; i < now.size() && i < answers.size(); ++i) now[i] = answers[i];
    answers.clear();
    for (const core::Event& event : inbox.events()) note(event);
    inbox.deliver(now);
    std::string out;
    session->take_output(out);
    return out;
  }

  Inbox inbox;
  BeatCodec codec;
  AgentsDesk desk;
  std::unique_ptr<AgentsSession> session;
  std::vector<Answer> answers;
  std::vector<std::string> events;  // One line each.
  int outputs = 0;

 private:
  void note(const core::Event& event) {
    if (const auto* beat = std::get_if<core::BeatReceived>(&event)) {
      events.push_back(fmt::format("beat {} on {}{}", beat->beat.agent_id, beat->beat.connection,
                                   beat->beat.refusal.empty() ? "" : " refused"));
    } else if (const auto* record = std::get_if<core::RecordWritten>(&event)) {
      events.push_back(fmt::format("record {} registered={} stopped={} type={} host={} pid={} on {}", record->agent_id,
                                   record->registered_at_ms.value_or(-1), record->stopped_at_ms.value_or(-1),
                                   record->type, record->host, record->pid, record->connection));
    } else if (const auto* gone = std::get_if<core::Deregistered>(&event)) {
      events.push_back(fmt::format("deregistered {}", gone->agent_id));
    } else {
      events.emplace_back("something else");
    }
  }
};

// Another connection at the same desk.
class Other final : public SessionOutlet {
 public:
  explicit Other(Talk& talk) : session(talk.desk, *this, 8) {}
  void on_output() override { ++outputs; }
  std::string say(std::string_view lines) {
    wire::CommandParser parser;
    EXPECT_TRUE(parser.feed(lines).ok());
    while (const auto command = parser.next()) session.run(*command);
    return take();
  }
  std::string take() {
    std::string out;
    session.take_output(out);
    return out;
  }
  AgentsSession session;
  int outputs = 0;
};

const std::string kBeat =
    R"('{"agentId":"a1","agentType":"t","timestamp":1700000000000,"sequence":1,"status":"healthy","metrics":{"cpuPercent":1,"memoryMB":2,"activeTasks":0,"queueDepth":0,"tokensUsedThisHour":0,"errorsLast5Min":0}}')";
const std::string kPublish = "PUBLISH heartbeats " + kBeat + "\r\n";

std::string bulk(std::string_view text) {
  std::string out;
  wire::append_bulk(out, text);
  return out;
}

TEST(AgentsSession, AnswersWhatClientsAskWhenTheyConnect) {
  struct Case {
    std::string command, resp2, resp3;
  };
  const std::vector<Case> cases{
      {"PING", "+PONG\r\n", ""},
      {"ping hello", "$5\r\nhello\r\n", ""},
      {"ECHO \"\"", "$0\r\n\r\n", ""},
      {"SELECT 3", "+OK\r\n", ""},
      {"SELECT 16", "-ERR DB index is out of range\r\n", ""},
      {"SELECT x", "-ERR DB index is out of range\r\n", ""},
      {"CLIENT ID", ":7\r\n", ""},
      {"CLIENT GETNAME", "$-1\r\n", "_\r\n"},
      {"CLIENT SETINFO LIB-NAME x", "+OK\r\n", ""},
      {"CLIENT NO-EVICT on", "+OK\r\n", ""},
      {"CLIENT REPLY ON", "+OK\r\n", ""},
      {"CLIENT REPLY OFF", "-ERR CLIENT REPLY OFF and SKIP are not served\r\n", ""},
      {"CLIENT SETNAME \"a b\"",
       "-ERR Client names cannot contain spaces, newlines or special characters, and have at most 128 bytes.\r\n", ""},
      {"COMMAND", "*0\r\n", ""},
      {"COMMAND DOCS", "*0\r\n", "%0\r\n"},
      {"COMMAND COUNT", ":28\r\n", ""},
      {"CONFIG GET save", "*0\r\n", "%0\r\n"},
      {"CONFIG SET save x", "-ERR only CONFIG GET is served, and it finds nothing\r\n", ""},
      {"HGET agent:a f", "$-1\r\n", "_\r\n"},
      {"GET", "-ERR unknown command 'GET'; this is defib, which speaks the part of Redis that agents need\r\n", ""},
      {"ECHO", "-ERR wrong number of arguments for 'echo' command\r\n", ""},
      {"EXEC", "-ERR EXEC without MULTI\r\n", ""},
      {"DISCARD", "-ERR DISCARD without MULTI\r\n", ""},
      {"AUTH x",
       "-ERR AUTH <password> called without any password configured for the default user. Are you sure your "
       "configuration is correct?\r\n",
       ""},
      {"AUTH anyone x", "+OK\r\n", ""},
  };
  Talk two;
  Talk three;
  three.say("HELLO 3\r\n");
  for (const Case& c : cases) {
    EXPECT_EQ(two.say(c.command + "\r\n"), c.resp2) << c.command;
    EXPECT_EQ(three.say(c.command + "\r\n"), c.resp3.empty() ? c.resp2 : c.resp3) << c.command;
  }
  EXPECT_TRUE(two.events.empty());
  EXPECT_EQ(two.desk.counters.unknown_commands, 1U);
}

TEST(AgentsSession, GreetsInBothProtocols) {
  Talk talk;
  const std::string fields = bulk("server") + bulk("redis") + bulk("version") + bulk("7.0.0") + bulk("proto");
  EXPECT_TRUE(talk.say("HELLO\r\n").starts_with("*14\r\n" + fields + ":2\r\n"));
  EXPECT_TRUE(talk.say("HELLO 3 SETNAME me\r\n").starts_with("%7\r\n" + fields + ":3\r\n"));
  EXPECT_EQ(talk.say("CLIENT GETNAME\r\n"), bulk("me"));
  EXPECT_EQ(talk.say("HELLO 4\r\n"), "-NOPROTO unsupported protocol version\r\n");
  EXPECT_EQ(talk.say("HELLO 2 SETNAME\r\n"), "-ERR Syntax error in HELLO\r\n");
  EXPECT_EQ(talk.say("CLIENT GETNAME\r\nHGET agent:a f\r\n"), bulk("me") + "_\r\n");
  EXPECT_EQ(talk.say("RESET\r\nCLIENT GETNAME\r\n"), "+RESET\r\n$-1\r\n");
  const std::string info = talk.say("INFO server\r\n");
  for (const char* line :
       {"redis_version:7.0.0\r\n", "run_id:ffffffffffffffffffffffffffffffffffffffff\r\n", "loading:0\r\n"}) {
    EXPECT_NE(info.find(line), std::string::npos) << line;
  }
}

TEST(AgentsSession, WithATokenNothingIsServedBeforeIt) {
  const std::string refused = "-NOAUTH Authentication required.\r\n";
  Talk talk("s3cret");
  EXPECT_EQ(talk.say("PING\r\n" + kPublish + "HSET agent:a pid 1\r\nSUBSCRIBE c\r\nMULTI\r\n"),
            refused + refused + refused + refused + refused);
  EXPECT_TRUE(talk.events.empty());
  EXPECT_TRUE(talk.say("HELLO 3\r\n").starts_with("-NOAUTH HELLO must be called"));
  for (const char* wrong : {"AUTH s3cre", "AUTH s3cret1", "AUTH \"\"", "AUTH u S3cret", "HELLO 3 AUTH u x"}) {
    EXPECT_TRUE(talk.say(std::string(wrong) + "\r\n").starts_with("-WRONGPASS ")) << wrong;
    EXPECT_FALSE(talk.session->is_admitted());
  }
  EXPECT_EQ(talk.say("AUTH anyone s3cret\r\nPING\r\n"), "+OK\r\n+PONG\r\n");
  EXPECT_EQ(talk.say("RESET\r\nPING\r\n"), "+RESET\r\n" + refused);
  EXPECT_TRUE(talk.say("HELLO 3 AUTH default s3cret\r\n").starts_with("%7\r\n"));
  EXPECT_EQ(talk.say("RESET\r\nAUTH s3cret\r\nPING\r\n"), "+RESET\r\n+OK\r\n+PONG\r\n");

  Talk quitter("s3cret");
  EXPECT_EQ(quitter.say("QUIT\r\nPING\r\n"), "+OK\r\n");
  EXPECT_TRUE(quitter.session->is_ending());
}

TEST(AgentsSession, ABeatIsAnsweredByWhatBecameOfIt) {
  Talk talk;
  talk.answers = {Answer::accepted, Answer::refused,    Answer::stale,
                  Answer::fenced,   Answer::table_full, Answer::not_known};
  std::string beats;
  for (int i = 0; i < 6; ++i) beats += kPublish;
  EXPECT_EQ(talk.say(beats), ":1\r\n:0\r\n:0\r\n-FENCED this instance was replaced; stop\r\n:0\r\n:0\r\n");
  EXPECT_EQ(talk.events, std::vector<std::string>(6, "beat a1 on 7"));
  talk.events.clear();
  // No identity: it reaches nobody. An identity, but something wrong: it reaches the core, which answers.
  talk.answers = {Answer::refused};
  EXPECT_EQ(talk.say("PUBLISH heartbeats nonsense\r\nPUBLISH heartbeats '{}'\r\n"
                     "PUBLISH heartbeats '{\"agentId\":\"a1\",\"sequence\":5,\"status\":\"wrong\"}'\r\n"),
            ":0\r\n:0\r\n:0\r\n");
  EXPECT_EQ(talk.events, (std::vector<std::string>{"beat a1 on 7 refused"}));
  EXPECT_EQ(talk.desk.counters.refused_beats, 3U);
}

TEST(AgentsSession, RepliesKeepTheirOrderAroundBeats) {
  Talk talk;
  talk.answers = {Answer::accepted, Answer::fenced};
  EXPECT_EQ(talk.say("ECHO a\r\n" + kPublish + "ECHO b\r\nECHO c\r\n" + kPublish + kPublish + "PING\r\n"),
            "$1\r\na\r\n:1\r\n$1\r\nb\r\n$1\r\nc\r\n-FENCED this instance was replaced; stop\r\n:1\r\n+PONG\r\n");
  EXPECT_EQ(talk.say("PING\r\n"), "+PONG\r\n");
  EXPECT_EQ(talk.outputs, 2);
}

TEST(AgentsSession, OnlyAcceptedBeatsReachSubscribers) {
  Talk talk;
  Other other(talk);
  Other resp3(talk);
  EXPECT_EQ(other.say("SUBSCRIBE heartbeats\r\n"), "*3\r\n" + bulk("subscribe") + bulk("heartbeats") + ":1\r\n");
  resp3.say("HELLO 3\r\n");
  EXPECT_EQ(resp3.say("SUBSCRIBE heartbeats x\r\n"), ">3\r\n" + bulk("subscribe") + bulk("heartbeats") +
                                                         ":1\r\n>3\r\n" + bulk("subscribe") + bulk("x") + ":2\r\n");
  talk.answers = {Answer::accepted, Answer::stale};
  EXPECT_EQ(talk.say(kPublish + kPublish), ":3\r\n:0\r\n");
  const std::string payload = kBeat.substr(1, kBeat.size() - 2);
  EXPECT_EQ(other.take(), "*3\r\n" + bulk("message") + bulk("heartbeats") + bulk(payload));
  EXPECT_EQ(resp3.take(), ">3\r\n" + bulk("message") + bulk("heartbeats") + bulk(payload));
  EXPECT_EQ(talk.say("PUBLISH x hi\r\nPUBLISH y hi\r\n"), ":1\r\n:0\r\n");
  EXPECT_EQ(resp3.take(), ">3\r\n" + bulk("message") + bulk("x") + bulk("hi"));
}

TEST(AgentsSession, AListeningResp2ConnectionMayNotDoElse) {
  Talk talk;
  talk.say("SUBSCRIBE c\r\n");
  EXPECT_TRUE(talk.say("HGET agent:a f\r\n").starts_with("-ERR Can't execute 'hget'"));
  EXPECT_EQ(talk.say("PING\r\nPING x\r\n"), "*2\r\n" + bulk("pong") + bulk("") + "*2\r\n" + bulk("pong") + bulk("x"));
  EXPECT_EQ(talk.say("UNSUBSCRIBE d\r\nUNSUBSCRIBE\r\nUNSUBSCRIBE\r\n"),
            "*3\r\n" + bulk("unsubscribe") + bulk("d") + ":1\r\n*3\r\n" + bulk("unsubscribe") + bulk("c") +
                ":0\r\n*3\r\n" + bulk("unsubscribe") + "$-1\r\n:0\r\n");
  EXPECT_EQ(talk.say("PING\r\n"), "+PONG\r\n");
  talk.say("SUBSCRIBE c\r\n");
  EXPECT_EQ(talk.say("RESET\r\nPING\r\n"), "+RESET\r\n+PONG\r\n");
  EXPECT_FALSE(talk.desk.channels.has_listeners("c"));
}

TEST(AgentsSession, SubscriptionsAreBoundedAndEndWithTheConnection) {
  Talk talk;
  std::string names;
  for (std::size_t i = 0; i < AgentsSession::kChannelsMax; ++i) names += fmt::format(" c{}", i);
  talk.say("SUBSCRIBE" + names + "\r\n");
  EXPECT_EQ(talk.say("SUBSCRIBE more c0\r\n"),
            "-ERR a connection listens to at most 16 channels\r\n*3\r\n" + bulk("subscribe") + bulk("c0") + ":16\r\n");
  EXPECT_TRUE(talk.say("SUBSCRIBE " + std::string(257, 'c') + "\r\n").starts_with("-ERR a channel's name"));
  talk.session.reset();
  EXPECT_EQ(talk.desk.channels.publish("c0", "x"), 0);
  EXPECT_FALSE(talk.desk.channels.has_listeners("c15"));
}

TEST(AgentsSession, HashesBehaveAsInRedis) {
  Talk talk;
  EXPECT_EQ(talk.say("HSET agent:a f 1 g 2\r\nHSET agent:a f 3 h 4\r\nHMSET agent:a h 5\r\n"), ":2\r\n:1\r\n+OK\r\n");
  EXPECT_EQ(talk.say("HGET agent:a f\r\nHMGET agent:a g nope h\r\n"),
            bulk("3") + "*3\r\n" + bulk("2") + "$-1\r\n" + bulk("5"));
  const std::string all = bulk("f") + bulk("3") + bulk("g") + bulk("2") + bulk("h") + bulk("5");
  EXPECT_EQ(talk.say("HGETALL agent:a\r\nHGETALL agent:b\r\n"), "*6\r\n" + all + "*0\r\n");
  EXPECT_TRUE(talk.say("HELLO 3\r\nHGETALL agent:a\r\nHGETALL agent:b\r\n").ends_with("%3\r\n" + all + "%0\r\n"));
  EXPECT_EQ(talk.say("EXISTS agent:a agent:a agent:b other\r\nTTL agent:a\r\nTTL agent:b\r\n"), ":2\r\n:-1\r\n:-2\r\n");
  EXPECT_EQ(talk.say("EXPIRE agent:a 120\r\nEXPIRE agent:b 120\r\nTTL agent:a\r\nPTTL agent:a\r\n"),
            ":1\r\n:0\r\n:120\r\n:120000\r\n");
  EXPECT_EQ(talk.say("PEXPIRE agent:a 1499\r\nTTL agent:a\r\npttl agent:a\r\n"), ":1\r\n:1\r\n:1499\r\n");
  talk.desk.now += 1499ms;
  EXPECT_EQ(talk.say("EXISTS agent:a\r\nHSET agent:a f 1\r\nEXPIRE agent:a 0\r\nEXISTS agent:a\r\n"),
            ":0\r\n:1\r\n:1\r\n:0\r\n");
  EXPECT_EQ(talk.say("EXPIRE agent:a 1x\r\nEXPIRE agent:a 99999999999999\r\nPEXPIRE agent:a -9223372036854775808\r\n"),
            "-ERR value is not an integer or out of range\r\n-ERR invalid expire time in 'expire' command\r\n"
            "-ERR invalid expire time in 'pexpire' command\r\n");
  EXPECT_EQ(
      talk.say("HSET agent:a f\r\nHSET agent:a f 1 g\r\n"),
      "-ERR wrong number of arguments for 'hset' command\r\n-ERR wrong number of arguments for 'hset' command\r\n");
  EXPECT_TRUE(talk.events.empty());  // None of these fields is news, and an expiry is no goodbye.
}

TEST(AgentsSession, OnlyHashesOfAgentsAreKept) {
  Talk talk;
  for (const char* key : {"user:1", "agent:", "agent:.hidden", "agent:a/b", "agent", "prod:agent:a"}) {
    EXPECT_TRUE(talk.say(fmt::format("HSET {} pid 1\r\n", key)).starts_with("-ERR only hashes named agent:ID")) << key;
  }
  EXPECT_EQ(talk.say("EXISTS user:1\r\nHGETALL user:1\r\nDEL user:1\r\nTTL user:1\r\n"), ":0\r\n*0\r\n:0\r\n:-2\r\n");
  EXPECT_TRUE(talk.events.empty());
  EXPECT_EQ(talk.desk.keys.size(), 0U);
}

TEST(AgentsSession, RegistrationGoodbyeAndDeletionAreTold) {
  Talk talk;
  // As the guide's client registers, beats and says goodbye.
  talk.say("HSET agent:a registeredAt 1700000000000 type planner host h1 pid 42 status starting\r\n");
  talk.say("HSET agent:a lastHeartbeat 1700000030000 sequence 1 status healthy cpuPercent 1 memoryMB 2\r\n");
  talk.say("HSET agent:a status stopped stoppedAt 1700000060000\r\n");
  EXPECT_EQ(talk.say("DEL agent:a agent:b\r\n"), ":1\r\n");
  EXPECT_EQ(talk.events,
            (std::vector<std::string>{"record a registered=1700000000000 stopped=-1 type=planner host=h1 pid=42 on 7",
                                      "record a registered=-1 stopped=1700000060000 type= host= pid=0 on 7",
                                      "deregistered a", "deregistered b"}));
  talk.events.clear();
  EXPECT_EQ(talk.say("HSET agent:a registeredAt soon pid -1 stoppedAt 1e9\r\n"), ":3\r\n");
  EXPECT_EQ(talk.events, (std::vector<std::string>{"record a registered=-1 stopped=-1 type= host= pid=0 on 7"}));
  EXPECT_EQ(talk.desk.counters.bad_numbers, 3U);
}

TEST(AgentsSession, ANamespaceStandsBeforeChannelAndKeys) {
  Talk talk("", "prod");
  EXPECT_EQ(talk.say("PUBLISH prod:heartbeats " + kBeat + "\r\nPUBLISH heartbeats " + kBeat + "\r\n"), ":1\r\n:0\r\n");
  EXPECT_EQ(talk.say("HSET prod:agent:a pid 4\r\nHGET prod:agent:a pid\r\n"), ":1\r\n" + bulk("4"));
  EXPECT_TRUE(talk.say("HSET agent:a pid 4\r\n").starts_with("-ERR only hashes named prod:agent:ID"));
  EXPECT_EQ(talk.events,
            (std::vector<std::string>{"beat a1 on 7", "record a registered=-1 stopped=-1 type= host= pid=4 on 7"}));
}

TEST(AgentsSession, TransactionsRunAsOne) {
  Talk talk;
  talk.answers = {Answer::fenced};
  EXPECT_EQ(talk.say("MULTI\r\n" + kPublish + "HSET agent:a f 1\r\nHSET agent:a f\r\nEXEC\r\nPING\r\n"),
            "+OK\r\n+QUEUED\r\n+QUEUED\r\n-ERR wrong number of arguments for 'hset' command\r\n"
            "-EXECABORT Transaction discarded because of previous errors.\r\n+PONG\r\n");
  EXPECT_TRUE(talk.events.empty());
  EXPECT_EQ(
      talk.say("MULTI\r\nPING\r\n" + kPublish + "HSET agent:a f 1\r\nEXPIRE agent:a 9\r\nMULTI\r\nEXEC\r\nEXEC\r\n"),
      "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n-ERR MULTI calls can not be nested\r\n"
      "*4\r\n+PONG\r\n:1\r\n:1\r\n:1\r\n-ERR EXEC without MULTI\r\n");
  EXPECT_EQ(talk.events.size(), 1U);
  EXPECT_EQ(talk.say("MULTI\r\nHSET agent:b f 1\r\nDISCARD\r\nEXISTS agent:b\r\n"), "+OK\r\n+QUEUED\r\n+OK\r\n:0\r\n");
  EXPECT_EQ(talk.say("MULTI\r\nSUBSCRIBE c\r\nGET x\r\nEXEC\r\nMULTI\r\nEXEC\r\n"),
            "+OK\r\n-ERR Command 'subscribe' not allowed inside a transaction\r\n"
            "-ERR unknown command 'GET'; this is defib, which speaks the part of Redis that agents need\r\n"
            "-EXECABORT Transaction discarded because of previous errors.\r\n+OK\r\n*0\r\n");
}

TEST(AgentsSession, TransactionsAreBounded) {
  Talk talk;
  talk.say("MULTI\r\n");
  for (std::size_t i = 0; i < AgentsSession::kQueuedMax; ++i) EXPECT_EQ(talk.say("PING\r\n"), "+QUEUED\r\n");
  EXPECT_TRUE(talk.say("PING\r\n").starts_with("-ERR a transaction has at most 64 commands"));
  EXPECT_TRUE(talk.say("EXEC\r\n").starts_with("-EXECABORT"));
  talk.say("MULTI\r\n");
  const std::string large = "ECHO " + std::string(60'000, 'x') + "\r\n";
  EXPECT_EQ(talk.say(large + large), "+QUEUED\r\n+QUEUED\r\n");
  EXPECT_TRUE(talk.say(large).starts_with("-ERR a transaction has at most 64 commands"));
}

TEST(AgentsSession, AnErrorIsOneShortLine) {
  Talk talk;
  const std::string reply = talk.say("\"FOO\\r\\n+OK\\x01" + std::string(1000, 'y') + "\"\r\n");
  EXPECT_TRUE(reply.starts_with("-ERR unknown command 'FOO??+OK?yyy"));
  EXPECT_EQ(reply.find("\r\n"), reply.size() - 2);
  EXPECT_LT(reply.size(), 200U);
  talk.session->refuse("Protocol error: a\r\nb");
  EXPECT_EQ(talk.end_turn(), "-ERR Protocol error: a  b\r\n");
  EXPECT_TRUE(talk.session->is_ending());
  EXPECT_EQ(talk.desk.counters.protocol_errors, 1U);
}

TEST(AgentsSession, AnOversizedArgumentIsAnsweredAndChangesNothing) {
  Talk talk;
  const std::string big(wire::kRespBulkBytesMax + 1, 'x');
  std::string command;
  wire::append_command(command, {"PUBLISH", "heartbeats", big});
  wire::append_command(command, {"PING"});
  wire::append_command(command, {"HSET", "agent:a1", "note", big});
  EXPECT_EQ(talk.say(command), ":0\r\n+PONG\r\n-ERR an argument of 'hset' is above 65536 bytes\r\n");
  EXPECT_TRUE(talk.events.empty());
}

TEST(AgentsSession, ASubscriberThatIsFloodedWithinATurnIsOverrun) {
  Talk talk;
  talk.say("SUBSCRIBE c\r\n");
  const std::string payload(60'000, 'x');
  for (int i = 0; i < 100; ++i) talk.desk.channels.publish("c", payload);
  EXPECT_TRUE(talk.session->is_overrun());
  EXPECT_LT(talk.session->output_bytes(), AgentsSession::kOutputBytesMax + 61'000);
}

}  // namespace
}  // namespace defib::ingest
