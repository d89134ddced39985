// A made-up fleet: the messages of so many agents, all fields of the guide's heartbeat and an instance id.
//
// One seed gives one fleet and one order of beats: a permutation, so that each agent beats once a round and
// neighbours in time are strangers in memory, as they are in a real fleet.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace defib::bench {

class Fleet {
 public:
  Fleet(std::uint32_t agents, std::uint64_t seed);

  std::uint32_t size() const { return static_cast<std::uint32_t>(order_.size()); }
  // The agent that beats `n`-th, counted over all rounds.
  std::uint32_t agent_at(std::uint64_t n) const { return order_[n % order_.size()]; }
  std::uint64_t round_of(std::uint64_t n) const { return n / order_.size(); }

  static std::string id_of(std::uint32_t agent);
  // All messages have this many bytes.
  static std::size_t message_bytes();
  // Appends the agent's message; `round` makes its sequence and timestamp, both of a fixed width.
  static void append_message(std::string& out, std::uint32_t agent, std::uint64_t round);
  // Changes the round of a message that stands at `message`.
  static void patch_round(char* message, std::uint64_t round);

 private:
  std::vector<std::uint32_t> order_;
};

// One message after the other, with room behind for a parser that reads ahead.
class MessageBatch {
 public:
  // The messages of beats `first` to `first + count - 1`.
  void fill(const Fleet& fleet, std::uint64_t first, std::size_t count);
  std::size_t size() const { return count_; }
  std::string_view at(std::size_t i) const {
    return std::string_view(text_).substr(i * Fleet::message_bytes(), Fleet::message_bytes());
  }
  // Readable bytes from the beginning of message `i` on.
  std::size_t readable_bytes(std::size_t i) const { return text_.size() - i * Fleet::message_bytes(); }

 private:
  std::string text_;  // With the room behind.
  std::size_t count_ = 0;
};

}  // namespace defib::bench
