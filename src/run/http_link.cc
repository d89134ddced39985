#include "run/http_link.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/check.h"

namespace defib::run {

HttpLink::HttpLink(LinkOptions options)
    : options_(std::move(options)),
      target_(fmt::format("{}{}/v1/heartbeats", options_.url.printable(), options_.url.path)),
      delay_(options_.interval, options_.seed) {
  curl_global_init(CURL_GLOBAL_DEFAULT);
  multi_ = curl_multi_init();
  easy_ = curl_easy_init();
  DEFIB_CHECK(multi_ != nullptr && easy_ != nullptr);
  curl_multi_setopt(multi_, CURLMOPT_SOCKETFUNCTION, &HttpLink::on_socket);
  curl_multi_setopt(multi_, CURLMOPT_SOCKETDATA, this);
  curl_multi_setopt(multi_, CURLMOPT_TIMERFUNCTION, &HttpLink::on_timer);
  curl_multi_setopt(multi_, CURLMOPT_TIMERDATA, this);
  headers_ = curl_slist_append(headers_, "Content-Type: application/json");
  const std::string& token = options_.url.password.empty() ? options_.token : options_.url.password;
  if (!token.empty()) headers_ = curl_slist_append(headers_, fmt::format("Authorization: Bearer {}", token).c_str());
  curl_easy_setopt(easy_, CURLOPT_URL, target_.c_str());
  curl_easy_setopt(easy_, CURLOPT_HTTPHEADER, headers_);
  curl_easy_setopt(easy_, CURLOPT_WRITEFUNCTION, &HttpLink::on_body);
  curl_easy_setopt(easy_, CURLOPT_WRITEDATA, this);
  curl_easy_setopt(easy_, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy_, CURLOPT_TIMEOUT_MS, static_cast<long>(to_ms(kAnswerLimit)));
  // A look-up that hangs must not keep us from ending.
  curl_easy_setopt(easy_, CURLOPT_QUICK_EXIT, 1L);
}

HttpLink::~HttpLink() {
  if (is_busy_) curl_multi_remove_handle(multi_, easy_);
  curl_easy_cleanup(easy_);
  curl_multi_cleanup(multi_);
  curl_slist_free_all(headers_);
  curl_global_cleanup();
}

void HttpLink::say(Instant now, Message beat) {
  beat_ = std::move(beat.json);
  send_next(now);
}

void HttpLink::keep(Instant now, Message message, bool /*is_registration*/) {
  if (message.json.empty()) return;  // Hashes are Redis' way; here a beat says all.
  if (kept_.size() >= kKeptMax) {
    kept_.pop_front();
    is_kept_under_way_ = false;
  }
  kept_.push_back(std::move(message.json));
  send_next(now);
}

// ---- Turns -------------------------------------------------------------------------------------------------

void HttpLink::add_to(PollSet& set) {
  slots_.clear();
  for (const auto& [socket, events] : sockets_) slots_.emplace_back(socket, set.add(socket, events));
}

void HttpLink::step(Instant now, const PollSet& set) {
  int running = 0;
  for (const auto& [socket, slot] : slots_) {
    const int ready = set.ready(slot);
    if (ready == 0) continue;
    const int what = ((ready & (POLLIN | POLLHUP)) != 0 ? CURL_CSELECT_IN : 0) |
                     ((ready & POLLOUT) != 0 ? CURL_CSELECT_OUT : 0) | ((ready & POLLERR) != 0 ? CURL_CSELECT_ERR : 0);
    curl_multi_socket_action(multi_, socket, what, &running);
  }
  slots_.clear();
  if (std::exchange(is_timeout_new_, false)) curl_at_ = curl_timeout_ < Duration::zero() ? kNever : now + curl_timeout_;
  if (now >= curl_at_) {
    curl_at_ = kNever;
    curl_multi_socket_action(multi_, CURL_SOCKET_TIMEOUT, 0, &running);
  }
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi_, &left)) {
    if (message->msg == CURLMSG_DONE) on_end(now, message->data.result);
  }
  if (now >= retry_at_) {
    retry_at_ = kNever;
    events_.push_back({.kind = LinkEvent::Kind::on_line});
    send_next(now);
  }
}

Instant HttpLink::next_wakeup() const {
  // A time-out that is not yet seen against a clock: look at once.
  if (is_timeout_new_ && curl_timeout_ >= Duration::zero()) return Instant{};
  return std::min(curl_at_, retry_at_);
}

std::vector<LinkEvent> HttpLink::take_events() { return std::exchange(events_, {}); }

// ---- Requests ----------------------------------------------------------------------------------------------

void HttpLink::send_next(Instant now) {
  if (is_busy_ || (retry_at_ != kNever && now < retry_at_)) return;
  if (kept_.empty() && beat_.empty()) return;
  is_kept_under_way_ = !kept_.empty();
  const std::string body = is_kept_under_way_ ? kept_.front() : std::exchange(beat_, {});
  curl_easy_setopt(easy_, CURLOPT_POSTFIELDSIZE, static_cast<long>(body.size()));
  curl_easy_setopt(easy_, CURLOPT_COPYPOSTFIELDS, body.c_str());
  answer_.clear();
  is_busy_ = true;
  curl_multi_add_handle(multi_, easy_);
}

void HttpLink::on_end(Instant now, CURLcode code) {
  long status = 0;
  curl_easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &status);
  curl_multi_remove_handle(multi_, easy_);
  is_busy_ = false;
  if (code != CURLE_OK || (status != 200 && status != 400)) {
    is_heard_ = false;
    is_kept_under_way_ = false;
    beat_.clear();
    retry_at_ = now + delay_.next();
    const std::string reason = code != CURLE_OK ? curl_easy_strerror(code) : fmt::format("status {}", status);
    outage_.on_failure(now, options_.url.printable(), reason, events_);
    return;
  }
  delay_.reset();
  outage_.on_success();
  // 400: it has heard us and says no; the same again would be refused again.
  is_heard_ = status == 200;
  if (std::exchange(is_kept_under_way_, false) && !kept_.empty()) kept_.pop_front();
  for (ControlCommand& command : parse_answer_commands(answer_)) {
    events_.push_back({.kind = LinkEvent::Kind::command, .command = std::move(command)});
  }
  send_next(now);
}

// ---- libcurl's callbacks -----------------------------------------------------------------------------------

int HttpLink::on_socket(CURL* /*easy*/, curl_socket_t socket, int what, void* self, void* /*socket_data*/) {
  HttpLink& link = *static_cast<HttpLink*>(self);
  if (what == CURL_POLL_REMOVE) {
    link.sockets_.erase(socket);
  } else {
    link.sockets_[socket] = static_cast<short>(what == CURL_POLL_IN    ? POLLIN
                                               : what == CURL_POLL_OUT ? POLLOUT
                                                                       : POLLIN | POLLOUT);
  }
  return 0;
}

int HttpLink::on_timer(CURLM* /*multi*/, long timeout_ms, void* self) {
  HttpLink& link = *static_cast<HttpLink*>(self);
  link.curl_timeout_ = from_ms(timeout_ms);
  link.is_timeout_new_ = true;
  return 0;
}

std::size_t HttpLink::on_body(char* bytes, std::size_t size, std::size_t count, void* self) {
  HttpLink& link = *static_cast<HttpLink*>(self);
  const std::size_t total = size * count;
  if (link.answer_.size() + total > kAnswerBytesMax) return 0;
  link.answer_.append(bytes, total);
  return total;
}

std::unique_ptr<MonitorLink> make_http_link(LinkOptions options) {
  return std::make_unique<HttpLink>(std::move(options));
}

}  // namespace defib::run
