// From a JSON message to a core::Beat: checked, typed and bounded (the guide's step 1, and what defib adds).
//
// Every value of the message is walked and parsed, known or not, so broken JSON anywhere refuses the whole
// of it. Three outcomes: refused as a whole (an error: the identity could not be trusted), refused but alive
// (`Beat.refusal`: rule of judgement 10), accepted. One owner thread; no allocation a beat besides the arena.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <memory_resource>
#include <string_view>

#include "base/result.h"
#include "core/types.h"

namespace defib::ingest {

// Since the start. `decoded` counts both accepted and refused but alive; `refused` counts both kinds of refusal.
struct CodecCounters {
  std::uint64_t decoded = 0;
  std::uint64_t refused = 0;
  std::uint64_t interval_ignored = 0;
  std::uint64_t timestamp_ignored = 0;
  std::uint64_t unknown_fields = 0;
};

// Bounds of the codec's own; those of the fields that the core keeps are in core/types.h.
inline constexpr std::size_t kTypeBytesMax = 128;
inline constexpr std::size_t kInstanceIdBytesMax = 128;
inline constexpr std::size_t kHostBytesMax = 255;         // A DNS name's.
inline constexpr std::size_t kStackBytesMax = 16 * 1024;  // A longer one loses its end.
inline constexpr std::size_t kLabelKeyBytesMax = 64;
inline constexpr std::size_t kLabelValueBytesMax = 256;
inline constexpr std::size_t kDepthMax = 32;  // Of nesting: a beat of ours is three deep.
inline constexpr double kMetricMax = 1e15;
inline constexpr std::int64_t kSequenceMax = std::int64_t{1} << 53;  // What a JavaScript number counts exactly.

class BeatCodec {
 public:
  BeatCodec();
  ~BeatCodec();
  BeatCodec(const BeatCodec&) = delete;
  BeatCodec& operator=(const BeatCodec&) = delete;

  // Decodes one JSON object. Text in the Beat lives in `arena`. On error: why it is refused as a whole (no
  // identity could be trusted), in one sentence for the sender.
  Result<core::Beat> decode(std::string_view json, std::pmr::memory_resource& arena);
  const CodecCounters& counters() const { return counters_; }

 private:
  struct Parser;  // simdjson stays out of this header.
  std::unique_ptr<Parser> parser_;
  CodecCounters counters_;
};

}  // namespace defib::ingest
