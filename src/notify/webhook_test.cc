#include "notify/webhook.h"

#include <ctime>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <vector>

#include <boost/json.hpp>

#include "net/http_server.h"
#include "net/loop.h"

namespace defib::notify {
namespace {

namespace json = boost::json;
using core::DeliveryEnd;
using ::testing::HasSubstr;
using ::testing::Not;

Message make_message() {
  Message message;
  message.notice = {.id = 3,
                    .channel = "oncall",
                    .status = core::NoticeStatus::firing,
                    .incident = 12,
                    .severity = "critical",
                    .message = "coder-1 has failed: silent for 93 s",
                    .action_required = "look at it",
                    .agent_id = "coder-1",
                    .last_heartbeat = wall_from_ms(1'767'323'045'678)};
  message.incident = {.id = 12, .agent_id = "coder-1", .evidence = "silent for 93 s"};
  message.agent = core::AgentView{.id = "coder-1", .type = "coder"};
  message.link_base = "http://127.0.0.1:7070";
  return message;
}

// A receiver of ours on the notifier's own loop, which answers as told.
class Webhook : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto port = server_.listen("127.0.0.1:0");
    ASSERT_TRUE(port.ok()) << port.error();
    url_ = "http://127.0.0.1:" + std::to_string(port.value()) + "/hook/secret?token=secret";
  }

  DeliveryResult send(const Message& message, const std::string& url,
                      std::vector<std::pair<std::string, std::string>> headers = {}) {
    WebhookNotifier notifier(client_, url, std::move(headers));
    std::vector<DeliveryResult> told;
    notifier.send(message, [&](DeliveryResult result) { told.push_back(std::move(result)); });
    EXPECT_TRUE(told.empty()) << "told from within send()";
    const Instant limit = net::read_steady() + 30s;
    loop_.run([&]() -> Instant {
      if (!told.empty() || net::read_steady() >= limit) loop_.stop();
      return limit;
    });
    EXPECT_EQ(told.size(), 1u);
    return told.empty() ? DeliveryResult{} : told.front();
  }

  DeliveryResult send_answered(unsigned status, std::string retry_after = "") {
    answer_ = {.status = status};
    if (!retry_after.empty()) answer_.headers = {{"Retry-After", retry_after}};
    return send(make_message(), url_);
  }

  net::Loop loop_;
  net::HttpResponse answer_;
  std::vector<net::HttpRequest> received_;
  net::HttpServer server_{loop_, [this](const std::shared_ptr<net::HttpExchange>& exchange) {
                            received_.push_back(exchange->request());
                            exchange->respond(answer_);
                          }};
  net::HttpClient client_{loop_};
  std::string url_;
};

TEST_F(Webhook, PostsTheContractsBody) {
  const DeliveryResult result = send(make_message(), url_, {{"Authorization", "Bearer t"}});
  EXPECT_EQ(result.end, DeliveryEnd::done);
  ASSERT_EQ(received_.size(), 1u);
  const net::HttpRequest& request = received_[0];
  EXPECT_EQ(request.method, "POST");
  EXPECT_EQ(request.path, "/hook/secret");
  EXPECT_EQ(request.header("content-type"), "application/json");
  EXPECT_EQ(request.header("authorization"), "Bearer t");
  const json::object body = json::parse(request.body).as_object();
  EXPECT_EQ(body.at("version"), 1);
  EXPECT_EQ(body.at("id"), "defib-12-firing");
  EXPECT_EQ(body.at("status"), "firing");
  EXPECT_EQ(body.at("severity"), "critical");
  EXPECT_EQ(body.at("message"), "coder-1 has failed: silent for 93 s");
  EXPECT_EQ(body.at("lastHeartbeat"), "2026-01-02T03:04:05.678Z");
  EXPECT_EQ(body.at("actionRequired"), "look at it");
  EXPECT_EQ(body.at("incident").at("id"), 12);
  EXPECT_EQ(body.at("agent").at("agentId"), "coder-1");
  EXPECT_EQ(body.at("links").at("incident"), "http://127.0.0.1:7070/v1/incidents/12");
  EXPECT_EQ(body.at("links").at("agent"), "http://127.0.0.1:7070/#/agents/coder-1");
}

