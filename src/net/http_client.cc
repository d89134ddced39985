#include "net/http_client.h"

#include <algorithm>
#include <cstring>
#include <curl/curl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/socket.h>
#include <thread>
#include <unordered_map>

#include "base/check.h"
#include "net/mailbox.h"

namespace defib::net {

namespace {

// Idle connections kept for the next request.
constexpr long kConnectionsKept = 16;
// How long the thread sleeps at most; a new request wakes it.
constexpr int kPollMs = 60'000;

using RequestId = std::uint64_t;

struct Job {
  RequestId id = 0;
  ClientRequest request;
};

struct CurlFree {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
  void operator()(char* text) const { curl_free(text); }
};

// One request under way, on the client's thread. curl keeps pointers into it.
struct Transfer {
  Job job;
  std::unique_ptr<CURL, CurlFree> easy;
  std::unique_ptr<curl_slist, CurlFree> headers;
  ClientAnswer answer;
  bool is_clipped = false;
};

std::size_t take_body(char* bytes, std::size_t, std::size_t size, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  std::string& body = transfer.answer.body;
  const std::size_t room = transfer.job.request.answer_bytes_max - body.size();
  body.append(bytes, std::min(size, room));
  if (size <= room) return size;
  // Ends the transfer: nobody reads the rest.
  transfer.is_clipped = true;
  return 0;
}

curl_socket_t open_socket(void*, curlsocktype, curl_sockaddr* address) {
  return ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

// "https://example.org", or "" for what is no URL: path, user and query may be secrets.
std::string scheme_and_host(const std::string& url) {
  const std::unique_ptr<CURLU, CurlFree> parsed(curl_url());
  if (!parsed || curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK) return "";
  const auto part = [&](CURLUPart which) {
    char* text = nullptr;
    curl_url_get(parsed.get(), which, &text, 0);
    const std::unique_ptr<char, CurlFree> owned(text);
    return std::string(text != nullptr ? text : "");
  };
  return part(CURLUPART_SCHEME) + "://" + part(CURLUPART_HOST);
}

std::string explain(const Transfer& transfer, CURLcode code) {
  long os_error = 0;
  curl_easy_getinfo(transfer.easy.get(), CURLINFO_OS_ERRNO, &os_error);
  std::string text = curl_easy_strerror(code);
  // curl's own message would name the URL in places.
  if (code == CURLE_COULDNT_CONNECT && os_error != 0)
    text += fmt::format(": {}", std::strerror(static_cast<int>(os_error)));
  const std::string where = scheme_and_host(transfer.job.request.url);
  return where.empty() ? text : fmt::format("{} ({})", text, where);
}

bool has_line_break(std::string_view text) {
  return text.find_first_of(std::string_view("\r\n\0", 3)) != std::string_view::npos;
}

// False where a part of the request would say something else on the wire.
bool is_sendable(const ClientRequest& request) {
  return !has_line_break(request.method) && request.method.find(' ') == std::string::npos &&
         std::none_of(request.headers.begin(), request.headers.end(),
                      [](const auto& header) { return has_line_break(header.first) || has_line_break(header.second); });
}

void add_header(Transfer& transfer, const std::string& line) {
  curl_slist* const list = curl_slist_append(transfer.headers.get(), line.c_str());
  DEFIB_CHECK(list != nullptr);
  // curl returns the list's head, which is the one that we hold from the second line on.
  (void)transfer.headers.release();
  transfer.headers.reset(list);
}

void set_options(Transfer& transfer) {
  CURL* const easy = transfer.easy.get();
  const ClientRequest& request = transfer.job.request;
  curl_easy_setopt(easy, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
  curl_easy_setopt(easy, CURLOPT_USERAGENT, "defib/" DEFIB_VERSION);
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(std::max<std::int64_t>(to_ms(request.timeout), 1)));
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  // A name that does not resolve in time must not hold up the end (its thread is left behind).
  curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &transfer);
  if (!request.unix_socket.empty()) {
    curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, request.unix_socket.c_str());
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
  }

  if (request.method == "HEAD") {
    curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
  } else if (request.method == "POST" || !request.body.empty()) {
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request.body.c_str());
    if (request.method != "POST") curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request.method.c_str());
    // Else curl waits a second for servers that know no 100-continue.
    add_header(transfer, "Expect:");
  } else if (request.method != "GET") {
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  }
  // "Name;" is how curl is told to send a header without a value.
  for (const auto& [name, value] : request.headers)
    add_header(transfer, value.empty() ? name + ";" : name + ": " + value);
  if (transfer.headers) curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer.headers.get());
}

}  // namespace

