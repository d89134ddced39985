#include "core/identity.h"

#include <algorithm>

namespace defib::core {
namespace {

// A plain rival is known by its sequence going on; this many of its beats may have been lost in between.
constexpr std::uint64_t kLostBeatsMax = 8;

const PastLife* find_past(const Agent& agent, std::string_view instance_id) {
  if (!agent.rare) return nullptr;
  const auto& past = agent.rare->past;
  const auto found = std::find_if(past.rbegin(), past.rend(),
                                  [&](const PastLife& life) { return life.instance.instance_id == instance_id; });
  return found == past.rend() ? nullptr : &*found;
}

// The plain past life whose sequence the beat continues.
const PastLife* continued_plain(const Agent& agent, const Beat& beat) {
  if (!agent.rare || !beat.sequence) return nullptr;
  for (auto life = agent.rare->past.rbegin(); life != agent.rare->past.rend(); ++life) {
    if (!life->instance.instance_id.empty() || *beat.sequence <= life->instance.sequence) continue;
    const bool is_its_connection = beat.connection != 0 && beat.connection == life->connection;
    const bool is_near = *beat.sequence - life->instance.sequence <= kLostBeatsMax;
    if (is_its_connection || is_near || life->instance.is_fenced) return &*life;
  }
  return nullptr;
}

bool is_later_by_its_own_clock(const Agent& agent, const Beat& beat) {
  return beat.timestamp_ms && agent.timestamp_ms != 0 && *beat.timestamp_ms > agent.timestamp_ms;
}

Sender classify_named(const Agent& agent, const Beat& beat, bool is_same_host) {
  if (!agent.expects_successor && agent.instance_id == beat.instance_id) {
    if (agent.is_ended) return Sender::ended;
    const bool is_old = beat.sequence && agent.has_sequence && *beat.sequence <= agent.sequence;
    return is_old ? Sender::stale : Sender::current;
  }
  if (const PastLife* life = find_past(agent, beat.instance_id)) {
    if (life->instance.is_fenced) return Sender::fenced;
    const bool is_old = beat.sequence && *beat.sequence <= life->instance.sequence;
    return is_old ? Sender::stale : Sender::rival;
  }
  // Sent before the current one started, by the same machine's clock: of a life so long gone that it is forgotten.
  const bool is_forgotten =
      is_same_host && beat.timestamp_ms && agent.started_at_ms != 0 && *beat.timestamp_ms < agent.started_at_ms;
  if (is_forgotten) return Sender::stale;
  return Sender::successor;
}

// A plain client's beat with a higher number and an earlier time is its clock stepping back, or an old beat of
// an earlier life played again. The next number is the former, but for a failed agent; a leap is the latter.
bool is_replay_of_earlier_life(const Agent& agent, const Beat& beat) {
  if (!beat.timestamp_ms || agent.timestamp_ms == 0 || *beat.timestamp_ms >= agent.timestamp_ms) return false;
  if (beat.connection != 0 && beat.connection == agent.connection) return false;
  const std::uint64_t leap = *beat.sequence - agent.sequence;
  if (leap > kLostBeatsMax) return true;
  if (!agent.rare || (leap == 1 && agent.state != State::failed)) return false;
  return std::any_of(agent.rare->past.begin(), agent.rare->past.end(), [&](const PastLife& life) {
    return life.instance.instance_id.empty() && *beat.sequence <= life.instance.sequence &&
           *beat.timestamp_ms <= life.timestamp_ms;
  });
}

Sender classify_restarted_sequence(const Agent& agent, const Beat& beat) {
  // Whoever registered beats later than that by its own clock; an older beat is somebody else's.
  const bool is_before = beat.timestamp_ms && *beat.timestamp_ms < agent.registered_at_ms;
  if (agent.is_registration_new && !is_before) return Sender::successor;
  // Just below the last number of a long life it is a duplicate from before its clock stepped back, not a start.
  const bool is_just_below = agent.sequence > kLostBeatsMax && *beat.sequence + 2 >= agent.sequence;
  if (is_later_by_its_own_clock(agent, beat) && !is_just_below) return Sender::successor;
  if (beat.timestamp_ms) return Sender::stale;
  if (agent.has_candidate && *beat.sequence == agent.candidate_sequence + 1) return Sender::successor;
  return Sender::candidate;
}

Sender classify_plain(const Agent& agent, const Beat& beat, Instant now, Duration recent) {
  // Whoever sends no sequence has no instance: it is the agent.
  if (!beat.sequence) return Sender::current;

  const PastLife* life = continued_plain(agent, beat);
  const bool is_registrant = agent.is_registration_new && beat.connection != 0 && beat.connection == agent.connection;
  if (agent.expects_successor) {
    if (life != nullptr && life->instance.is_fenced && !is_registrant) return Sender::fenced;
    return agent.is_registration_new || !agent.has_sequence ? Sender::successor
                                                            : classify_restarted_sequence(agent, beat);
  }
  if (!agent.instance_id.empty()) {
    // A named instance is current: a plain sender under its id is another one, new once that has gone.
    if (life != nullptr && life->instance.is_fenced) return Sender::fenced;
    const bool is_gone = agent.is_ended || agent.state != State::healthy || agent.is_registration_new;
    return is_gone ? Sender::successor : life != nullptr ? Sender::rival : Sender::successor;
  }
  const bool is_above = !agent.has_sequence || *beat.sequence > agent.sequence;
  if (life != nullptr) {
    const bool is_its_connection = beat.connection != 0 && beat.connection == life->connection;
    const bool is_ours = beat.connection != 0 && beat.connection == agent.connection && !is_its_connection;
    // The current one may itself count past a fenced one's last number, with beats lost: telling it to stop
    // would shock a beating heart, so a fenced one must be nearer by far.
    const std::uint64_t to_past = (*beat.sequence - life->instance.sequence) * (life->instance.is_fenced ? 4 : 1);
    const bool is_nearer = !is_above || to_past < *beat.sequence - agent.sequence;
    const bool may_go_on = life->instance.is_fenced || now - life->last_heard <= recent;
    if (!is_ours && may_go_on && (is_its_connection || is_nearer)) {
      return life->instance.is_fenced ? Sender::fenced : Sender::rival;
    }
  }
  if (!is_above) return classify_restarted_sequence(agent, beat);
  if (agent.has_sequence && is_replay_of_earlier_life(agent, beat)) return Sender::stale;
  if (agent.is_ended)
    return agent.is_registration_new || is_later_by_its_own_clock(agent, beat) ? Sender::successor : Sender::ended;
  return Sender::current;
}

}  // namespace

Sender classify(const Agent& agent, const Beat& beat, Instant now, Duration recent, bool is_same_host) {
  const bool is_first =
      !agent.has_beaten && !agent.expects_successor && agent.instance_id.empty() && !agent.has_sequence;
  if (is_first) {
    // A life that has registered only. Past lives are still told apart.
    const PastLife* life = beat.instance_id.empty() ? nullptr : find_past(agent, beat.instance_id);
    if (life == nullptr) return Sender::successor;
  }
  return beat.instance_id.empty() ? classify_plain(agent, beat, now, recent)
                                  : classify_named(agent, beat, is_same_host);
}

PastLife* past_life_of(Agent& agent, const Beat& beat) {
  const PastLife* life = beat.instance_id.empty() ? continued_plain(agent, beat) : find_past(agent, beat.instance_id);
  return const_cast<PastLife*>(life);
}

}  // namespace defib::core