TEST_F(Webhook, LeavesOutWhatIsUnknownAndRepairsWhatIsNoText) {
  Message message = make_message();
  message.notice.status = core::NoticeStatus::resolved;
  message.notice.last_heartbeat = {};
  message.notice.message = "bad \xff byte and \"quotes\"";
  message.agent.reset();
  EXPECT_EQ(send(message, url_).end, DeliveryEnd::done);
  ASSERT_EQ(received_.size(), 1u);
  const json::object body = json::parse(received_[0].body).as_object();
  EXPECT_EQ(body.at("id"), "defib-12-resolved");
  EXPECT_EQ(body.at("message"), "bad \xef\xbf\xbd byte and \"quotes\"");
  EXPECT_TRUE(body.at("lastHeartbeat").is_null());
  EXPECT_TRUE(body.at("agent").is_null());
}

TEST_F(Webhook, AnOwnContentTypeReplacesOurs) {
  EXPECT_EQ(send(make_message(), url_, {{"content-Type", "application/vnd.x+json"}}).end, DeliveryEnd::done);
  ASSERT_EQ(received_.size(), 1u);
  EXPECT_EQ(received_[0].header("content-type"), "application/vnd.x+json");
  EXPECT_THAT(received_[0].headers,
              Not(::testing::Contains(std::pair<std::string, std::string>("content-type", "application/json"))));
}

TEST_F(Webhook, TellsDoneFromLaterFromRefused) {
  for (const unsigned status : {200u, 201u, 202u, 204u})
    EXPECT_EQ(send_answered(status).end, DeliveryEnd::done) << status;
  for (const unsigned status : {408u, 425u, 429u, 500u, 502u, 503u, 504u}) {
    const DeliveryResult result = send_answered(status);
    EXPECT_EQ(result.end, DeliveryEnd::retry_later) << status;
    EXPECT_EQ(result.retry_after, Duration{0});
    EXPECT_THAT(result.detail, HasSubstr(std::to_string(status)));
  }
  for (const unsigned status : {301u, 302u, 307u, 400u, 401u, 403u, 404u, 410u, 413u, 422u}) {
    const DeliveryResult result = send_answered(status);
    EXPECT_EQ(result.end, DeliveryEnd::refused) << status;
    EXPECT_THAT(result.detail, HasSubstr(std::to_string(status)));
    EXPECT_THAT(result.detail, Not(HasSubstr("secret")));
  }
}

TEST_F(Webhook, HonoursRetryAfterUpToAnHour) {
  EXPECT_EQ(send_answered(429, "7").retry_after, Duration(7s));
  EXPECT_EQ(send_answered(503, "86400").retry_after, Duration(1h));
  EXPECT_EQ(send_answered(503, "99999999999999999999999").retry_after, Duration(1h));
  for (const char* useless : {"-5", "soon", "7 s", "Sun, 06 Nov 1994 08:49:37 GMT"}) {
    EXPECT_EQ(send_answered(429, useless).retry_after, Duration{0}) << useless;
  }
  const std::time_t in_two_minutes = static_cast<std::time_t>(to_ms(net::read_wall()) / 1000 + 120);
  std::tm parts{};
  ::gmtime_r(&in_two_minutes, &parts);
  char date[64];
  ASSERT_GT(std::strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &parts), 0u);
  const Duration asked = send_answered(429, date).retry_after;
  EXPECT_GT(asked, Duration(60s));
  EXPECT_LE(asked, Duration(120s));
}

TEST_F(Webhook, NoAnswerIsWorthARetryAndNamesNoSecret) {
  server_.close();
  const DeliveryResult result = send(make_message(), url_);
  EXPECT_EQ(result.end, DeliveryEnd::retry_later);
  EXPECT_THAT(result.detail, HasSubstr("connect"));
  EXPECT_THAT(result.detail, Not(HasSubstr("secret")));
}

}  // namespace
}  // namespace defib::notify