// Two halves: the loop's thread keeps what to call, under an id; the client's own thread knows ids only. So no
// callback is ever run or destroyed on the wrong thread.
class HttpClient::Impl {
 public:
  explicit Impl(Loop& loop) : loop_(loop), waiting_(std::make_shared<Waiting>()), jobs_(kRequestsMax) {
    DEFIB_CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
    multi_ = curl_multi_init();
    DEFIB_CHECK(multi_ != nullptr);
    curl_multi_setopt(multi_, CURLMOPT_MAXCONNECTS, kConnectionsKept);
    thread_ = std::thread([this] { run(); });
  }

  ~Impl() {
    jobs_.close();
    curl_multi_wakeup(multi_);
    thread_.join();
    curl_multi_cleanup(multi_);
    curl_global_cleanup();
  }

  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  void send(ClientRequest request, std::function<void(ClientAnswer)> done) {
    const RequestId id = ++last_id_;
    std::string refusal;
    if (waiting_->size() >= kRequestsMax) {
      refusal = fmt::format("{} requests are under way already", kRequestsMax);
    } else if (!is_sendable(request)) {
      refusal = "a header or the method holds a line break or a space";
    }
    waiting_->emplace(id, std::move(done));
    // As many as wait fit into the box, so it is never full.
    if (refusal.empty()) {
      DEFIB_CHECK(jobs_.push({id, std::move(request)}));
      curl_multi_wakeup(multi_);
    } else {
      deliver(id, {.error = std::move(refusal)});
    }
  }

 private:
  using Waiting = std::unordered_map<RequestId, std::function<void(ClientAnswer)>>;

  // From either thread. The client may be gone when the loop comes to it.
  void deliver(RequestId id, ClientAnswer answer) {
    loop_.post([waiting = std::weak_ptr(waiting_), id, answer = std::move(answer)]() mutable {
      const auto alive = waiting.lock();
      if (!alive) return;
      const auto found = alive->find(id);
      DEFIB_CHECK(found != alive->end());
      const auto done = std::move(found->second);
      alive->erase(found);
      done(std::move(answer));
    });
  }

  // ---- The client's own thread ----

  void run() {
    // Signals belong to the loop's thread; SIGPIPE is OpenSSL's, where a peer has gone.
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    while (!jobs_.is_closed()) {
      for (Job& job : jobs_.take_ready()) start(std::move(job));
      int running = 0;
      curl_multi_perform(multi_, &running);
      finish_ended();
      curl_multi_poll(multi_, nullptr, 0, kPollMs, nullptr);
    }
    for (const auto& [easy, transfer] : transfers_) curl_multi_remove_handle(multi_, easy);
    transfers_.clear();
  }

  void start(Job job) {
    auto transfer = std::make_unique<Transfer>(Transfer{.job = std::move(job)});
    transfer->easy.reset(curl_easy_init());
    DEFIB_CHECK(transfer->easy != nullptr);
    set_options(*transfer);
    CURL* const easy = transfer->easy.get();
    transfers_.emplace(easy, std::move(transfer));
    DEFIB_CHECK(curl_multi_add_handle(multi_, easy) == CURLM_OK);
  }

  void finish_ended() {
    int left = 0;
    while (const CURLMsg* const message = curl_multi_info_read(multi_, &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      const CURLcode code = message->data.result;
      const auto found = transfers_.find(message->easy_handle);
      DEFIB_CHECK(found != transfers_.end());
      curl_multi_remove_handle(multi_, found->first);
      finish(*found->second, code);
      transfers_.erase(found);
    }
  }

  void finish(Transfer& transfer, CURLcode code) {
    CURL* const easy = transfer.easy.get();
    if (code == CURLE_OK || (code == CURLE_WRITE_ERROR && transfer.is_clipped)) {
      long status = 0;
      curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
      transfer.answer.status = static_cast<unsigned>(status);
      curl_header* header = nullptr;
      if (curl_easy_header(easy, "Retry-After", 0, CURLH_HEADER, -1, &header) == CURLHE_OK) {
        transfer.answer.retry_after = header->value;
      }
    } else {
      transfer.answer = {.error = explain(transfer, code)};
    }
    deliver(transfer.job.id, std::move(transfer.answer));
  }

  Loop& loop_;
  std::shared_ptr<Waiting> waiting_;  // The loop's thread only; the other one copies the pointer.
  RequestId last_id_ = 0;
  Mailbox<Job> jobs_;
  CURLM* multi_ = nullptr;
  std::unordered_map<CURL*, std::unique_ptr<Transfer>> transfers_;  // The client's thread only.
  std::thread thread_;
};

HttpClient::HttpClient(Loop& loop) : impl_(std::make_unique<Impl>(loop)) {}
HttpClient::~HttpClient() = default;
void HttpClient::send(ClientRequest request, std::function<void(ClientAnswer)> done) {
  impl_->send(std::move(request), std::move(done));
}

}  // namespace defib::net
