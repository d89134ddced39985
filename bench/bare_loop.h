// The yardstick: the least that anyone would write to check and keep all that a beat says, and judge nothing.
//
// Reads the JSON in place with simdjson on-demand, checks that every value has its type and walks what it does
// not know, and keeps all fields in one flat map by id. No deadline, no instance, no sequence, no answer.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace defib::bench {

class BareLoop {
 public:
  explicit BareLoop(std::size_t agents_expected);
  ~BareLoop();
  BareLoop(const BareLoop&) = delete;
  BareLoop& operator=(const BareLoop&) = delete;

  // `readable_bytes` from its beginning on belong to us: at least 64 more than it has. False: refused.
  bool take(std::string_view message, std::size_t readable_bytes, std::int64_t now_ns);
  std::size_t size() const;

 private:
  struct State;  // simdjson stays out of this header.
  std::unique_ptr<State> state_;
};

}  // namespace defib::bench
