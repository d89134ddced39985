// RESP from any bytes, cut anywhere. The first byte chooses how the rest is cut and into turns.
//
// Both parsers make the same of the bytes, however they are cut, and hold no more than they were given; a session bears
// whatever the command parser makes of them, and all that it answers is RESP.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <spdlog/spdlog.h>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/prng.h"
#include "ingest/agents_session.h"
#include "wire/resp.h"

namespace {

using namespace defib;

// Pieces on the heap, each of its exact size, so that a step past one is seen.
class Cuts {
 public:
  Cuts(std::string_view bytes, Prng& prng, std::size_t piece_max) : bytes_(bytes), prng_(prng), piece_max_(piece_max) {}

  bool next() {
    if (bytes_.empty()) return false;
    const std::size_t size = std::min<std::size_t>(bytes_.size(), 1 + prng_.below(piece_max_));
    piece_ = std::make_unique<char[]>(size);
    bytes_.copy(piece_.get(), size);
    bytes_.remove_prefix(size);
    size_ = size;
    return true;
  }
  std::string_view piece() const { return {piece_.get(), size_}; }

 private:
  std::string_view bytes_;
  Prng& prng_;
  const std::size_t piece_max_;
  std::unique_ptr<char[]> piece_;
  std::size_t size_ = 0;
};

struct Commands {
  std::vector<std::vector<std::string>> list;
  std::string fatal;
  friend bool operator==(const Commands&, const Commands&) = default;
};

Commands read_commands(std::string_view bytes, Prng& prng, std::size_t piece_max) {
  wire::CommandParser parser;
  Commands out;
  for (Cuts cuts(bytes, prng, piece_max); cuts.next();) {
    if (!parser.feed(cuts.piece()).ok()) break;
    if (prng.chance(100'000)) parser.keep();
    while (const auto command = parser.next()) {
      DEFIB_CHECK(!command->arguments.empty() && command->arguments.size() <= wire::kRespArgumentsMax);
      out.list.emplace_back(command->arguments.begin(), command->arguments.end());
      if (prng.chance(100'000)) parser.keep();
    }
    DEFIB_CHECK(parser.bytes_held() <= bytes.size());
  }
  out.fatal = parser.fatal();
  return out;
}

void flatten(const wire::RespValue& value, std::string& out) {
  out.append(std::to_string(static_cast<int>(value.kind)) + ":" + value.text + ":" + std::to_string(value.integer) +
             "[");
  for (const wire::RespValue& item : value.items) flatten(item, out);
  out.append("]");
}

std::string read_replies(std::string_view bytes, Prng& prng, std::size_t piece_max) {
  wire::ReplyParser parser;
  std::string out;
  for (Cuts cuts(bytes, prng, piece_max); cuts.next();) {
    if (!parser.feed(cuts.piece()).ok()) break;
    while (const auto value = parser.next()) flatten(*value, out);
  }
  return out + parser.fatal();
}

struct Silent final : ingest::SessionOutlet {
  void on_output() override {}
};

void converse(std::string_view bytes, Prng& prng) {
  ingest::Inbox inbox;
  ingest::BeatCodec codec;
  ingest::AgentsDesk desk(inbox, codec, "", prng.chance(200'000) ? "t" : "", "0");
  Silent outlet;
  ingest::AgentsSession session(desk, outlet, 1);
  ingest::AgentsSession other(desk, outlet, 2);
  const std::string_view heartbeats = "heartbeats";
  const std::vector<std::string_view> subscribe{"SUBSCRIBE", heartbeats};
  other.run({.arguments = subscribe});

  wire::CommandParser parser;
  wire::ReplyParser replies[2];
  const auto end_turn = [&] {
    std::vector<core::Answer> answers;
    for (std::size_t i = 0; i < inbox.events().size(); ++i) answers.push_back(static_cast<core::Answer>(prng.below(6)));
    inbox.deliver(answers);
    desk.now += std::chrono::milliseconds(prng.below(2000));
    ingest::AgentsSession* const sessions[] = {&session, &other};
    for (std::size_t i = 0; i < 2; ++i) {
      std::string out;
      sessions[i]->take_output(out);
      if (!replies[i].feed(out).ok()) continue;
      while (replies[i].next()) {
      }
      DEFIB_CHECK(replies[i].fatal().empty() || replies[i].fatal() == "the reply is too large");
    }
  };
  for (Cuts cuts(bytes, prng, 512); cuts.next();) {
    if (!parser.feed(cuts.piece()).ok()) break;
    while (const auto command = parser.next()) {
      session.run(*command);
      if (prng.chance(200'000)) {
        parser.keep();
        end_turn();
      }
    }
    if (!parser.fatal().empty()) session.refuse(parser.fatal());
    end_turn();
  }
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  spdlog::set_level(spdlog::level::off);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  Prng prng(data[0]);
  DEFIB_CHECK(read_commands(bytes, prng, 7) == read_commands(bytes, prng, bytes.size() + 1));
  DEFIB_CHECK(read_replies(bytes, prng, 7) == read_replies(bytes, prng, bytes.size() + 1));
  converse(bytes, prng);
  return 0;
}
