#include "net/stream_server.h"

#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <thread>

#include "net/test_client.h"

namespace defib::net {
namespace {

// Says back what it hears; "end" makes it finish.
class EchoPeer final : public StreamPeer {
 public:
  explicit EchoPeer(StreamConnection& connection) : connection_(connection) {}
  void on_bytes(std::string_view bytes) override {
    connection_.send(bytes);
    if (bytes.ends_with("end")) connection_.finish();
  }
  bool wants_bytes() const override { return true; }
  void on_close() override {}

 private:
  StreamConnection& connection_;
};

class EchoServer {
 public:
  explicit EchoServer(std::size_t connections_max)
      : server_(loop_, {.connections_max = connections_max,
                        .refusal = "full\n",
                        .connect = [](StreamConnection& c) { return std::make_unique<EchoPeer>(c); },
                        .may_read = [] { return true; }}) {
    port = server_.listen("127.0.0.1:0").value();
    thread_ = std::thread([this] {
      loop_.run([this] {
        server_.end_turn(read_steady(), false);
        return server_.next_wakeup();
      });
    });
  }
  ~EchoServer() {
    loop_.post([this] { loop_.stop(); });
    thread_.join();
  }
  EchoServer(const EchoServer&) = delete;
  EchoServer& operator=(const EchoServer&) = delete;

  StreamCounters counters() {
    std::packaged_task<StreamCounters()> task([this] { return server_.counters(); });
    auto result = task.get_future();
    loop_.post([&task] { task(); });
    return result.get();
  }

  std::uint16_t port = 0;

 private:
  Loop loop_;
  StreamServer server_;
  std::thread thread_;
};

TEST(StreamServer, ServesUpToItsBoundAndTellsTheRest) {
  EchoServer server(2);
  TestClient a(server.port);
  ASSERT_TRUE(a.send("a"));
  EXPECT_EQ(a.read_until_text("a"), "a");
  TestClient b(server.port);
  ASSERT_TRUE(b.send("b"));
  EXPECT_EQ(b.read_until_text("b"), "b");
  TestClient c(server.port);
  EXPECT_EQ(c.read_until_text("\n"), "full\n");
  a.close();
  // Its place is free once a turn has noticed.
  for (int i = 0; i < 1000 && server.counters().open == 2; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  TestClient d(server.port);
  ASSERT_TRUE(d.send("d"));
  EXPECT_EQ(d.read_until_text("d"), "d");
  const StreamCounters counters = server.counters();
  EXPECT_EQ(counters.accepted, 3U);
  EXPECT_EQ(counters.refused, 1U);
}

TEST(StreamServer, FinishingSendsAllAndThenCloses) {
  EchoServer server(2);
  TestClient client(server.port);
  ASSERT_TRUE(client.send("the end"));
  EXPECT_EQ(client.read_all(), "the end");
  EXPECT_FALSE(client.is_broken());
}

// A client that closes its direction at once still gets what it asked for.
TEST(StreamServer, AHalfClosedClientIsServed) {
  EchoServer server(2);
  TestClient client(server.port);
  const std::string bytes(60'000, 'x');
  ASSERT_TRUE(client.send(bytes));
  client.shut_down_sending();
  EXPECT_EQ(client.read_all(), bytes);
  EXPECT_FALSE(client.is_broken());
}

}  // namespace
}  // namespace defib::net
