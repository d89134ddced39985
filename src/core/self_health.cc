#include "core/self_health.h"

#include <algorithm>

#include "base/check.h"
#include "core/policy.h"

namespace defib::core {

Duration gap_allowed(Duration smallest_interval) {
  return std::max<Duration>(100ms, jitter_grace(smallest_interval) / 2);
}

void SelfHealth::add(std::size_t source, Spell spell) {
  std::vector<Spell>& spells = spells_[source];
  DEFIB_CHECK(spell.begin <= spell.end);
  // Spells are kept apart and in order, so that no blind time counts twice.
  while (!spells.empty() && spells.back().end >= spell.begin) {
    spell.begin = std::min(spell.begin, spells.back().begin);
    spell.end = std::max(spell.end, spells.back().end);
    spells.pop_back();
  }
  spells.push_back(spell);
  if (spells.size() > kSpellsMax) {
    // The length counts on; the seeing time between the two stays seen.
    spells[1].begin -= spells[0].end - spells[0].begin;
    spells.erase(spells.begin());
  }
}

void SelfHealth::add_gap(Instant begin, Instant end) {
  for (std::size_t source = 0; source < kSourceCount; ++source) {
    // An open spell covers the gap when it closes.
    if (!open_[source].is_open) add(source, {begin, end});
  }
}

void SelfHealth::go_blind(Source source, Instant since, std::string_view reason) {
  OpenSpell& open = open_[static_cast<std::size_t>(source)];
  if (open.is_open) {
    open.begin = std::min(open.begin, since);
  } else {
    open.is_open = true;
    open.begin = since;
  }
  open.reason = reason;
}

bool SelfHealth::see_again(Source source, Instant now, bool is_restarted) {
  const auto index = static_cast<std::size_t>(source);
  if (is_restarted) restarts_[index] = {now, true};
  OpenSpell& open = open_[index];
  if (!open.is_open) return false;
  add(index, {std::min(open.begin, now), now});
  open = {};
  return true;
}

Duration SelfHealth::blind_time(Source source, Instant from, Instant now) const {
  const auto index = static_cast<std::size_t>(source);
  Duration sum{0};
  const std::vector<Spell>& spells = spells_[index];
  for (auto spell = spells.rbegin(); spell != spells.rend() && spell->end > from; ++spell) {
    sum += std::min(spell->end, now) - std::max(spell->begin, from);
  }
  if (open_[index].is_open) sum += std::max(Duration{0}, now - std::max(open_[index].begin, from));
  return sum;
}

Instant SelfHealth::reprieve(Source source, Instant heard, Duration interval, Instant before) const {
  const auto index = static_cast<std::size_t>(source);
  const Duration grace = jitter_grace(interval);
  const std::vector<Spell>& spells = spells_[index];
  Instant until = heard;
  if (restarts_[index].has_been && restarts_[index].at >= heard) until = restarts_[index].at + interval + grace;
  for (auto spell = spells.rbegin(); spell != spells.rend() && spell->end > heard; ++spell) {
    if (spell->begin > before) continue;
    // Beats are due at heard + k x interval, each up to a grace early or late.
    const Duration begins = std::max(spell->begin - heard, Duration{0});
    const Duration ends = spell->end - heard + grace;
    const bool is_due_within = ends / interval > std::max(begins - grace, Duration{0}) / interval;
    if (is_due_within) return std::max(until, spell->end + interval + grace);
  }
  return until;
}

Instant SelfHealth::when_silent_for(Source source, Instant heard, Duration silence) const {
  const std::vector<Spell>& spells = spells_[static_cast<std::size_t>(source)];
  auto first = spells.end();
  while (first != spells.begin() && std::prev(first)->end > heard) --first;
  Instant at = heard + silence;
  for (; first != spells.end() && first->begin < at; ++first) at += first->end - std::max(first->begin, heard);
  return at;
}

}  // namespace defib::core
