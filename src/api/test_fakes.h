// Test-only: an exchange that keeps its answer, a stream that keeps its bytes, and a view made of plain values.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <boost/json.hpp>

#include "core/view.h"
#include "net/http_server.h"

namespace defib::api {

class FakeStream final : public net::EventStream {
 public:
  bool send(std::string bytes) override {
    if (is_open_) sent += bytes;
    return is_open_;
  }
  bool is_open() const override { return is_open_; }
  void close() override { is_open_ = false; }

  std::string sent;

 private:
  bool is_open_ = true;
};

class FakeExchange final : public net::HttpExchange {
 public:
  explicit FakeExchange(net::HttpRequest request) : request_(std::move(request)) {}
  const net::HttpRequest& request() const override { return request_; }
  void respond(net::HttpResponse response) override {
    ++answers;
    answer = std::move(response);
  }
  std::shared_ptr<net::EventStream> start_event_stream() override {
    stream = std::make_shared<FakeStream>();
    return stream;
  }

  boost::json::object json() const { return boost::json::parse(answer.body).as_object(); }
  std::string header(std::string_view name) const {
    for (const auto& [key, value] : answer.headers) {
      if (key == name) return value;
    }
    return "";
  }

  int answers = 0;
  net::HttpResponse answer;
  std::shared_ptr<FakeStream> stream;

 private:
  net::HttpRequest request_;
};

// "/v1/agents?state=failed": splits the query, decodes nothing. Host is loopback's unless given.
inline net::HttpRequest make_request(std::string method, std::string_view target,
                                     std::vector<std::pair<std::string, std::string>> headers = {}) {
  net::HttpRequest request;
  request.method = std::move(method);
  const std::size_t mark = std::min(target.find('?'), target.size());
  request.path = target.substr(0, mark);
  target.remove_prefix(std::min(mark + 1, target.size()));
  while (!target.empty()) {
    const std::string_view pair = target.substr(0, target.find('&'));
    const std::size_t equals = std::min(pair.find('='), pair.size());
    request.query.emplace_back(pair.substr(0, equals), pair.substr(std::min(equals + 1, pair.size())));
    target.remove_prefix(std::min(pair.size() + 1, target.size()));
  }
  request.headers = std::move(headers);
  const bool has_host = std::any_of(request.headers.begin(), request.headers.end(),
                                    [](const auto& header) { return header.first == "host"; });
  if (!has_host) request.headers.emplace_back("host", "127.0.0.1:7070");
  request.peer = "127.0.0.1";
  return request;
}

class FakeView final : public core::View {
 public:
  std::vector<core::AgentView> agents;
  std::vector<core::Incident> all_incidents;  // Oldest first.
  std::vector<core::SourceView> all_sources;
  std::map<std::string, core::Why> reasons;
  bool is_writable = true;
  std::string guard;
  mutable std::uint32_t most_looks = 0;  // The largest slice that was asked for.

  core::AgentView& add(std::string id, core::State state) {
    core::AgentView& agent = agents.emplace_back();
    agent.key = static_cast<core::AgentKey>(agents.size() - 1);
    agent.id = std::move(id);
    agent.state = state;
    agent.activity = "idle";
    return agent;
  }

  std::array<std::uint64_t, core::kStateCount> counts() const override {
    std::array<std::uint64_t, core::kStateCount> out{};
    for (const core::AgentView& agent : agents) ++out[static_cast<std::size_t>(agent.state)];
    return out;
  }
  std::optional<core::AgentView> agent(Instant, std::string_view id) const override {
    for (const core::AgentView& agent : agents) {
      if (agent.id == id) return agent;
    }
    return std::nullopt;
  }
  std::optional<core::AgentKey> list_agents(Instant, const core::AgentFilter& filter, core::AgentKey from,
                                            std::uint32_t look_at_most,
                                            const std::function<void(const core::AgentView&)>& take) const override {
    most_looks = std::max(most_looks, look_at_most);
    for (std::uint32_t looked = 0; looked < look_at_most && from < agents.size(); ++looked, ++from) {
      const core::AgentView& agent = agents[from];
      const bool is_match = (!filter.state || agent.state == *filter.state) &&
                            (filter.type.empty() || agent.type == filter.type) &&
                            agent.id.find(filter.text) != std::string::npos;
      if (is_match) take(agent);
    }
    return from < agents.size() ? std::optional(from) : std::nullopt;
  }
  std::optional<core::Why> why(Instant, std::string_view id) const override {
    const auto found = reasons.find(std::string(id));
    return found == reasons.end() ? std::nullopt : std::optional(found->second);
  }
  std::vector<core::Incident> incidents(std::optional<bool> open, core::IncidentId before,
                                        std::size_t limit) const override {
    std::vector<core::Incident> out;
    for (auto it = all_incidents.rbegin(); it != all_incidents.rend() && out.size() < limit; ++it) {
      if (before != 0 && it->id >= before) continue;
      if (!open || *open == (it->phase != core::Phase::closed)) out.push_back(*it);
    }
    return out;
  }
  std::optional<core::Incident> incident(core::IncidentId id) const override {
    for (const core::Incident& incident : all_incidents) {
      if (incident.id == id) return incident;
    }
    return std::nullopt;
  }
  std::vector<core::SourceView> sources() const override { return all_sources; }
  core::Counters counters() const override { return {}; }
  bool is_journal_writable() const override { return is_writable; }
  std::string guard_reason() const override { return guard; }
};

}  // namespace defib::api
