#include "ingest/agents_endpoint.h"

#include <atomic>
#include <fmt/format.h>
#include <future>
#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "net/test_client.h"

namespace defib::ingest {
namespace {

using net::TestClient;

// An endpoint on a loop thread of its own, with turns as the daemon makes them; the core's part is to accept.
class Monitor {
 public:
  explicit Monitor(AgentsOptions options = {}, std::string_view address = "127.0.0.1:0")
      : endpoint_(std::make_unique<AgentsEndpoint>(loop_, inbox_, codec_, std::move(options))) {
    const auto bound = endpoint_->listen(address);
    EXPECT_TRUE(bound.ok()) << bound.error();
    port = bound.ok() ? bound.value() : 0;
    thread_ = std::thread([this] { loop_.run([this] { return turn(); }); });
  }
  ~Monitor() {
    loop_.post([this] { loop_.stop(); });
    thread_.join();
  }
  Monitor(const Monitor&) = delete;
  Monitor& operator=(const Monitor&) = delete;

  // Runs `task` on the loop thread, between turns, and returns what it returns.
  template <typename Task>
  auto call(Task task) {
    std::packaged_task<decltype(task(*endpoint_))()> packaged([&] { return task(*endpoint_); });
    auto result = packaged.get_future();
    loop_.post([&packaged] { packaged(); });
    return result.get();
  }
  // From now on flush() is told that much later.
  void advance(Duration length) {
    call([&](AgentsEndpoint&) {
      ahead_ += length;
      return 0;
    });
    call([](AgentsEndpoint&) { return 0; });  // By now a turn with the new time is over.
  }

  std::uint16_t port = 0;
  std::atomic<std::size_t> beats{0};
  std::atomic<std::size_t> events_at_most{0};

 private:
  Instant turn() {
    const std::vector<core::Answer> answers(inbox_.events().size(), core::Answer::accepted);
    events_at_most = std::max(events_at_most.load(), answers.size());
    beats += answers.size();
    inbox_.deliver(answers);
    endpoint_->flush(net::read_steady() + ahead_);
    return endpoint_->next_wakeup();
  }

