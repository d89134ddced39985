#include "app/api_client.h"

#include <array>
#include <curl/curl.h>
#include <fmt/format.h>
#include <thread>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/text.h"

namespace defib::app {
namespace {

namespace json = boost::json;

struct CurlListFree {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using CurlList = std::unique_ptr<curl_slist, CurlListFree>;

void add_header(CurlList& list, const std::string& header) {
  curl_slist* const longer = curl_slist_append(list.get(), header.c_str());
  DEFIB_CHECK(longer != nullptr);  // Out of memory.
  (void)list.release();
  list.reset(longer);
}

// Scheme, host and port: what may be shown of an address that might hold a password.
std::string without_password(const std::string& server) {
  const std::size_t host = server.find("://") + 3;
  const std::size_t at = server.find('@', host);
  if (at == std::string::npos || server.find('/', host) < at) return server;
  return server.substr(0, host) + server.substr(at + 1);
}

bool is_loopback(const std::string& server) {
  const std::string shown = without_password(server);
  const std::string_view host = std::string_view(shown).substr(shown.find("://") + 3);
  return host.starts_with("127.") || host.starts_with("[::1]") || host.starts_with("localhost");
}

std::size_t append_body(char* bytes, std::size_t one, std::size_t count, void* to) {
  auto& body = *static_cast<std::string*>(to);
  if (body.size() + one * count > ApiClient::kAnswerBytesMax) return 0;  // Ends the transfer with CURLE_WRITE_ERROR.
  body.append(bytes, one * count);
  return one * count;
}

// What a stream's write callback needs; its head is looked at before its first byte is taken.
struct Following {
  CURL* handle = nullptr;
  SseReader* reader = nullptr;
  const std::function<bool(const ApiEvent&)>* take = nullptr;
  std::string refusal;  // The body where the status is no 200.
  bool is_ended = false;
};

std::size_t read_stream(char* bytes, std::size_t one, std::size_t count, void* to) {
  auto& following = *static_cast<Following*>(to);
  const std::size_t size = one * count;
  long status = 0;
  curl_easy_getinfo(following.handle, CURLINFO_RESPONSE_CODE, &status);
  if (status != 200) {
    constexpr std::size_t kRefusalBytesMax = 64 * 1024;
    if (following.refusal.size() < kRefusalBytesMax) following.refusal.append(bytes, size);
    return size;
  }
  if (following.reader->read({bytes, size}, *following.take)) return size;
  following.is_ended = true;
  return 0;
}

// The monitor's hints speak of requests; here they speak of this program's own words.
std::string our_hint(std::string hint) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kHints = {{
      {"GET /v1/agents", "`defib agents` lists those that are known"},
      {"GET /v1/incidents", "`defib incidents` lists them"},
      {"force: true", "--force recovers it all the same"},
  }};
  for (const auto& [theirs, ours] : kHints) {
    if (hint.starts_with(theirs)) return std::string(ours);
  }
  return hint;
}

const json::array kNoItems;
const json::object kNoFields;

}  // namespace

class ApiClient::Impl {
 public:
  explicit Impl(const ServerFlags& flags) : flags_(flags), handle_(curl_easy_init()) {
    DEFIB_CHECK(handle_ != nullptr);
  }
  ~Impl() { curl_easy_cleanup(handle_); }

