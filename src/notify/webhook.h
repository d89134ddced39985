// Notices as JSON, POSTed to a URL of the operator's: `webhook: {url, headers}`.
//
// The body is the contract's: {version: 1, id, status, severity, message, lastHeartbeat, actionRequired,
// incident: N, agent: A or null, links: {incident, agent}}. `id` is the same for each repetition of one incident
// and status, so the receiver can tell a repetition from news.
//
// 2xx is done. 408, 425, 429, 5xx and no answer at all are worth a retry, after Retry-After where it is given (an hour
// at most). Anything else is refused for good: the receiver does not want this message.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "net/http_client.h"
#include "notify/notifier.h"

namespace defib::notify {

class WebhookNotifier final : public Notifier {
 public:
  static constexpr Duration kTimeout = 10s;
  static constexpr Duration kRetryAfterMax = 1h;

  // `url` and `headers` may hold secrets: no detail names them.
  WebhookNotifier(net::HttpClient& client, std::string url, std::vector<std::pair<std::string, std::string>> headers);

  void send(const Message& message, std::function<void(DeliveryResult)> done) override;

 private:
  net::HttpClient& client_;
  const std::string url_;
  const std::vector<std::pair<std::string, std::string>> headers_;
};

}  // namespace defib::notify
