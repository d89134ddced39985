#include "net/http_client.h"

#include <future>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <memory>
#include <optional>
#include <string>

#include "net/http_server.h"
#include "net/test_client.h"

namespace defib::net {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// A client and a server of ours on one loop.
class Clients : public ::testing::Test {
 protected:
  void SetUp() override {
    port_ = thread_.call([&] {
      client_ = std::make_unique<HttpClient>(thread_.loop());
      server_ = std::make_unique<HttpServer>(
          thread_.loop(), [this](const std::shared_ptr<HttpExchange>& exchange) { serve(exchange); });
      return server_->listen("127.0.0.1:0").value();
    });
  }
  void TearDown() override {
    thread_.call([&] {
      client_.reset();
      server_.reset();
      kept_.reset();
    });
  }

  void serve(const std::shared_ptr<HttpExchange>& exchange) {
    const HttpRequest& request = exchange->request();
    if (request.path == "/keep") {
      kept_ = exchange;
    } else if (request.path == "/large") {
      exchange->respond({.body = std::string(1 << 20, 'l')});
    } else if (request.path == "/later") {
      exchange->respond({.status = 429, .headers = {{"Retry-After", "7"}}});
    } else if (request.path == "/moved") {
      exchange->respond({.status = 302, .headers = {{"Location", "/elsewhere"}}});
    } else {
      exchange->respond({.body = request.method + " " + request.path + " [" + request.body + "] " +
                                 std::string(request.header("x-test")) + " " + std::string(request.header("expect"))});
    }
  }

  std::string url(std::string_view path) { return "http://127.0.0.1:" + std::to_string(port_) + std::string(path); }

  ClientAnswer ask(ClientRequest request) {
    const auto answer = std::make_shared<std::promise<ClientAnswer>>();
    bool is_sending = false;
    const auto loop_thread = thread_.call([] { return std::this_thread::get_id(); });
    thread_.call([&] {
      is_sending = true;
      client_->send(std::move(request), [&, answer](ClientAnswer told) {
        EXPECT_FALSE(is_sending);
        EXPECT_EQ(std::this_thread::get_id(), loop_thread);
        answer->set_value(std::move(told));
      });
      is_sending = false;
    });
    auto future = answer->get_future();
    if (future.wait_for(std::chrono::seconds(20)) != std::future_status::ready) {
      ADD_FAILURE() << "no answer";
      std::abort();
    }
    return future.get();
  }

