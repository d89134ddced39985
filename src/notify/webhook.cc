#include "notify/webhook.h"

#include <algorithm>
#include <charconv>
#include <ctime>
#include <fmt/format.h>
#include <string_view>

#include "base/text.h"
#include "net/loop.h"
#include "wire/json_views.h"

namespace defib::notify {

namespace {

// Appends `"name":"text"`; bytes that are no text are replaced, since a receiver would refuse the whole message.
void append_field(std::string& out, std::string_view name, std::string_view text) {
  out += fmt::format(R"("{}":)", name);
  wire::append_json_string(out, text);
  out += ',';
}

std::string make_body(const Message& message) {
  const core::NoticeRecord& notice = message.notice;
  std::string out = R"({"version":1,)";
  append_field(out, "id", fmt::format("defib-{}-{}", notice.incident, name(notice.status)));
  append_field(out, "status", name(notice.status));
  append_field(out, "severity", notice.severity);
  append_field(out, "message", notice.message);
  if (to_ms(notice.last_heartbeat) > 0) {
    append_field(out, "lastHeartbeat", iso_time(notice.last_heartbeat));
  } else {
    out += R"("lastHeartbeat":null,)";
  }
  append_field(out, "actionRequired", notice.action_required);
  out += R"("incident":)" + boost::json::serialize(wire::incident_json(message.incident));
  out += R"(,"agent":)" + (message.agent ? boost::json::serialize(wire::agent_json(*message.agent)) : "null");
  out += R"(,"links":{)";
  append_field(out, "incident", fmt::format("{}/v1/incidents/{}", message.link_base, notice.incident));
  append_field(out, "agent", fmt::format("{}/#/agents/{}", message.link_base, notice.agent_id));
  // In the place of the last comma.
  out.back() = '}';
  out += '}';
  return out;
}

bool is_content_type(std::string_view header) {
  constexpr std::string_view kName = "content-type";
  return std::equal(header.begin(), header.end(), kName.begin(), kName.end(),
                    [](char a, char b) { return (a | 0x20) == (b | 0x20); });
}

// Seconds, or a date as HTTP writes it (RFC 9110, 10.2.3); zero where it is neither, or has passed.
Duration read_retry_after(const std::string& text, WallTime now) {
  std::int64_t seconds = 0;
  const char* const end = text.data() + text.size();
  const auto [stopped, problem] = std::from_chars(text.data(), end, seconds);
  if (problem == std::errc::result_out_of_range) return WebhookNotifier::kRetryAfterMax;
  if (text.empty() || problem != std::errc() || stopped != end) {
    std::tm parts{};
    const char* const read = ::strptime(text.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
    if (read == nullptr || *read != '\0') return Duration{0};
    seconds = ::timegm(&parts) - to_ms(now) / 1000;
  }
  const std::int64_t most = std::chrono::duration_cast<std::chrono::seconds>(WebhookNotifier::kRetryAfterMax).count();
  return std::chrono::seconds(std::clamp<std::int64_t>(seconds, 0, most));
}

DeliveryResult result_of(const net::ClientAnswer& answer) {
  const unsigned status = answer.status;
  if (status == 0) return {.end = core::DeliveryEnd::retry_later, .detail = answer.error};
  DeliveryResult result{.detail = fmt::format("the receiver answered {}", status)};
  if (status >= 200 && status <= 299) return result;
  if (status == 408 || status == 425 || status == 429 || status >= 500) {
    result.end = core::DeliveryEnd::retry_later;
    result.retry_after = read_retry_after(answer.retry_after, net::read_wall());
    return result;
  }
  result.end = core::DeliveryEnd::refused;
  if (status >= 300 && status <= 399) result.detail += "; redirects are not followed, give the final URL";
  return result;
}

}  // namespace

WebhookNotifier::WebhookNotifier(net::HttpClient& client, std::string url,
                                 std::vector<std::pair<std::string, std::string>> headers)
    : client_(client), url_(std::move(url)), headers_(std::move(headers)) {}

void WebhookNotifier::send(const Message& message, std::function<void(DeliveryResult)> done) {
  net::ClientRequest request{
      .method = "POST", .url = url_, .headers = headers_, .body = make_body(message), .timeout = kTimeout};
  if (std::none_of(headers_.begin(), headers_.end(),
                   [](const auto& header) { return is_content_type(header.first); })) {
    request.headers.emplace_back("Content-Type", "application/json");
  }
  client_.send(std::move(request),
               [done = std::move(done)](const net::ClientAnswer& answer) { done(result_of(answer)); });
}

}  // namespace defib::notify
