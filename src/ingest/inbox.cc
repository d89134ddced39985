#include "ingest/inbox.h"

#include <cstring>
#include <utility>

#include "base/check.h"

namespace defib::ingest {

void Inbox::push(core::Event event, AnswerSink* sink, std::uint64_t ticket) {
  events_.push_back(std::move(event));
  origins_.push_back({sink, ticket});
}

std::string_view Inbox::keep(std::string_view text) {
  if (text.empty()) return {};
  auto* const copy = static_cast<char*>(arena_.allocate(text.size(), 1));
  std::memcpy(copy, text.data(), text.size());
  return {copy, text.size()};
}

void Inbox::deliver(std::span<const core::Answer> answers) {
  DEFIB_CHECK(answers.size() == events_.size());
  for (std::size_t i = 0; i < answers.size(); ++i) {
    if (origins_[i].sink != nullptr) origins_[i].sink->on_answer(origins_[i].ticket, answers[i]);
  }
  events_.clear();
  origins_.clear();
  arena_.release();
}

}  // namespace defib::ingest
