#include "net/http_head.h"

#include <gtest/gtest.h>
#include <string>

namespace defib::net {
namespace {

unsigned status_of(const std::string& head) {
  const auto fault = check_head(head);
  return fault ? fault->status : 200;
}

std::string code_of(const std::string& head) {
  const auto fault = check_head(head);
  return fault ? std::string(fault->code) : "";
}

TEST(HttpHead, TakesWhatOrdinaryClientsSend) {
  EXPECT_EQ(code_of("GET / HTTP/1.1\r\nHost: 127.0.0.1:7070\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n"), "");
  EXPECT_EQ(
      code_of("POST /v1/heartbeats?x=1 HTTP/1.1\r\nhost: [::1]:7070\r\nContent-Length: 12\r\nX-Tab:\ta\tb\r\n\r\n"),
      "");
  EXPECT_EQ(code_of("POST / HTTP/1.1\r\nHOST: a\r\nTransfer-Encoding: Chunked\r\n\r\n"), "");
  EXPECT_EQ(code_of("GET / HTTP/1.0\r\n\r\n"), "");
  EXPECT_EQ(code_of("GET / HTTP/1.1\r\nHost:\r\nX-Empty:\r\n\r\n"), "");
}

TEST(HttpHead, RefusesWhateverCouldBeReadInTwoWays) {
  struct Case {
    const char* lines;
    const char* code;
  };
  const Case cases[] = {
      {"Host: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n", "two_lengths"},
      {"Host: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n", "repeated_length"},
      {"Host: a\r\nContent-Length: 1, 1\r\n", "bad_length"},
      {"Host: a\r\nContent-Length: +1\r\n", "bad_length"},
      {"Host: a\r\nContent-Length: -1\r\n", "bad_length"},
      {"Host: a\r\nContent-Length: 0x1\r\n", "bad_length"},
      {"Host: a\r\nContent-Length:\r\n", "bad_length"},
      {"Host: a\r\nContent-Length: 99999999999999999999\r\n", "bad_length"},
      {"Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "repeated_encoding"},
      {"Host: a\r\nTransfer-Encoding: gzip, chunked\r\n", "encoding_unknown"},
      {"Host: a\r\nTransfer-Encoding: \vchunked\r\n", "bad_header"},
      {"Host: a\r\nTransfer-Encoding : chunked\r\n", "bad_header"},
      {"Host: a\r\nHost: a\r\n", "repeated_host"},
      {"Host: a, b\r\n", "bad_host"},
      {"Host: u@a\r\n", "bad_host"},
      {"X-A: b\r\n", "missing_host"},
      {"Host: a\r\nX-A: b\r\n c\r\n", "folded_header"},
      {"Host: a\r\n\tX-A: b\r\n", "folded_header"},
      {"Host: a\r\nX A: b\r\n", "bad_header"},
      {"Host: a\r\n: b\r\n", "bad_header"},
      {"Host: a\r\nno colon\r\n", "bad_header"},
      {"Host: a\r\nX-A: \x01\r\n", "bad_header"},
      {"Host: a\r\nX-A: \x7f\r\n", "bad_header"},
  };
  for (const Case& one : cases) {
    EXPECT_EQ(code_of(std::string("GET / HTTP/1.1\r\n") + one.lines + "\r\n"), one.code) << one.lines;
  }
  EXPECT_EQ(code_of("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), "encoding_in_1_0");
}

TEST(HttpHead, RefusesOtherRequestLinesWithTheFittingStatus) {
  const std::string host = "\r\nHost: a\r\n\r\n";
  for (const char* line : {"GET", "GET /", "GET  / HTTP/1.1 ", "GET / HTTP/1.1 ", "GET / http/1.1", "GET / HTTP/1.10",
                           "GET /\x80 HTTP/1.1", "GET /a b HTTP/1.1", " GET / HTTP/1.1", "G(T / HTTP/1.1",
                           "GET  HTTP/1.1", "GET /\t HTTP/1.1"}) {
    EXPECT_EQ(status_of(line + host), 400u) << line;
  }
  EXPECT_EQ(status_of("GET / HTTP/2.0" + host), 505u);
  EXPECT_EQ(status_of("BREW / HTTP/1.1" + host), 501u);
  EXPECT_EQ(status_of("get / HTTP/1.1" + host), 501u);
  EXPECT_EQ(status_of("TRACE / HTTP/1.1" + host), 405u);
  EXPECT_EQ(status_of("CONNECT a:1 HTTP/1.1" + host), 405u);
}

TEST(HttpHead, BoundsTheNumberOfFields) {
  std::string head = "GET / HTTP/1.1\r\nHost: a\r\n";
  for (std::size_t i = 1; i < kHttpFieldsMax; ++i) head += "A: b\r\n";
  EXPECT_EQ(status_of(head + "\r\n"), 200u);
  EXPECT_EQ(status_of(head + "A: b\r\n\r\n"), 431u);
}

TEST(HttpHead, ScanFindsTheEndHoweverTheBytesArrive) {
  const std::string head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
  const std::string bytes = head + "GET /next";
  EXPECT_EQ(scan_head(bytes, 0).end, head.size());
  for (std::size_t size = 1; size <= head.size(); ++size) {
    const HeadScan scan = scan_head(std::string_view(bytes).substr(0, size), size - 1);
    EXPECT_FALSE(scan.fault) << size;
    EXPECT_EQ(scan.end, size == head.size() ? size : 0) << size;
  }
}

TEST(HttpHead, ScanRefusesAForbiddenByteAsSoonAsItArrives) {
  EXPECT_TRUE(scan_head("GET / HTTP/1.1\n", 0).fault);
  EXPECT_TRUE(scan_head("GET / HTTP/1.1\r\nHost: a\n", 0).fault);
  EXPECT_TRUE(scan_head("GET /\rX", 0).fault);
  EXPECT_TRUE(scan_head("\n", 0).fault);
  EXPECT_TRUE(scan_head("\r\n", 0).fault);
  EXPECT_TRUE(scan_head(std::string_view("GET\0", 4), 0).fault);
  EXPECT_FALSE(scan_head("GET /\r", 0).fault);
}

TEST(HttpTargets, DecodeStrictly) {
  const auto target = parse_target("/v1/agents/a%3Ab?state=failed&q=a+b%26c&flag&&empty=&x=1=2");
  ASSERT_TRUE(target);
  EXPECT_EQ(target->path, "/v1/agents/a:b");
  const std::vector<std::pair<std::string, std::string>> expected = {
      {"state", "failed"}, {"q", "a b&c"}, {"flag", ""}, {"empty", ""}, {"x", "1=2"}};
  EXPECT_EQ(target->query, expected);
  EXPECT_EQ(parse_target("/a+b/../c%2e")->path, "/a+b/../c.");
  EXPECT_TRUE(parse_target("/?")->query.empty());
}

TEST(HttpTargets, RefuseEveryOtherForm) {
  for (const char* text : {"", "*", "a", "http://a/", "//..%00", "/%00", "/%", "/%4", "/%zz", "/%4g", "/a#b", "/?a=%0",
                           "/?%00=1", "/?a=%00", "/%0a", "/%7f", "/?a=%-1"}) {
    EXPECT_FALSE(parse_target(text)) << text;
  }
}

TEST(HttpTargets, BoundTheNumberOfParameters) {
  std::string text = "/?";
  for (std::size_t i = 0; i < kHttpParametersMax; ++i) text += "a&";
  EXPECT_TRUE(parse_target(text));
  EXPECT_FALSE(parse_target(text + "a"));
}

}  // namespace
}  // namespace defib::net
