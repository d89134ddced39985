// Lists of agents and incidents, made in slices: one slice a turn, so that no list delays a verdict.
//
// A slice looks at a bounded number of agents, which is well below 1 ms. Lists wait in two lines, whole
// lists (/health/agents) and pages, of which the first of each is worked on in turn: a page never waits
// for a list of a million. Who asks for the whole list while one is being made shares the next: it begins
// after they asked, so it tells nothing older, and at most one is in memory.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/answers.h"
#include "base/time.h"
#include "core/view.h"
#include "net/http_server.h"

namespace defib::api {

struct AgentPage {
  core::AgentFilter filter;
  core::AgentKey from = 0;
  std::size_t limit = 100;
};

struct IncidentPage {
  std::optional<bool> open;     // Absent: all.
  core::IncidentId before = 0;  // 0: from the newest.
  std::size_t limit = 100;
};

class Lists {
 public:
  static constexpr std::size_t kWaitingMax = 256;       // In each line; one more gets 503.
  static constexpr std::size_t kLimitMax = 1000;        // Rows of a page.
  static constexpr std::uint32_t kLooksPerSlice = 512;  // Agents looked at; a row of /health/agents takes 0.12 us here.
  static constexpr std::uint32_t kRowsPerSlice = 128;   // Whole agents written, 2.6 us each.
  static constexpr std::size_t kIncidentsPerSlice = 32;  // With their last output up to 8 KiB each.
  // Copies of one whole list together; readers past it get 503. 170 readers of 10,000 agents, one of a million.
  static constexpr std::size_t kSharedBytesMax = std::size_t{256} << 20U;

  explicit Lists(const core::View& view) : view_(view) {}

  void health(Exchange exchange);
  void agents(Exchange exchange, AgentPage page, WallTime as_of);
  void incidents(Exchange exchange, IncidentPage page);

  // Makes one slice of the lists that wait.
  void make_slice(Instant now, WallTime as_of);
  bool has_work() const { return whole_ || !whole_waiting_.empty() || !pages_.empty(); }

 private:
  struct WholeList {
    std::vector<Exchange> readers;
    std::array<std::uint64_t, core::kStateCount> counts{};
    WallTime as_of{};
    core::AgentKey from = 0;
    std::size_t digits = 1;
    std::size_t head_bytes = 0;
    std::string body;
  };
  // Makes a slice of a page; true once it has answered.
  using PageMaker = std::function<bool(Instant now)>;

  void begin_whole(WallTime as_of);
  void slice_whole(Instant now);
  void finish_whole();
  void add_page(Exchange exchange, PageMaker maker);
  std::string head(const WholeList& list) const;

  const core::View& view_;
  std::vector<Exchange> whole_waiting_;
  std::unique_ptr<WholeList> whole_;
  std::deque<PageMaker> pages_;
  bool is_pages_turn_ = false;
};

}  // namespace defib::api
