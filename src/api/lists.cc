#include "api/lists.h"

#include <algorithm>
#include <fmt/format.h>
#include <numeric>
#include <utility>

#include <boost/json.hpp>

#include "api/answers.h"
#include "wire/json_views.h"

namespace defib::api {
namespace {

namespace json = boost::json;

// A row of the guide's list is about this long; too low costs a copy, too high untouched address space.
constexpr std::size_t kRowBytesGuess = 220;

void refuse_busy(net::HttpExchange& exchange) {
  net::HttpResponse response = error_response(503, "Too many lists are being made", "busy", "ask again in a second");
  response.headers.emplace_back("Retry-After", "1");
  exchange.respond(std::move(response));
}

json::array blind_sources(const core::View& view) {
  json::array out;
  for (const core::SourceView& source : view.sources()) {
    if (source.is_blind) out.emplace_back(core::name(source.source));
  }
  return out;
}

json::object counts_json(const std::array<std::uint64_t, core::kStateCount>& counts) {
  json::object out;
  out["total"] = std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
  for (std::size_t i = 0; i < counts.size(); ++i) out[core::name(static_cast<core::State>(i))] = counts[i];
  return out;
}

// One page of agents on its way: rows are kept as text, since a page may take several turns.
struct AgentPageWork {
  AgentPage page;
  std::string body;
  std::size_t rows = 0;
  std::optional<core::AgentKey> next;
};

// True once the page is full or the table has ended.
bool slice_agents(const core::View& view, Instant now, AgentPageWork& work) {
  std::uint32_t looks_left = Lists::kLooksPerSlice;
  std::uint32_t rows_left = Lists::kRowsPerSlice;
  const auto take = [&work, &rows_left](const core::AgentView& agent) {
    if (work.rows++ > 0) work.body += ',';
    work.body += json::serialize(wire::agent_json(agent));
    --rows_left;
  };
  work.next = work.page.from;
  while (work.next && work.rows < work.page.limit && looks_left > 0 && rows_left > 0) {
    // No look may match more agents than there is room for: the view can't stop on the way.
    const auto looks =
        static_cast<std::uint32_t>(std::min<std::size_t>({looks_left, rows_left, work.page.limit - work.rows}));
    work.next = view.list_agents(now, work.page.filter, *work.next, looks, take);
    looks_left -= looks;
  }
  if (work.next) work.page.from = *work.next;
  return !work.next || work.rows >= work.page.limit;
}

struct IncidentPageWork {
  IncidentPage page;
  std::string body = R"({"incidents":[)";
  std::size_t rows = 0;
};

// True once the page is full or no older incident is left; `next` is then where to go on.
bool slice_incidents(const core::View& view, IncidentPageWork& work, std::optional<core::IncidentId>& next) {
  const std::size_t wanted = std::min(Lists::kIncidentsPerSlice, work.page.limit - work.rows);
  // One more than wanted tells whether there is more.
  const std::vector<core::Incident> incidents = view.incidents(work.page.open, work.page.before, wanted + 1);
  const std::size_t taken = std::min(wanted, incidents.size());
  for (std::size_t i = 0; i < taken; ++i) {
    if (work.rows++ > 0) work.body += ',';
    work.body += json::serialize(wire::incident_json(incidents[i]));
    work.page.before = incidents[i].id;
  }
  if (incidents.size() <= wanted) return true;
  if (work.rows < work.page.limit) return false;
  next = work.page.before;
  return true;
}

}  // namespace

void Lists::health(Exchange exchange) {
  if (whole_waiting_.size() >= kWaitingMax) return refuse_busy(*exchange);
  whole_waiting_.push_back(std::move(exchange));
}

void Lists::agents(Exchange exchange, AgentPage page, WallTime as_of) {
  AgentPageWork work;
  work.page = std::move(page);
  work.body = fmt::format(R"({{"asOf":{},"counts":{},"blind":{},"agents":[)", to_ms(as_of),
                          json::serialize(counts_json(view_.counts())), json::serialize(blind_sources(view_)));
  add_page(exchange, [this, exchange, work = std::move(work)](Instant now) mutable {
    if (!slice_agents(view_, now, work)) return false;
    // A cursor is text, so that its make may change.
    work.body += work.next ? fmt::format(R"(],"next":"{}"}})", *work.next) : std::string(R"(],"next":null})");
    exchange->respond(json_response(200, std::move(work.body)));
    return true;
  });
}

void Lists::incidents(Exchange exchange, IncidentPage page) {
  IncidentPageWork work;
  work.page = page;
  add_page(exchange, [this, exchange, work = std::move(work)](Instant) mutable {
    std::optional<core::IncidentId> next;
    if (!slice_incidents(view_, work, next)) return false;
    work.body += next ? fmt::format(R"(],"next":"{}"}})", *next) : std::string(R"(],"next":null})");
    exchange->respond(json_response(200, std::move(work.body)));
    return true;
  });
}

void Lists::add_page(Exchange exchange, PageMaker maker) {
  if (pages_.size() >= kWaitingMax) return refuse_busy(*exchange);
  pages_.push_back(std::move(maker));
}

void Lists::make_slice(Instant now, WallTime as_of) {
  if (!whole_ && !whole_waiting_.empty()) begin_whole(as_of);
  is_pages_turn_ = !pages_.empty() && (!whole_ || !is_pages_turn_);
  if (is_pages_turn_) {
    if (pages_.front()(now)) pages_.pop_front();
  } else if (whole_) {
    slice_whole(now);
  }
}

void Lists::begin_whole(WallTime as_of) {
  whole_ = std::make_unique<WholeList>();
  whole_->readers.swap(whole_waiting_);
  whole_->as_of = as_of;
  const auto counts = view_.counts();
  const std::uint64_t total = std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
  whole_->digits = std::to_string(total).size();
  whole_->body.reserve(static_cast<std::size_t>(total) * kRowBytesGuess + 1024);
  whole_->body = head(*whole_);
  whole_->head_bytes = whole_->body.size();
}

// The counts stand before the rows that they count, so the head is written last, in its place: its numbers
// are as wide as the total was at the beginning.
std::string Lists::head(const WholeList& list) const {
  const auto count = [&list](core::State state) { return list.counts[static_cast<std::size_t>(state)]; };
  const std::uint64_t total = std::accumulate(list.counts.begin(), list.counts.end(), std::uint64_t{0});
  return fmt::format(R"({{"total":{:{w}},"healthy":{:{w}},"missing":{:{w}},"failed":{:{w}},"stalled":{:{w}},)"
                     R"("stopped":{:{w}},"starting":{:{w}},"asOf":{},"blind":{},"agents":[)",
                     total, count(core::State::healthy), count(core::State::missing), count(core::State::failed),
                     count(core::State::stalled), count(core::State::stopped), count(core::State::starting),
                     to_ms(list.as_of), json::serialize(blind_sources(view_)), fmt::arg("w", list.digits));
}

void Lists::slice_whole(Instant now) {
  WholeList& list = *whole_;
  const auto take = [&list](const core::AgentView& agent) {
    if (list.body.back() != '[') list.body += ',';
    ++list.counts[static_cast<std::size_t>(agent.state)];
    wire::append_health_row(list.body, agent);
  };
  const auto next = view_.list_agents(now, core::AgentFilter{}, list.from, kLooksPerSlice, take);
  if (next) {
    list.from = *next;
  } else {
    finish_whole();
  }
}

void Lists::finish_whole() {
  const std::unique_ptr<WholeList> list = std::move(whole_);
  list->body += "]}";
  list->body.replace(0, list->head_bytes, head(*list));
  const std::size_t shared = std::max<std::size_t>(1, kSharedBytesMax / list->body.size());
  for (std::size_t i = 1; i < list->readers.size(); ++i) {
    if (i < shared) {
      list->readers[i]->respond(json_response(200, list->body));
    } else {
      refuse_busy(*list->readers[i]);
    }
  }
  list->readers.front()->respond(json_response(200, std::move(list->body)));
}

}  // namespace defib::api