  LoopThread thread_;
  std::unique_ptr<HttpClient> client_;
  std::unique_ptr<HttpServer> server_;
  std::shared_ptr<HttpExchange> kept_;
  std::uint16_t port_ = 0;
};

TEST_F(Clients, SendMethodHeadersAndBody) {
  EXPECT_EQ(ask({.url = url("/a")}).body, "GET /a []  ");
  const ClientAnswer answer =
      ask({.method = "POST", .url = url("/b"), .headers = {{"X-Test", "t"}}, .body = std::string(5000, 'b')});
  EXPECT_EQ(answer.status, 200u);
  EXPECT_EQ(answer.error, "");
  EXPECT_EQ(answer.body, "POST /b [" + std::string(5000, 'b') + "] t ");
  EXPECT_EQ(ask({.method = "POST", .url = url("/c")}).body, "POST /c []  ");
  EXPECT_EQ(ask({.method = "DELETE", .url = url("/d")}).body, "DELETE /d []  ");
  EXPECT_EQ(ask({.method = "PUT", .url = url("/e"), .body = "x"}).body, "PUT /e [x]  ");
  EXPECT_EQ(ask({.method = "HEAD", .url = url("/f")}).status, 200u);
}

TEST_F(Clients, TellStatusAndRetryAfterAndFollowNobody) {
  const ClientAnswer later = ask({.url = url("/later")});
  EXPECT_EQ(later.status, 429u);
  EXPECT_EQ(later.retry_after, "7");
  EXPECT_EQ(ask({.url = url("/moved")}).status, 302u);
}

TEST_F(Clients, ClipTheAnswerAtItsBound) {
  const ClientAnswer answer = ask({.url = url("/large"), .answer_bytes_max = 1000});
  EXPECT_EQ(answer.status, 200u);
  EXPECT_EQ(answer.body, std::string(1000, 'l'));
}

TEST_F(Clients, TellWhatFailedButNoSecret) {
  const std::uint16_t closed_port = thread_.call([&] {
    HttpServer gone(thread_.loop(), [](const auto&) {});
    return gone.listen("127.0.0.1:0").value();
  });
  const std::string base = "http://user:secret@127.0.0.1:" + std::to_string(closed_port) + "/secret?secret";
  const ClientAnswer refused = ask({.url = base});
  EXPECT_EQ(refused.status, 0u);
  EXPECT_THAT(refused.error, HasSubstr("Connection refused"));
  EXPECT_THAT(refused.error, HasSubstr("(http://127.0.0.1)"));
  EXPECT_THAT(refused.error, Not(HasSubstr("secret")));
  for (const char* bad :
       {"", "secret", "file:///etc/secret", "gopher://127.0.0.1/secret", "http://127.0.0.1:secret/"}) {
    const ClientAnswer answer = ask({.url = bad});
    EXPECT_EQ(answer.status, 0u) << bad;
    EXPECT_NE(answer.error, "") << bad;
    EXPECT_THAT(answer.error, Not(HasSubstr("secret"))) << bad;
  }
}

TEST_F(Clients, RefuseALineBreakInAHeader) {
  EXPECT_THAT(ask({.url = url("/a"), .headers = {{"X-Test", "t\r\nX-Evil: 1"}}}).error, HasSubstr("line break"));
  EXPECT_THAT(ask({.method = "GET / HTTP/1.1\r\nX: ", .url = url("/a")}).error, HasSubstr("line break"));
}

TEST_F(Clients, TimeOut) {
  const Instant begin = read_steady();
  const ClientAnswer answer = ask({.url = url("/keep"), .timeout = 100ms});
  EXPECT_EQ(answer.status, 0u);
  EXPECT_NE(answer.error, "");
  EXPECT_LT(read_steady() - begin, 5s);
}

TEST_F(Clients, RefuseMoreThanTheBoundAtOnce) {
  std::size_t refused = 0;
  thread_.call([&] {
    for (std::size_t i = 0; i < HttpClient::kRequestsMax + 5; ++i) {
      // They wait for an answer that never comes; only those above the bound hear anything.
      client_->send({.url = url("/keep"), .timeout = 60s}, [&](const ClientAnswer& answer) {
        EXPECT_THAT(answer.error, HasSubstr("under way already"));
        ++refused;
      });
    }
  });
  for (int i = 0; i < 1000 && thread_.call([&] { return refused; }) < 5; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  thread_.call([&] {
    EXPECT_EQ(refused, 5u);
    client_.reset();
  });
}

// The end comes at once though a server never answers, and an answer posted before it finds nobody.
TEST_F(Clients, EndQuicklyAndTellNobodyAfterwards) {
  bool is_told = false;
  thread_.call([&] {
    client_->send({.url = url("/keep"), .timeout = 60s}, [&](const ClientAnswer&) { is_told = true; });
    client_->send({.url = "not sendable", .headers = {{"a", "\n"}}}, [&](const ClientAnswer&) { is_told = true; });
    const Instant begin = read_steady();
    client_.reset();
    EXPECT_LT(read_steady() - begin, 2s);
  });
  // Whatever was posted before has run by the second of two round trips.
  for (int i = 0; i < 2; ++i) thread_.call([] {});
  EXPECT_FALSE(thread_.call([&] { return is_told; }));
}

}  // namespace
}  // namespace defib::net