  net::Loop loop_;
  Inbox inbox_;
  BeatCodec codec_;
  Duration ahead_{0};
  std::unique_ptr<AgentsEndpoint> endpoint_;
  std::thread thread_;
};

std::string beat(int sequence) {
  return fmt::format(R"({{"agentId":"a1","agentType":"t","timestamp":1700000000000,"sequence":{},"status":"healthy"}})",
                     sequence);
}

std::string publish(int sequence) {
  std::string out;
  wire::append_command(out, {"PUBLISH", "heartbeats", beat(sequence)});
  return out;
}

std::string read_exactly(TestClient& client, std::size_t bytes) {
  return client.read_until([bytes](std::string_view held) { return held.size() >= bytes ? bytes : std::size_t{0}; });
}

TEST(AgentsEndpoint, ServesOneClientInOrder) {
  Monitor monitor;
  TestClient client(monitor.port);
  const std::string expected = "+PONG\r\n:1\r\n:1\r\n$1\r\nx\r\n+OK\r\n";
  ASSERT_TRUE(client.send("PING\r\n" + publish(1) + "HSET agent:a1 pid 1\r\nECHO x\r\nQUIT\r\nPING\r\n"));
  EXPECT_EQ(client.read_all(), expected);
  EXPECT_FALSE(client.is_broken());
}

TEST(AgentsEndpoint, EverySplitPositionGivesTheSameReplies) {
  Monitor monitor;
  const std::string bytes = "PING\r\n" + publish(1) + "*2\r\n$4\r\nECHO\r\n$1\r\nx\r\n";
  const std::string expected = "+PONG\r\n:1\r\n$1\r\nx\r\n";
  for (std::size_t cut = 1; cut < bytes.size(); ++cut) {
    TestClient client(monitor.port);
    ASSERT_TRUE(client.send(bytes.substr(0, cut)));
    // A turn of the loop sees the first part alone.
    monitor.call([](AgentsEndpoint&) { return 0; });
    ASSERT_TRUE(client.send(bytes.substr(cut)));
    ASSERT_EQ(read_exactly(client, expected.size()), expected) << "cut at " << cut;
  }
}

// More than an inbox holds, from several connections at once: nothing is lost, reordered, or over the bound.
TEST(AgentsEndpoint, APipelineFarAboveTheInboxIsServedWhole) {
  Monitor monitor;
  constexpr int kClients = 4;
  constexpr int kBeats = 20'000;
  std::string bytes;
  std::string expected;
  for (int i = 1; i <= kBeats; ++i) {
    bytes += publish(i) + "ECHO " + std::to_string(i) + "\r\n";
    wire::append_integer(expected, 1);
    wire::append_bulk(expected, std::to_string(i));
  }
  std::vector<std::thread> clients;
  std::atomic<int> right{0};
  for (int i = 0; i < kClients; ++i) {
    clients.emplace_back([&] {
      TestClient client(monitor.port);
      std::thread writer([&] { EXPECT_TRUE(client.send(bytes)); });
      right += read_exactly(client, expected.size()) == expected ? 1 : 0;
      writer.join();
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(right, kClients);
  EXPECT_EQ(monitor.beats, static_cast<std::size_t>(kClients * kBeats));
  EXPECT_LE(monitor.events_at_most, Inbox::kEventsMax);
}

TEST(AgentsEndpoint, WhatCannotBeRespIsAnsweredAndClosed) {
  Monitor monitor;
  for (const std::string bytes : {"*10000\r\n", "*1000000000\r\n", "*1\r\n$1048577\r\n", "*1\r\n$4294967296\r\n",
                                  "*1\r\n+x\r\n", "POST / HTTP/1.1\r\nHost: x\r\n\r\nPING\r\n", "Host: x\r\n"}) {
    TestClient client(monitor.port);
    ASSERT_TRUE(client.send("PING\r\n" + bytes));
    const std::string reply = client.read_all();
    EXPECT_TRUE(reply.starts_with("+PONG\r\n-ERR Protocol error: ")) << bytes << reply;
    EXPECT_EQ(reply.find("PONG", 8), std::string::npos);
    EXPECT_FALSE(client.is_broken()) << bytes;
  }
  const AgentsCounters counters = monitor.call([](AgentsEndpoint& e) { return e.counters(); });
  EXPECT_EQ(counters.protocol_errors, 7U);
}

// The last words arrive although the client is still sending what nobody will read.
TEST(AgentsEndpoint, TheErrorReachesAClientThatIsStillSending) {
  Monitor monitor;
  TestClient client(monitor.port);
  ASSERT_TRUE(client.send("*3\r\n$7\r\nPUBLISH\r\n$10\r\nheartbeats\r\n$2000000\r\n" + std::string(2'000'000, 'x')));
  EXPECT_TRUE(client.read_until_text("\r\n").starts_with("-ERR Protocol error: invalid bulk length"));
}

TEST(AgentsEndpoint, OversizedBulksAreReadOver) {
  Monitor monitor;
  TestClient client(monitor.port);
  std::string bytes;
  wire::append_command(bytes, {"PUBLISH", "heartbeats", std::string(wire::kRespBulkBytesFatal, 'x')});
  const std::string expected = ":0\r\n+PONG\r\n";
  ASSERT_TRUE(client.send(bytes + "PING\r\n"));
  EXPECT_EQ(read_exactly(client, expected.size()), expected);
}

TEST(AgentsEndpoint, CommandsFromTheDaemonReachSubscribers) {
  Monitor monitor;
  TestClient client(monitor.port);
  ASSERT_TRUE(client.send("SUBSCRIBE defib:control:a1\r\n"));
  EXPECT_NE(client.read_until_text(":1\r\n"), "");
  EXPECT_EQ(monitor.call([](AgentsEndpoint& e) { return e.publish("defib:control:a1", "stop"); }), 1);
  EXPECT_EQ(monitor.call([](AgentsEndpoint& e) { return e.publish("defib:control:a2", "stop"); }), 0);
  EXPECT_EQ(client.read_until_text("stop\r\n"), "*3\r\n$7\r\nmessage\r\n$16\r\ndefib:control:a1\r\n$4\r\nstop\r\n");
  client.close();
  // A turn notices that it has gone.
  for (int i = 0; i < 1000 && monitor.call([](AgentsEndpoint& e) { return e.connections().open; }) > 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(monitor.call([](AgentsEndpoint& e) { return e.publish("defib:control:a1", "stop"); }), 0);
}

TEST(AgentsEndpoint, HalfOpenConnectionsAreClosedAndIdleOnesStay) {
  Monitor monitor({.name_space = "", .token = "s3cret"});
  TestClient silent(monitor.port);
  TestClient partial(monitor.port);
  TestClient stranger(monitor.port);  // Talks, but never shows the token.
  TestClient idle(monitor.port);
  ASSERT_TRUE(stranger.send("PING\r\n"));
  ASSERT_TRUE(idle.send("AUTH s3cret\r\n"));
  ASSERT_TRUE(partial.send("AUTH s3cret\r\n*1\r\n$4\r\nPI"));
  EXPECT_EQ(stranger.read_until_text("\r\n"), "-NOAUTH Authentication required.\r\n");
  EXPECT_EQ(idle.read_until_text("\r\n"), "+OK\r\n");
  EXPECT_EQ(partial.read_until_text("\r\n"), "+OK\r\n");
  monitor.advance(50s);
  ASSERT_TRUE(idle.send("PING\r\n"));
  EXPECT_EQ(idle.read_until_text("\r\n"), "+PONG\r\n");
  EXPECT_EQ(monitor.call([](AgentsEndpoint& e) { return e.connections().open; }), 4U);
  monitor.advance(11s);
  EXPECT_EQ(silent.read_all(), "");
  EXPECT_EQ(partial.read_all(), "");
  EXPECT_EQ(stranger.read_all(), "");
  monitor.advance(24h * 7);
  ASSERT_TRUE(idle.send("PING\r\n"));
  EXPECT_EQ(idle.read_until_text("\r\n"), "+PONG\r\n");
  const net::StreamCounters counters = monitor.call([](AgentsEndpoint& e) { return e.connections(); });
  EXPECT_EQ(counters.overdue, 3U);
  EXPECT_EQ(counters.open, 1U);
}

TEST(AgentsEndpoint, ASlowReaderIsClosedAndHurtsNobody) {
  Monitor monitor;
  TestClient slow(monitor.port);
  ASSERT_TRUE(slow.send("SUBSCRIBE c\r\n"));
  EXPECT_NE(slow.read_until_text(":1\r\n"), "");
  TestClient client(monitor.port);
  std::string message;
  wire::append_command(message, {"PUBLISH", "c", std::string(60'000, 'x')});
  int receivers = 1;
  for (int i = 0; i < 1000 && receivers == 1; ++i) {
    ASSERT_TRUE(client.send(message));
    receivers = client.read_until_text("\r\n") == ":1\r\n" ? 1 : 0;
  }
  EXPECT_EQ(receivers, 0);
  EXPECT_EQ(monitor.call([](AgentsEndpoint& e) { return e.connections().closed_slow; }), 1U);
}

// A client that asks and does not read is not read from either: it holds itself up, and loses nothing by it.
TEST(AgentsEndpoint, AClientThatDoesNotReadIsNotReadFrom) {
  Monitor monitor;
  TestClient client(monitor.port);
  constexpr std::size_t kCommands = 32'000;
  const std::string payload(1000, 'x');
  std::string command;
  wire::append_command(command, {"ECHO", payload});
  std::thread writer([&] {
    for (std::size_t i = 0; i < kCommands && client.send(command); ++i) {
    }
  });
  // Until the endpoint has stopped reading: nothing more is run for a tenth of a second.
  const auto commands = [&] { return monitor.call([](AgentsEndpoint& e) { return e.counters().commands; }); };
  std::uint64_t run = commands();
  for (int i = 0, still = 0; i < 5000 && still < 100; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    const std::uint64_t now = commands();
    still = now > 0 && now == run ? still + 1 : 0;
    run = now;
  }
  EXPECT_LT(run, kCommands);
  const std::size_t expected = kCommands * (payload.size() + 9);
  EXPECT_EQ(read_exactly(client, expected).size(), expected);
  writer.join();
  EXPECT_EQ(monitor.call([](AgentsEndpoint& e) { return e.connections().closed_slow; }), 0U);
}

TEST(AgentsEndpoint, ListensWhereItIsToldAndSaysWhyNot) {
  Monitor six({}, "[::1]:0");
  EXPECT_GT(six.port, 0);
  net::Loop loop;
  Inbox inbox;
  BeatCodec codec;
  AgentsEndpoint taken(loop, inbox, codec, {});
  const auto bound = taken.listen(fmt::format("[::1]:{}", six.port));
  ASSERT_FALSE(bound.ok());
  EXPECT_NE(bound.error().find("something else listens there"), std::string::npos) << bound.error();
  AgentsEndpoint vague(loop, inbox, codec, {});
  EXPECT_FALSE(vague.listen(":7379").ok());
}

TEST(AgentsEndpoint, CloseEndsEveryConnection) {
  Monitor monitor;
  TestClient client(monitor.port);
  ASSERT_TRUE(client.send("PING\r\n"));
  EXPECT_EQ(client.read_until_text("\r\n"), "+PONG\r\n");
  monitor.call([](AgentsEndpoint& e) {
    e.close();
    return 0;
  });
  EXPECT_EQ(client.read_all(), "");
  EXPECT_FALSE(TestClient(monitor.port).is_connected());
}

}  // namespace
}  // namespace defib::ingest
