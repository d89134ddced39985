#include "net/http_server.h"

#include <chrono>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "net/test_client.h"

namespace defib::net {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

const std::string kHost = "Host: 127.0.0.1\r\n";

// A server whose handler the test gives; everything of it lives and dies on the loop thread.
class Served {
 public:
  explicit Served(HttpHandler handler, HttpLimits limits = {}) {
    port_ = thread_.call([&] {
      server_ = std::make_unique<HttpServer>(thread_.loop(), std::move(handler), limits);
      auto port = server_->listen("127.0.0.1:0");
      return port.ok() ? port.value() : std::uint16_t{0};
    });
  }
  ~Served() {
    thread_.call([&] { server_.reset(); });
  }

  TestClient connect() { return TestClient(port_); }
  std::string ask(std::string_view bytes) {
    TestClient client = connect();
    EXPECT_TRUE(client.send(bytes));
    std::string answer = client.read_all();
    EXPECT_FALSE(client.is_broken()) << answer;
    return answer;
  }
  HttpServerCounters counters() {
    return thread_.call([&] { return server_->counters(); });
  }
  // Waits, for ten seconds at most, until so many connections are open.
  bool reaches_connections(std::uint64_t count) {
    for (int i = 0; i < 1000; ++i) {
      if (counters().connections == count) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }
  LoopThread& thread() { return thread_; }
  HttpServer& server() { return *server_; }
  std::uint16_t port() const { return port_; }

 private:
  LoopThread thread_;
  std::unique_ptr<HttpServer> server_;
  std::uint16_t port_ = 0;
};

// Tells back what it was asked.
void echo(const std::shared_ptr<HttpExchange>& exchange) {
  const HttpRequest& request = exchange->request();
  std::string body = request.method + " " + request.path;
  for (const auto& [name, value] : request.query) body += " " + name + "=" + value;
  body += " [" + request.body + "] " + request.peer + " " + std::string(request.header("x-test"));
  exchange->respond({.content_type = "text/plain", .body = body});
}

std::string get(std::string_view target, std::string_view more = "") {
  return "GET " + std::string(target) + " HTTP/1.1\r\n" + kHost + std::string(more) + "\r\n";
}

TEST(HttpServer, AnswersWithTheSecurityHeadersAndKeepsTheConnection) {
  Served served(echo);
  TestClient client = served.connect();
  client.send(get("/a%20b?x=1&y=a+b", "X-Test: t\r\n"));
  std::string answer = client.read_answer();
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, HasSubstr("\r\nX-Content-Type-Options: nosniff\r\n"));
  EXPECT_THAT(answer, HasSubstr("\r\nCache-Control: no-store\r\n"));
  EXPECT_THAT(answer, HasSubstr("\r\nContent-Type: text/plain\r\n"));
  EXPECT_THAT(answer, HasSubstr("\r\nDate: "));
  EXPECT_THAT(answer, EndsWith("\r\n\r\nGET /a b x=1 y=a b [] 127.0.0.1 t"));
  client.send("POST /p HTTP/1.1\r\n" + kHost + "Content-Length: 5\r\n\r\nhello");
  EXPECT_THAT(client.read_answer(), EndsWith("POST /p [hello] 127.0.0.1 "));
  EXPECT_EQ(served.counters().requests, 2u);
  EXPECT_EQ(served.counters().connections, 1u);
}

TEST(HttpServer, ReadsARequestThatArrivesByteByByte) {
  Served served(echo);
  TestClient client = served.connect();
  const std::string request =
      "POST /p HTTP/1.1\r\n" + kHost +
      "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-Test: trailer\r\n\r\n";
  for (const char c : request) ASSERT_TRUE(client.send(std::string(1, c)));
  // The trailer must not pass for a header.
  EXPECT_THAT(client.read_answer(), EndsWith("POST /p [abcde] 127.0.0.1 "));
}

TEST(HttpServer, AnswersPipelinedRequestsInOrder) {
  std::vector<std::shared_ptr<HttpExchange>> waiting;
  Served served([&](const std::shared_ptr<HttpExchange>& exchange) {
    // The first is answered later than the second could be, were it seen.
    if (exchange->request().path == "/1") {
      waiting.push_back(exchange);
      return;
    }
    echo(exchange);
  });
  TestClient client = served.connect();
  client.send(get("/1") + "POST /2 HTTP/1.1\r\n" + kHost + "Content-Length: 3\r\n\r\nabc" + get("/3"));
  for (int i = 0; i < 1000 && served.thread().call([&] { return waiting.empty(); }); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(served.counters().requests, 1u);
  served.thread().call([&] {
    ASSERT_EQ(waiting.size(), 1u);
    echo(waiting.front());
    waiting.clear();
  });
  EXPECT_THAT(client.read_answer(), HasSubstr("GET /1 "));
  EXPECT_THAT(client.read_answer(), HasSubstr("POST /2 [abc] "));
  EXPECT_THAT(client.read_answer(), HasSubstr("GET /3 "));
}

TEST(HttpServer, ClosesWhereAskedAndSpeaksHttp10) {
  Served served(echo);
  EXPECT_THAT(served.ask(get("/", "Connection: close\r\n")), HasSubstr("\r\nConnection: close\r\n"));
  EXPECT_THAT(served.ask("GET / HTTP/1.0\r\n\r\n"), HasSubstr("\r\nConnection: close\r\n"));
  TestClient client = served.connect();
  client.send("GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_THAT(client.read_answer(), HasSubstr("\r\nConnection: keep-alive\r\n"));
  client.send("GET /2 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_THAT(client.read_answer(), HasSubstr("GET /2 "));
  // A client that closes its sending half still gets its answer.
  TestClient half = served.connect();
  half.send(get("/half"));
  half.shut_down_sending();
  EXPECT_THAT(half.read_answer(), HasSubstr("GET /half "));
}

TEST(HttpServer, AHeadRequestGetsTheHeadOfAGet) {
  Served served(echo);
  TestClient client = served.connect();
  client.send("HEAD /x HTTP/1.1\r\n" + kHost + "\r\n");
  const std::string head = client.read_until_text("\r\n\r\n");
  EXPECT_THAT(head, HasSubstr("Content-Length: 20\r\n"));
  client.send(get("/next"));
  // No body came between: the next byte is the next answer.
  EXPECT_THAT(client.read_answer(), AllOf(StartsWith("HTTP/1.1 200 OK"), HasSubstr("GET /next ")));
}

TEST(HttpServer, RefusesSmugglingShapesAndClosesBeforeTheHiddenRequest) {
  Served served(echo);
  const std::string hidden = get("/hidden");
  struct Case {
    std::string request;
    const char* status;
    const char* code;
  };
  const std::vector<Case> cases = {
      {"POST / HTTP/1.1\r\n" + kHost + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400",
       "two_lengths"},
      {"POST / HTTP/1.1\r\n" + kHost + "Content-Length: 0\r\nContent-Length: 4\r\n\r\n", "400", "repeated_length"},
      {"GET / HTTP/1.1\r\n" + kHost + kHost + "\r\n", "400", "repeated_host"},
      {"GET / HTTP/1.1\r\n\r\n", "400", "missing_host"},
      {"GET / HTTP/1.1\r\n" + kHost + "X: a\r\n b\r\n\r\n", "400", "folded_header"},
      {"GET / HTTP/1.1\n" + kHost + "\r\n", "400", "bare_line_end"},
      {std::string("GET /\0 HTTP/1.1\r\n", 17) + kHost + "\r\n", "400", "nul_in_head"},
      {"GET http://127.0.0.1/ HTTP/1.1\r\n" + kHost + "\r\n", "400", "bad_target"},
      {"OPTIONS * HTTP/1.1\r\n" + kHost + "\r\n", "400", "bad_target"},
      {get("/%00"), "400", "bad_target"},
      {get("/%2"), "400", "bad_target"},
      {"BREW / HTTP/1.1\r\n" + kHost + "\r\n", "501", "method_unknown"},
      {"TRACE / HTTP/1.1\r\n" + kHost + "\r\n", "405", "method_not_allowed"},
      {"GET / HTTP/2.0\r\n" + kHost + "\r\n", "505", "version_not_supported"},
      {"POST / HTTP/1.1\r\n" + kHost + "Transfer-Encoding: gzip\r\n\r\n", "501", "encoding_unknown"},
      {"POST / HTTP/1.1\r\n" + kHost + "Expect: tea\r\nContent-Length: 1\r\n\r\n", "417", "expect_unknown"},
      {"POST / HTTP/1.1\r\n" + kHost + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", "400", "bad_body"},
      {"POST / HTTP/1.1\r\n" + kHost + "Transfer-Encoding: chunked\r\n\r\n1\nx\n0\n\n", "400", "bad_body"},
      {get("/", "X: " + std::string(HttpServer::kHeadBytesMax, 'x') + "\r\n"), "431", "head_too_large"},
      {"POST / HTTP/1.1\r\n" + kHost + "Content-Length: 1048577\r\n\r\n", "413", "body_too_large"},
      {std::string("\x16\x03\x01\0\x05", 5), "400", "nul_in_head"},  // TLS, to the wrong port.
  };
  for (const Case& one : cases) {
    const std::string answer = served.ask(one.request + hidden);
    EXPECT_THAT(answer, StartsWith(std::string("HTTP/1.1 ") + one.status)) << one.request;
    EXPECT_THAT(answer, HasSubstr(std::string("\"code\":\"") + one.code + "\"")) << one.request;
    EXPECT_THAT(answer, HasSubstr("\r\nConnection: close\r\n"));
    EXPECT_THAT(answer, HasSubstr("\r\nX-Content-Type-Options: nosniff\r\n"));
    EXPECT_THAT(answer, Not(HasSubstr("/hidden"))) << one.request;
  }
  EXPECT_EQ(served.counters().requests, 0u);
  EXPECT_EQ(served.counters().bad_requests, cases.size());
}

TEST(HttpServer, BoundsTheBodyHoweverItIsSent) {
  Served served([](const std::shared_ptr<HttpExchange>& exchange) {
    exchange->respond({.body = std::to_string(exchange->request().body.size())});
  });
  const std::string full(HttpServer::kBodyBytesMax, 'b');
  TestClient client = served.connect();
  client.send("POST / HTTP/1.1\r\n" + kHost + "Content-Length: 1048576\r\n\r\n" + full);
  EXPECT_THAT(client.read_answer(), EndsWith("\r\n1048576"));
  client.send("POST / HTTP/1.1\r\n" + kHost + "Transfer-Encoding: chunked\r\n\r\n100000\r\n" + full + "\r\n0\r\n\r\n");
  EXPECT_THAT(client.read_answer(), EndsWith("\r\n1048576"));
  client.send("POST / HTTP/1.1\r\n" + kHost + "Transfer-Encoding: chunked\r\n\r\n100000\r\n" + full +
              "\r\n1\r\nx\r\n0\r\n\r\n");
  EXPECT_THAT(client.read_all(), StartsWith("HTTP/1.1 413 "));
  EXPECT_FALSE(client.is_broken());
}

TEST(HttpServer, AnswersExpectContinueBeforeTheBody) {
  Served served(echo);
  TestClient client = served.connect();
  client.send("POST /e HTTP/1.1\r\n" + kHost + "Expect: 100-Continue\r\nContent-Length: 2\r\n\r\n");
  EXPECT_EQ(client.read_until_text("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.send("hi");
  EXPECT_THAT(client.read_answer(), HasSubstr("POST /e [hi]"));
  // A body that is refused is never asked for.
  client.send("POST /e HTTP/1.1\r\n" + kHost + "Expect: 100-continue\r\nContent-Length: 9999999\r\n\r\n");
  EXPECT_THAT(client.read_all(), StartsWith("HTTP/1.1 413 "));
}

TEST(HttpServer, AHandlerMayAnswerLateTwiceNeverOrByThrowing) {
  std::shared_ptr<HttpExchange> kept;
  Served served([&](const std::shared_ptr<HttpExchange>& exchange) {
    const std::string path = exchange->request().path;
    if (path == "/twice") {
      exchange->respond({.body = "first"});
      exchange->respond({.body = "second"});
      EXPECT_FALSE(exchange->start_event_stream()->is_open());
    } else if (path == "/throw") {
      throw std::runtime_error("thrown by the test");
    } else if (path == "/keep") {
      kept = exchange;
    }
  });
  TestClient client = served.connect();
  client.send(get("/twice") + get("/never") + get("/throw"));
  EXPECT_THAT(client.read_answer(), EndsWith("first"));
  EXPECT_THAT(client.read_answer(), AllOf(StartsWith("HTTP/1.1 500 "), HasSubstr("\"code\":\"no_answer\"")));
  EXPECT_THAT(client.read_answer(), StartsWith("HTTP/1.1 500 "));
  client.send(get("/keep"));
  for (int i = 0; i < 1000 && served.thread().call([&] { return kept == nullptr; }); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  // The server goes before the answer comes: both are safe.
  served.thread().call([&] {
    served.server().close();
    ASSERT_NE(kept, nullptr);
    kept->respond({.body = "late"});
    kept.reset();
  });
  EXPECT_EQ(client.read_all(), "");
  EXPECT_EQ(served.counters().connections, 0u);
}

TEST(HttpServer, LimitsTheTimeOfHeadBodyAndIdling) {
  Served served(echo, {.head = 150ms, .body = 150ms, .idle = 400ms, .linger = 100ms});
  // A head that dribbles in byte by byte is no excuse: its time counts from the first.
  TestClient slow = served.connect();
  const Instant begin = read_steady();
  bool is_cut = false;
  for (int i = 0; i < 500 && !is_cut; ++i) {
    is_cut = !slow.send(i < 5 ? std::string(1, "GET /"[i]) : "x");
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_TRUE(is_cut);
  EXPECT_GE(read_steady() - begin, 150ms);

  TestClient half = served.connect();
  half.send("GET / HTTP/1.1\r\n");
  EXPECT_THAT(half.read_all(), StartsWith("HTTP/1.1 408 "));
  TestClient body = served.connect();
  body.send("POST / HTTP/1.1\r\n" + kHost + "Content-Length: 10\r\n\r\nabc");
  EXPECT_THAT(body.read_all(), StartsWith("HTTP/1.1 408 "));
  TestClient silent = served.connect();
  EXPECT_EQ(silent.read_all(), "");
  EXPECT_FALSE(silent.is_broken());
  TestClient idle = served.connect();
  idle.send(get("/"));
  idle.read_answer();
  const Instant answered = read_steady();
  EXPECT_EQ(idle.read_all(), "");
  EXPECT_FALSE(idle.is_broken());
  // Longer than a head may take: idling has a limit of its own.
  EXPECT_GE(read_steady() - answered, 300ms);
  EXPECT_TRUE(served.reaches_connections(0));
}

TEST(HttpServer, AReaderThatStopsReadingIsLetGo) {
  Served served(
      [](const std::shared_ptr<HttpExchange>& exchange) { exchange->respond({.body = std::string(64 << 20, 'x')}); },
      {.write = 200ms});
  TestClient client = served.connect();
  client.send(get("/"));
  EXPECT_TRUE(served.reaches_connections(1));
  EXPECT_TRUE(served.reaches_connections(0));
}

TEST(HttpServer, ALargeAnswerArrivesWhole) {
  Served served([](const std::shared_ptr<HttpExchange>& exchange) {
    exchange->respond({.body = std::string(8 << 20, 'x') + "end"});
  });
  TestClient client = served.connect();
  client.send(get("/"));
  const std::string answer = client.read_answer();
  EXPECT_GT(answer.size(), std::size_t{8} << 20);
  EXPECT_THAT(answer.substr(answer.size() - 4), "xend");
}

TEST(HttpServer, AHandlersHeadersAreSentButNoneOfSomebodyElsesMaking) {
  Served served([](const std::shared_ptr<HttpExchange>& exchange) {
    exchange->respond(
        {.status = 204, .headers = {{"Cache-Control", "max-age=60"}, {"X-A", "b\r\nX-Evil: 1"}, {"X-Ok", "1"}}});
  });
  const std::string answer = served.ask(get("/", "Connection: close\r\n"));
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 204 "));
  EXPECT_THAT(answer, HasSubstr("\r\nCache-Control: max-age=60\r\n"));
  EXPECT_THAT(answer, Not(HasSubstr("no-store")));
  EXPECT_THAT(answer, Not(HasSubstr("Evil")));
  EXPECT_THAT(answer, HasSubstr("\r\nX-Ok: 1\r\n"));
  EXPECT_THAT(answer, Not(HasSubstr("Content-Length")));
}

TEST(HttpServer, StreamsEventsUntilEitherSideEndsIt) {
  std::shared_ptr<EventStream> stream;
  Served served([&](const std::shared_ptr<HttpExchange>& exchange) {
    stream = exchange->start_event_stream();
    stream->send("data: 1\n\n");
  });
  TestClient client = served.connect();
  client.send(get("/events"));
  const std::string head = client.read_until_text("\r\n\r\n");
  EXPECT_THAT(head, HasSubstr("\r\nContent-Type: text/event-stream\r\n"));
  EXPECT_THAT(head, HasSubstr("\r\nCache-Control: no-store\r\n"));
  EXPECT_EQ(client.read_until_text("\n\n"), "data: 1\n\n");
  EXPECT_TRUE(served.thread().call([&] { return stream->is_open() && stream->send("data: 2\n\n"); }));
  EXPECT_EQ(client.read_until_text("\n\n"), "data: 2\n\n");
  served.thread().call([&] {
    stream->send("data: 3\n\n");
    stream->close();
    EXPECT_FALSE(stream->is_open());
    EXPECT_FALSE(stream->send("data: 4\n\n"));
  });
  EXPECT_EQ(client.read_all(), "data: 3\n\n");
  EXPECT_FALSE(client.is_broken());

  TestClient gone = served.connect();
  gone.send(get("/events"));
  gone.read_until_text("\n\n");
  gone.close();
  EXPECT_TRUE(served.reaches_connections(0));
  EXPECT_FALSE(served.thread().call([&] { return stream->is_open() || stream->send("data: 5\n\n"); }));
}

TEST(HttpServer, AStreamsSlowReaderIsCutAtTheBound) {
  std::shared_ptr<EventStream> stream;
  Served served([&](const std::shared_ptr<HttpExchange>& exchange) { stream = exchange->start_event_stream(); });
  TestClient client = served.connect();
  client.send(get("/events"));
  client.read_until_text("\r\n\r\n");
  const std::string event(64 * 1024, 'e');
  // The kernel takes a few MiB for a reader that does not read; then our bound must hold.
  int taken = 0;
  for (; taken < 1000 && served.thread().call([&] { return stream->send(event); }); ++taken) {
  }
  EXPECT_GE(taken, 16);
  EXPECT_LT(taken, 1000);
  EXPECT_FALSE(served.thread().call([&] { return stream->is_open(); }));
  EXPECT_TRUE(served.reaches_connections(0));
}

// A thousand connections that say half a head and no more: an ordinary request is answered all the same.
TEST(HttpServer, HalfOpenConnectionsDoNotStopAnOrdinaryRequest) {
  Served served(echo);
  std::vector<TestClient> half_open;
  for (int i = 0; i < 1000; ++i) {
    half_open.push_back(served.connect());
    ASSERT_TRUE(half_open.back().is_connected()) << i << ": raise the number of open files (ulimit -n)";
    half_open.back().send(i % 2 == 0 ? "GET / HT" : "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc");
  }
  EXPECT_TRUE(served.reaches_connections(1000));
  EXPECT_THAT(served.ask(get("/ordinary", "Connection: close\r\n")), HasSubstr("GET /ordinary "));
  half_open.clear();
  EXPECT_TRUE(served.reaches_connections(0));
}

TEST(HttpServer, SaysWhatIsWrongWithAnAddress) {
  Served served(echo);
  LoopThread thread;
  thread.call([&] {
    HttpServer second(thread.loop(), echo);
    const auto taken = second.listen("127.0.0.1:" + std::to_string(served.port()));
    ASSERT_FALSE(taken.ok());
    EXPECT_THAT(taken.error(), HasSubstr("choose another port"));
    EXPECT_FALSE(second.listen(":7070").ok());
    // And after a refusal it can still be told a good one.
    EXPECT_TRUE(second.listen("[::1]:0").ok() || second.listen("127.0.0.1:0").ok());
  });
}

}  // namespace
}  // namespace defib::net