  CURLcode perform(std::string_view method, std::string_view path, const std::vector<std::string>& headers,
                   std::string_view body) {
    CurlList list;
    for (const std::string& header : headers) add_header(list, header);
    if (!flags_.token.empty()) add_header(list, "Authorization: Bearer " + flags_.token);
    const std::string url = flags_.server + std::string(path);
    curl_easy_setopt(handle_, CURLOPT_URL, url.c_str());
    curl_easy_setopt(handle_, CURLOPT_HTTPHEADER, list.get());
    curl_easy_setopt(handle_, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(handle_, CURLOPT_USERAGENT, "defib/" DEFIB_VERSION);
    curl_easy_setopt(handle_, CURLOPT_CONNECTTIMEOUT_MS, 10'000L);
    // A proxy that the environment names would ask its own loopback.
    if (is_loopback(flags_.server)) curl_easy_setopt(handle_, CURLOPT_NOPROXY, "*");
    if (method == "POST") {
      curl_easy_setopt(handle_, CURLOPT_POST, 1L);
      curl_easy_setopt(handle_, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
      curl_easy_setopt(handle_, CURLOPT_COPYPOSTFIELDS, body.data());
    }
    return curl_easy_perform(handle_);
  }
  // Forgets the options of the last request; its connection stays.
  CURL* fresh() {
    curl_easy_reset(handle_);
    return handle_;
  }
  unsigned status() const {
    long status = 0;
    curl_easy_getinfo(handle_, CURLINFO_RESPONSE_CODE, &status);
    return static_cast<unsigned>(status);
  }
  std::string server() const { return without_password(flags_.server); }

  Error failure(CURLcode code) const {
    switch (code) {
      case CURLE_COULDNT_CONNECT:
        return {
            fmt::format("no monitor answers at {}: is `defib monitor` running? --server URL names another", server())};
      case CURLE_COULDNT_RESOLVE_HOST:
        return {fmt::format("there is no host by the name in {}: --server URL names another", server())};
      case CURLE_OPERATION_TIMEDOUT:
        return {fmt::format("the monitor at {} did not answer in time", server())};
      case CURLE_WRITE_ERROR:
        return {fmt::format("the answer of {} is larger than {} bytes: ask for less", server(), kAnswerBytesMax)};
      default:
        return {fmt::format("{}: {}", server(), curl_easy_strerror(code))};
    }
  }

 private:
  const ServerFlags flags_;
  CURL* handle_;
};

ApiClient::ApiClient(const ServerFlags& flags, Duration reconnect_after)
    : impl_(std::make_unique<Impl>(flags)), reconnect_after_(reconnect_after) {}
ApiClient::~ApiClient() = default;

Result<ApiAnswer> ApiClient::send(std::string_view method, std::string_view path, std::string_view content_type,
                                  std::string_view body) {
  ApiAnswer answer;
  CURL* const handle = impl_->fresh();
  curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, static_cast<long>(to_ms(kTimeout)));
  curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, append_body);
  curl_easy_setopt(handle, CURLOPT_WRITEDATA, &answer.body);
  std::vector<std::string> headers = {"Accept: application/json"};
  if (!content_type.empty()) headers.push_back(fmt::format("Content-Type: {}", content_type));
  const CURLcode code = impl_->perform(method, path, headers, body);
  if (code != CURLE_OK) return impl_->failure(code);
  answer.status = impl_->status();
  return answer;
}

Error ApiClient::error_of(const ApiAnswer& answer) const {
  boost::system::error_code code;
  const json::value body = json::parse(answer.body, code);
  const std::string error = code ? "" : text_of(object_of(body), "error");
  const std::string hint = code ? "" : our_hint(text_of(object_of(body), "hint"));
  if (answer.status == 401) {
    return {fmt::format("the monitor at {} wants its token: set DEFIB_TOKEN or --token{}", impl_->server(),
                        error.empty() ? "" : fmt::format(" ({})", error))};
  }
  if (error.empty()) {
    return {fmt::format("{} answered {} and nothing that a monitor says: does --server name one?", impl_->server(),
                        answer.status)};
  }
  return {hint.empty() ? error : fmt::format("{}: {}", error, hint)};
}

Result<json::value> ApiClient::get(std::string_view path) { return body_of(send("GET", path, "", "")); }

Result<json::value> ApiClient::post(std::string_view path, const json::object& request) {
  return body_of(send("POST", path, "application/json", json::serialize(request)));
}

Result<json::value> ApiClient::body_of(const Result<ApiAnswer>& answer) const {
  if (!answer) return Error{answer.error()};
  if (answer.value().status / 100 != 2) return error_of(answer.value());
  boost::system::error_code code;
  json::value body = json::parse(answer.value().body, code);
  if (code) return Error{fmt::format("{} answered no JSON: does --server name a monitor?", impl_->server())};
  return body;
}

Done ApiClient::follow(std::string_view path, const std::function<bool(const ApiEvent&)>& take,
                       const std::function<void(std::string)>& told) {
  SseReader reader;
  bool was_connected = false;
  while (true) {
    Following following{.handle = impl_->fresh(), .reader = &reader, .take = &take};
    curl_easy_setopt(following.handle, CURLOPT_WRITEFUNCTION, read_stream);
    curl_easy_setopt(following.handle, CURLOPT_WRITEDATA, &following);
    // The monitor says something every 15 s; after a minute of nothing the connection is dead.
    curl_easy_setopt(following.handle, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(following.handle, CURLOPT_LOW_SPEED_TIME, 60L);
    std::vector<std::string> headers = {"Accept: text/event-stream"};
    if (!reader.last_id().empty()) headers.push_back("Last-Event-ID: " + reader.last_id());
    const CURLcode code = impl_->perform("GET", path, headers, "");
    if (following.is_ended) return Unit{};
    const unsigned status = impl_->status();
    const bool is_refused = status != 0 && status != 200;
    // A monitor that is starting or busy (5xx) is worth another try, once it has been followed.
    if (is_refused && (status < 500 || !was_connected)) return error_of({status, following.refusal});
    if (status == 0 && !was_connected) return impl_->failure(code);
    was_connected = true;
    told(fmt::format("the connection to {} broke; trying again", impl_->server()));
    reader.reset();
    std::this_thread::sleep_for(reconnect_after_);
  }
}

std::string ApiClient::encode(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool is_plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
                          c == '.' || c == '_' || c == '~';
    out += is_plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

std::string text_of(const json::object& object, std::string_view key) {
  const json::value* const value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : "";
}

std::int64_t number_of(const json::object& object, std::string_view key) {
  const json::value* const value = object.if_contains(key);
  if (value == nullptr) return 0;
  constexpr double kExactMax = 9e15;  // Whole numbers past it are not exact in a double, and none of ours is.
  if (value->is_double()) {
    const double number = value->get_double();
    return number > -kExactMax && number < kExactMax ? static_cast<std::int64_t>(number) : 0;
  }
  boost::system::error_code code;
  const auto number = value->to_number<std::int64_t>(code);
  return code ? 0 : number;
}

const json::array& list_of(const json::object& object, std::string_view key) {
  const json::value* const value = object.if_contains(key);
  return value != nullptr && value->is_array() ? value->get_array() : kNoItems;
}

const json::object& object_of(const json::value& value) { return value.is_object() ? value.get_object() : kNoFields; }

const json::object& object_of(const json::object& object, std::string_view key) {
  const json::value* const value = object.if_contains(key);
  return value != nullptr ? object_of(*value) : kNoFields;
}

}  // namespace defib::app
