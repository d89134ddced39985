// The link over HTTP: beats and reports are POSTed to /v1/heartbeats, commands come in the answers.
//
// libcurl's multi interface within the runner's own loop; one request at a time. Certificates are checked, redirects
// not followed. Between two beats no command can reach us.
#pragma once

#include <curl/curl.h>
#include <deque>
#include <map>

#include "run/monitor_link.h"

namespace defib::run {

class HttpLink final : public MonitorLink {
 public:
  explicit HttpLink(LinkOptions options);
  ~HttpLink() override;
  HttpLink(const HttpLink&) = delete;
  HttpLink& operator=(const HttpLink&) = delete;

  void say(Instant now, Message beat) override;
  void keep(Instant now, Message message, bool is_registration) override;
  bool has_unsaid() const override { return !kept_.empty(); }
  bool is_heard() const override { return is_heard_; }
  bool is_lost() const override { return outage_.is_out(); }
  bool hears_commands() const override { return false; }
  void add_to(PollSet& set) override;
  void step(Instant now, const PollSet& set) override;
  Instant next_wakeup() const override;
  std::vector<LinkEvent> take_events() override;

 private:
  static constexpr std::size_t kAnswerBytesMax = 256 * 1024;

  static int on_socket(CURL* easy, curl_socket_t socket, int what, void* self, void* socket_data);
  static int on_timer(CURLM* multi, long timeout_ms, void* self);
  static std::size_t on_body(char* bytes, std::size_t size, std::size_t count, void* self);

  void send_next(Instant now);
  void on_end(Instant now, CURLcode code);

  const LinkOptions options_;
  const std::string target_;
  CURLM* multi_ = nullptr;
  CURL* easy_ = nullptr;
  curl_slist* headers_ = nullptr;
  // What libcurl waits for, and the slots of this turn.
  std::map<curl_socket_t, short> sockets_;
  std::vector<std::pair<curl_socket_t, std::size_t>> slots_;
  Duration curl_timeout_{-1};  // As told; negative: none. Becomes curl_at_ at the next look at the clock.
  bool is_timeout_new_ = false;
  Instant curl_at_ = kNever;

  bool is_busy_ = false;
  bool is_kept_under_way_ = false;  // The request under way carries kept_.front().
  std::string answer_;
  std::string beat_;  // The newest that waits for the line; empty: none.
  std::deque<std::string> kept_;
  bool is_heard_ = false;
  ReconnectDelay delay_;
  Instant retry_at_ = kNever;
  OutageTeller outage_;
  std::vector<LinkEvent> events_;
};

}  // namespace defib::run
