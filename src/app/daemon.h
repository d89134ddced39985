// The monitor as a process: makes every room by hand, in the order in which data flows, and turns the loop.
//
// A turn: events have gathered in the inbox; the engine steps once; senders hear their answers; effects
// are performed in order; replies are written. Nothing in a turn blocks: journal, HTTP out and scripts come back
// as events of a later turn. One thread owns all of it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include <boost/asio/signal_set.hpp>

#include "act/actor.h"
#include "api/api.h"
#include "app/config.h"
#include "core/engine.h"
#include "ingest/agents_endpoint.h"
#include "ingest/beat_codec.h"
#include "ingest/http_source.h"
#include "ingest/inbox.h"
#include "net/http_client.h"
#include "net/http_server.h"
#include "net/loop.h"
#include "net/process.h"
#include "notify/notifier.h"
#include "store/journal.h"

namespace defib::app {

class Daemon {
 public:
  // `config` is checked already; `config_path` is read again on SIGHUP, empty: nothing to read.
  Daemon(Config config, std::string config_path);
  ~Daemon();

  // Runs until SIGTERM or SIGINT. 0: ended as asked; 1: could not start (a port, the data directory).
  int run();

 private:
  bool open_journal();
  bool listen();
  // False where the journal can't be read: going on without it would forget and repeat.
  bool restore();
  void make_actors();
  void make_notifiers();
  void make_api(std::uint16_t http_port);
  void await_signals();
  void reload();
  void feed_watchdog();

  Instant on_turn();
  void step();
  void perform(core::Effects& effects);
  void perform(core::Persist& effect);
  void perform(core::PerformAction& effect);
  void perform(core::SendCommand& effect);
  void perform(core::SendNotice& effect);
  void perform(core::Announce& effect);
  void perform(core::OperatorAnswer& effect);

  void on_http(const std::shared_ptr<net::HttpExchange>& exchange);
  std::uint64_t ask(core::OperatorAsked wish);
  int publish_command(const core::SendCommand& command);
  std::string agents_url() const;

  Config config_;
  const std::string config_path_;
  net::Loop loop_;
  core::Now now_;

  // bytes -> events
  ingest::Inbox inbox_;
  ingest::BeatCodec codec_;
  std::unique_ptr<ingest::AgentsEndpoint> endpoint_;
  std::unique_ptr<ingest::HttpSource> http_source_;
  std::unique_ptr<net::HttpServer> http_server_;
  // decisions
  std::unique_ptr<core::Engine> engine_;
  core::Effects effects_;
  // effects -> the world
  net::HttpClient http_client_;
  net::ProcessRunner process_runner_;
  std::map<std::string, std::unique_ptr<act::Actor>> actors_;
  std::map<std::string, std::unique_ptr<notify::Notifier>> notifiers_;
  std::unique_ptr<store::Journal> journal_;
  std::unique_ptr<api::Api> api_;

  boost::asio::signal_set signals_;
  core::EventId last_event_ = 0;
  std::uint64_t last_request_ = 0;
  std::uint16_t http_port_ = 0;
  std::uint16_t agents_port_ = 0;
  Duration watchdog_every_{0};  // 0: systemd asks for none.
  Instant watchdog_next_ = kNever;
};

}  // namespace defib::app
