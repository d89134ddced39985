// One command of a scenario, taken apart: plain words in order, and key=value pairs in any order.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"

namespace defib::stage {

class Words {
 public:
  // "fail a1 "out of memory"", "beat a1 seq=5 task="x y"". Quotes hold blanks together; "\n" in them is
  // a line break.
  static Result<Words> parse(std::string_view line);

  const std::string& verb() const { return plain_.front(); }
  std::size_t plain_count() const { return plain_.size() - 1; }

  // The nth plain word behind the verb, from 0; "" and a note of the mistake where there is none.
  std::string word(std::size_t n);
  bool has_flag(std::string_view word) const;
  std::string text(std::string_view key, std::string_view otherwise = "");
  std::optional<std::string> maybe_text(std::string_view key);
  std::optional<std::int64_t> maybe_number(std::string_view key);
  std::int64_t number(std::string_view key, std::int64_t otherwise);
  std::optional<Duration> maybe_duration(std::string_view key);
  Duration duration(std::string_view key, Duration otherwise);
  Duration duration_word(std::size_t n);
  std::int64_t number_word(std::size_t n);

  void complain(const std::string& mistake);
  // The first mistake, also a key that nobody asked for; "" where all is well.
  std::string mistake() const;

 private:
  std::vector<std::string> plain_;
  std::map<std::string, std::string, std::less<>> pairs_;
  std::map<std::string, bool, std::less<>> used_;
  std::string mistake_;
};

}  // namespace defib::stage
