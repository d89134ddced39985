#include "ingest/key_space.h"

#include <algorithm>
#include <fmt/format.h>
#include <iterator>

#include "base/check.h"

namespace defib::ingest {
namespace {

constexpr std::size_t kFieldHeadBytes = 3;
// Buckets looked at when a hash is written, and when there is no room for it.
constexpr std::size_t kBucketsPerWrite = 2;
constexpr std::size_t kBucketsWhenFull = 1024;

// One field within a packed hash.
struct Field {
  std::string_view name;
  std::string_view value;
  std::size_t end = 0;  // Where the next one begins.
};

Field field_at(std::string_view packed, std::size_t offset) {
  const auto byte = [&](std::size_t at) { return static_cast<std::size_t>(static_cast<unsigned char>(packed[at])); };
  const std::size_t name_bytes = byte(offset);
  const std::size_t value_bytes = byte(offset + 1) * 256 + byte(offset + 2);
  const std::size_t text = offset + kFieldHeadBytes;
  return {packed.substr(text, name_bytes), packed.substr(text + name_bytes, value_bytes),
          text + name_bytes + value_bytes};
}

std::optional<Field> find_field(std::string_view packed, std::string_view name) {
  for (std::size_t at = 0; at < packed.size();) {
    const Field field = field_at(packed, at);
    if (field.name == name) return field;
    at = field.end;
  }
  return std::nullopt;
}

std::size_t count_fields(std::string_view packed) {
  std::size_t count = 0;
  for (std::size_t at = 0; at < packed.size(); at = field_at(packed, at).end) ++count;
  return count;
}

// True where the name is new.
bool write_field(std::string& packed, std::string_view name, std::string_view value) {
  const char high = static_cast<char>(value.size() / 256);
  const char low = static_cast<char>(value.size() % 256);
  if (const auto old = find_field(packed, name)) {
    const std::size_t begin = old->end - old->value.size();
    const std::size_t head = begin - name.size() - kFieldHeadBytes;
    packed[head + 1] = high;
    packed[head + 2] = low;
    packed.replace(begin, old->end - begin, value);
    return false;
  }
  packed.append({static_cast<char>(name.size()), high, low}).append(name).append(value);
  return true;
}

}  // namespace

Result<std::int64_t> KeySpace::set(Instant now, std::string_view id, std::span<const std::string_view> pairs) {
  DEFIB_CHECK(pairs.size() % 2 == 0);
  clear_expired(now, kBucketsPerWrite);
  Hash* hash = find(now, id);
  const std::string_view packed = hash == nullptr ? std::string_view() : std::string_view(hash->packed);

  // A name that comes twice counts twice here, which only makes the bounds a little stricter.
  std::size_t growth = hash == nullptr ? kHashOverheadBytes + id.size() : 0;
  std::size_t fields = count_fields(packed);
  for (std::size_t i = 0; i < pairs.size(); i += 2) {
    const std::string_view name = pairs[i];
    const std::string_view value = pairs[i + 1];
    if (name.size() > kNameBytesMax || value.size() > kValueBytesMax) {
      return Error{
          fmt::format("ERR a field has at most {} bytes of name and {} of value", kNameBytesMax, kValueBytesMax)};
    }
    const auto old = find_field(packed, name);
    if (!old && ++fields > kFieldsMax) return Error{fmt::format("ERR a hash has at most {} fields", kFieldsMax)};
    if (!old) growth += kFieldHeadBytes + name.size() + value.size();
    if (old && value.size() > old->value.size()) growth += value.size() - old->value.size();
  }
  if (growth > 0 && bytes_ + growth > bytes_max_) {
    clear_expired(now, kBucketsWhenFull);
    if (bytes_ + growth > bytes_max_) {
      return Error{fmt::format("OOM the hashes of agents take more than {} bytes", bytes_max_)};
    }
  }

  if (hash == nullptr) {
    hash = &hashes_.try_emplace(std::string(id)).first->second;
    bytes_ += kHashOverheadBytes + id.size();
  }
  const std::size_t before = hash->packed.size();
  std::int64_t added = 0;
  for (std::size_t i = 0; i < pairs.size(); i += 2) {
    if (write_field(hash->packed, pairs[i], pairs[i + 1])) ++added;
  }
  bytes_ = bytes_ - before + hash->packed.size();
  return added;
}

std::optional<std::string_view> KeySpace::field(Instant now, std::string_view id, std::string_view name) {
  const Hash* const hash = find(now, id);
  if (hash == nullptr) return std::nullopt;
  const auto found = find_field(hash->packed, name);
  if (!found) return std::nullopt;
  return found->value;
}

void KeySpace::each_field(Instant now, std::string_view id,
                          const std::function<void(std::string_view name, std::string_view value)>& take) {
  const Hash* const hash = find(now, id);
  if (hash == nullptr) return;
  for (std::size_t at = 0; at < hash->packed.size();) {
    const Field field = field_at(hash->packed, at);
    take(field.name, field.value);
    at = field.end;
  }
}

std::size_t KeySpace::field_count(Instant now, std::string_view id) {
  const Hash* const hash = find(now, id);
  return hash == nullptr ? 0 : count_fields(hash->packed);
}

bool KeySpace::remove(Instant now, std::string_view id) {
  if (find(now, id) == nullptr) return false;
  erase(hashes_.find(id));
  return true;
}

bool KeySpace::expire_after(Instant now, std::string_view id, Duration length) {
  Hash* const hash = find(now, id);
  if (hash == nullptr) return false;
  if (length <= Duration::zero()) return remove(now, id);
  hash->expires = length < kNever - now ? now + length : kNever;
  return true;
}

std::optional<Instant> KeySpace::expiry(Instant now, std::string_view id) {
  const Hash* const hash = find(now, id);
  if (hash == nullptr) return std::nullopt;
  return hash->expires;
}

KeySpace::Hash* KeySpace::find(Instant now, std::string_view id) {
  const auto found = hashes_.find(id);
  if (found == hashes_.end()) return nullptr;
  if (found->second.expires > now) return &found->second;
  erase(found);
  return nullptr;
}

KeySpace::Hashes::iterator KeySpace::erase(Hashes::iterator at) {
  bytes_ -= kHashOverheadBytes + at->first.size() + at->second.packed.size();
  return hashes_.erase(at);
}

void KeySpace::clear_expired(Instant now, std::size_t buckets) {
  buckets = std::min(buckets, hashes_.bucket_count());
  for (std::size_t i = 0; i < buckets && !hashes_.empty(); ++i) {
    next_bucket_ = (next_bucket_ + 1) % hashes_.bucket_count();
    // An erased element leaves no way on within its bucket, so it is found again from the front.
    for (auto at = hashes_.begin(next_bucket_); at != hashes_.end(next_bucket_);) {
      if (at->second.expires > now) {
        ++at;
      } else {
        erase(hashes_.find(at->first));
        at = hashes_.begin(next_bucket_);
      }
    }
  }
}

}  // namespace defib::ingest
