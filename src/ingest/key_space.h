// The hashes `agent:{id}` that clients keep on the agents' endpoint, so that it can stand where Redis stood.
//
// Only hashes, one for each agent id, each with a TTL or none, all within one stated bound: an expired hash is
// as good as gone when it is looked at, and two buckets are cleared of them at each write. One owner thread;
// `now` never decreases. Nothing here decides anything about an agent.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/result.h"
#include "base/time.h"

namespace defib::ingest {

class KeySpace {
 public:
  // The guide's client writes ten fields of at most 64 bytes.
  static constexpr std::size_t kFieldsMax = 64;
  static constexpr std::size_t kNameBytesMax = 64;
  static constexpr std::size_t kValueBytesMax = 1024;
  // All hashes together, the table's own cost included: about 150,000 of the guide's.
  static constexpr std::size_t kBytesMaxDefault = 64 * 1024 * 1024;
  // What an empty hash costs in the table, beside its id.
  static constexpr std::size_t kHashOverheadBytes = 112;

  explicit KeySpace(std::size_t bytes_max = kBytesMaxDefault) : bytes_max_(bytes_max) {}

  // Writes name, value, name, value, ... (an even count). How many names are new, or the error reply
  // ("ERR ..." past a bound of the hash, "OOM ..." where all is full), by which nothing has changed.
  Result<std::int64_t> set(Instant now, std::string_view id, std::span<const std::string_view> pairs);
  // Borrowed until the next call that changes anything.
  std::optional<std::string_view> field(Instant now, std::string_view id, std::string_view name);
  // Calls `take` for each name and value in the order in which they were first written; none where absent.
  void each_field(Instant now, std::string_view id,
                  const std::function<void(std::string_view name, std::string_view value)>& take);
  std::size_t field_count(Instant now, std::string_view id);
  bool exists(Instant now, std::string_view id) { return find(now, id) != nullptr; }
  // True where there was one.
  bool remove(Instant now, std::string_view id);
  // True where there is one; a length that is not positive removes it.
  bool expire_after(Instant now, std::string_view id, Duration length);
  // kNever: it has no TTL. Nothing: there is no such hash.
  std::optional<Instant> expiry(Instant now, std::string_view id);

  std::size_t size() const { return hashes_.size(); }
  std::size_t bytes() const { return bytes_; }

 private:
  // Its fields one after the other: a byte with the length of the name, two with that of the value, both texts.
  struct Hash {
    std::string packed;
    Instant expires = kNever;
  };
  struct IdHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view id) const { return std::hash<std::string_view>{}(id); }
  };
  using Hashes = std::unordered_map<std::string, Hash, IdHash, std::equal_to<>>;

  Hash* find(Instant now, std::string_view id);
  Hashes::iterator erase(Hashes::iterator at);
  void clear_expired(Instant now, std::size_t buckets);

  const std::size_t bytes_max_;
  std::size_t bytes_ = 0;
  std::size_t next_bucket_ = 0;
  Hashes hashes_;
};

}  // namespace defib::ingest
