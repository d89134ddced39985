// Result<T>: a value, or an Error in one sentence a person can act on. For what the world does
// wrong (network, files, bad input); the caller must look at it.
#pragma once

#include <string>
#include <utility>
#include <variant>

#include "base/check.h"

namespace defib {

// What went wrong, where, and what to do about it. Never holds a secret.
struct Error {
  std::string message;
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : data_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : data_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return data_.index() == 0; }
  explicit operator bool() const { return ok(); }

  // Only when ok().
  T& value() & {
    DEFIB_CHECK(ok());
    return std::get<0>(data_);
  }
  const T& value() const& {
    DEFIB_CHECK(ok());
    return std::get<0>(data_);
  }
  T&& value() && {
    DEFIB_CHECK(ok());
    return std::get<0>(std::move(data_));
  }

  // Only when not ok().
  const std::string& error() const {
    DEFIB_CHECK(!ok());
    return std::get<1>(data_).message;
  }

 private:
  std::variant<T, Error> data_;
};

struct Unit {
  friend bool operator==(Unit, Unit) = default;
};
// Success without a value.
using Done = Result<Unit>;

}  // namespace defib
