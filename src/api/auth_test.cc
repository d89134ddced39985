#include "api/auth.h"

#include <gtest/gtest.h>
#include <string>

#include "api/test_fakes.h"

namespace defib::api {
namespace {

using Headers = std::vector<std::pair<std::string, std::string>>;

// The code of the refusal, "" where there is none.
std::string refused(const Auth& auth, Headers headers, std::string method = "GET", std::string path = "/v1/agents") {
  const auto refusal = auth.refusal(make_request(std::move(method), path, std::move(headers)));
  if (!refusal) return "";
  return std::string(boost::json::parse(refusal->body).at("code").as_string());
}

TEST(Auth, LoopbackIsGoodByAnyNameAndPort) {
  const Auth auth({.listen = "127.0.0.1:7070"});
  for (const char* host : {"localhost", "LOCALHOST:7070", "127.0.0.1:7070", "127.0.0.2", "[::1]:9999", "[::1]"}) {
    EXPECT_EQ(refused(auth, {{"host", host}}), "") << host;
  }
}

TEST(Auth, AForeignHostIsRefused) {
  const Auth auth({.listen = "127.0.0.1:7070"});
  for (const char* host : {"", "evil.example", "evil.example:7070", "127.0.0.1.evil.example", "localhost.evil.example",
                           "127.1", "127.0.0.256", "0127.0.0.1", "127.0.0.1:x", "127.0.0.1:7070:1", "[::1", "[::1]x",
                           "192.168.1.5:7070", "[::2]", ":7070", "127.0.0.", "user@127.0.0.1"}) {
    EXPECT_EQ(refused(auth, {{"host", host}}), "foreign_host") << host;
  }
}

TEST(Auth, TheListenedAddressAndConfiguredNamesAreGood) {
  const Auth auth({.listen = "192.168.1.5:7070", .hosts = {"Defib.lan"}});
  EXPECT_EQ(refused(auth, {{"host", "192.168.1.5:7070"}}), "");
  EXPECT_EQ(refused(auth, {{"host", "defib.LAN"}}), "");
  EXPECT_EQ(refused(auth, {{"host", "192.168.1.6:7070"}}), "foreign_host");
}

TEST(Auth, ListeningEverywhereAnyAddressIsOursButNoName) {
  const Auth auth({.listen = "0.0.0.0:7070"});
  EXPECT_EQ(refused(auth, {{"host", "10.1.2.3:7070"}}), "");
  EXPECT_EQ(refused(auth, {{"host", "[fe80::1]:7070"}}), "");
  EXPECT_EQ(refused(auth, {{"host", "evil.example:7070"}}), "foreign_host");
}

TEST(Auth, OnlyThePageOfTheSameOriginMayAsk) {
  const Auth auth({.listen = "127.0.0.1:7070"});
  const auto with = [&auth](const char* host, const char* origin) {
    return refused(auth, {{"host", host}, {"origin", origin}});
  };
  EXPECT_EQ(with("127.0.0.1:7070", "http://127.0.0.1:7070"), "");
  EXPECT_EQ(with("localhost:7070", "http://LOCALHOST:7070"), "");
  EXPECT_EQ(with("localhost", "http://localhost:80"), "");
  EXPECT_EQ(with("localhost", "https://localhost"), "") << "a proxy may speak TLS for us";
  EXPECT_EQ(with("localhost:443", "https://localhost"), "");
  EXPECT_EQ(with("localhost:80", "https://localhost"), "foreign_origin");
  for (const char* origin : {"null", "http://evil.example", "http://localhost:3000", "http://127.0.0.1:7071", "file://",
                             "http://localhost:7070.evil.example", "chrome-extension://abc"}) {
    EXPECT_EQ(with("localhost:7070", origin), "foreign_origin") << origin;
  }
}

// <img src="http://127.0.0.1:7070/ping/a/fail"> on any page carries no Origin.
TEST(Auth, AForeignPageCanNotPingByAnImage) {
  const Auth auth({.listen = "127.0.0.1:7070"});
  EXPECT_EQ(refused(auth, {{"sec-fetch-site", "cross-site"}}, "GET", "/ping/a/fail"), "foreign_origin");
  EXPECT_EQ(refused(auth, {{"sec-fetch-site", "same-site"}}, "GET", "/ping/a"), "foreign_origin");
  EXPECT_EQ(refused(auth, {{"sec-fetch-site", "none"}}, "GET", "/ping/a"), "");
  EXPECT_EQ(refused(auth, {}, "GET", "/ping/a"), "");
  EXPECT_EQ(refused(auth, {{"sec-fetch-site", "cross-site"}}, "POST", "/v1/incidents/1/close"), "foreign_origin");
  EXPECT_EQ(refused(auth, {{"sec-fetch-site", "cross-site"}}, "GET", "/"), "") << "a link in a chat leads here";
}

TEST(Auth, WithATokenEveryRouteAsksForItButHealthzAndThePagesFiles) {
  const Auth auth({.token = "s3cret", .listen = "127.0.0.1:7070"});
  for (const char* path : {"/v1/agents", "/health/agents", "/health/agents/a", "/readyz", "/openapi.json", "/v1/events",
                           "/ping/a", "/v1/heartbeats", "/healthz/", "/page.js/"}) {
    EXPECT_EQ(refused(auth, {}, "GET", path), "no_token") << path;
  }
  for (const char* path : {"/healthz", "/", "/page.js", "/page.css", "/favicon.svg"}) {
    EXPECT_EQ(refused(auth, {}, "GET", path), "") << path;
  }
  EXPECT_EQ(refused(auth, {{"authorization", "Bearer s3cret"}}), "");
  EXPECT_EQ(refused(auth, {{"authorization", "bearer  s3cret"}}), "");
  for (const char* wrong :
       {"Bearer", "Bearer ", "Bearer s3cre", "Bearer s3cret1", "Bearer S3cret", "Basic s3cret", "s3cret"}) {
    EXPECT_EQ(refused(auth, {{"authorization", wrong}}), "bad_token") << wrong;
  }
}

TEST(Auth, ARefusalNamesTheSchemeAndNeverTheToken) {
  const Auth auth({.token = "s3cret", .listen = "127.0.0.1:7070"});
  const auto refusal = auth.refusal(make_request("GET", "/v1/agents"));
  ASSERT_TRUE(refusal);
  EXPECT_EQ(refusal->status, 401U);
  ASSERT_EQ(refusal->headers.size(), 1U);
  EXPECT_EQ(refusal->headers[0].first, "WWW-Authenticate");
  EXPECT_EQ(refusal->headers[0].second, "Bearer");
  EXPECT_EQ(refusal->body.find("s3cret"), std::string::npos);
}

TEST(Auth, ATokenDoesNotExcuseAForeignHost) {
  const Auth auth({.token = "s3cret", .listen = "127.0.0.1:7070"});
  EXPECT_EQ(refused(auth, {{"host", "evil.example"}, {"authorization", "Bearer s3cret"}}), "foreign_host");
}

}  // namespace
}  // namespace defib::api
