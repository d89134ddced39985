#include "app/daemon.h"

#include <algorithm>
#include <csignal>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <unistd.h>
#include <utility>
#include <variant>

#include <boost/json.hpp>
#include <systemd/sd-daemon.h>

#include "act/exec.h"
#include "act/runner_control.h"
#include "net/address.h"
#include "notify/webhook.h"
#include "wire/json_views.h"

namespace defib::app {
namespace {

// The host by which this machine reaches an address that we listen on.
std::string reachable_host(std::string_view listen) {
  const std::string_view host = listen.substr(0, listen.rfind(':'));
  return host == "0.0.0.0" || host == "[::]" ? "127.0.0.1" : std::string(host);
}

// Ten thousand agents and as many readers need more than the usual 1,024 descriptors; what the hard limit allows.
void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  const rlim_t wanted = 2 * net::HttpServer::kConnectionsMax + 1024;
  if (limit.rlim_cur >= wanted) return;
  limit.rlim_cur = std::min(limit.rlim_max, wanted);
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < wanted) {
    spdlog::warn("only {} descriptors may be open: `ulimit -n {}` allows all connections", limit.rlim_cur, wanted);
  }
}

spdlog::level::level_enum level_of(const core::HistoryRecord& record) {
  static constexpr std::array<std::string_view, 9> kLoud = {
      "failed", "opened", "told", "guard", "blind", "missing", "conflict", "journal_broken", "notice_refused"};
  return std::find(kLoud.begin(), kLoud.end(), record.what) == kLoud.end() ? spdlog::level::info : spdlog::level::warn;
}

}  // namespace

Daemon::Daemon(Config config, std::string config_path)
    : config_(std::move(config)),
      config_path_(std::move(config_path)),
      http_client_(loop_),
      process_runner_(loop_),
      signals_(loop_.context(), SIGTERM, SIGINT, SIGHUP) {}

Daemon::~Daemon() = default;

// ---- Start and end ---------------------------------------------------------------------------------

int Daemon::run() {
  // A reader of ours that has gone is an error of write(2), not a reason to end.
  std::signal(SIGPIPE, SIG_IGN);
  raise_descriptor_limit();
  if (!open_journal()) return 1;
  endpoint_ = std::make_unique<ingest::AgentsEndpoint>(loop_, inbox_, codec_,
                                                       ingest::AgentsOptions{config_.name_space, config_.token});
  http_source_ = std::make_unique<ingest::HttpSource>(
      inbox_, codec_, [](std::string_view id, std::string_view text) { spdlog::info("{} says: {}", id, text); });
  http_server_ = std::make_unique<net::HttpServer>(loop_, [this](const auto& exchange) { on_http(exchange); });
  make_notifiers();
  if (!restore() || !listen()) return 1;
  make_actors();
  perform(effects_);  // What restore() left: alerts that were not delivered before the restart, and that we are back.
  await_signals();
  spdlog::info("watching: http://{}:{}/ shows it, agents beat to {}", reachable_host(config_.http), http_port_,
               fmt::format("redis://{}:{}", reachable_host(config_.agents), agents_port_));
  std::uint64_t watchdog_us = 0;
  if (sd_watchdog_enabled(0, &watchdog_us) > 0) {
    watchdog_every_ = std::chrono::microseconds(watchdog_us / 3);
    watchdog_next_ = Instant::min();
  }
  sd_notify(0, "READY=1\nSTATUS=watching");
  loop_.run([this] { return on_turn(); });
  sd_notify(0, "STOPPING=1");
  http_server_->close();
  endpoint_->close();
  now_ = {net::read_steady(), net::read_wall()};
  engine_->finish(now_, effects_);
  // Nothing more is done in the world; the next start goes on from here.
  for (core::Effect& effect : effects_.list) {
    if (auto* persist = std::get_if<core::Persist>(&effect)) perform(*persist);
  }
  journal_.reset();  // Writes what is queued.
  spdlog::info("ended as asked");
  return 0;
}

bool Daemon::open_journal() {
  auto opened =
      store::Journal::open(loop_,
                           {.data_dir = config_.data_dir,
                            .keep = config_.rules.keep,
                            .closed_incidents_max = config_.rules.bounds.closed_incidents},
                           {.persisted = [this](core::PersistToken token) { inbox_.push(core::Persisted{token}); },
                            .writable =
                                [this](bool is_writable, const std::string& reason) {
                                  inbox_.push(core::JournalState{is_writable, inbox_.keep(reason)});
                                }});
  if (!opened.ok()) {
    spdlog::error("{}", opened.error());
    return false;
  }
  journal_ = std::move(opened).value();
  return true;
}

bool Daemon::restore() {
  now_ = {net::read_steady(), net::read_wall()};
  // Jitter of the back-off only: its seed needs no secrecy, it must differ between monitors.
  const auto seed =
      static_cast<std::uint64_t>(now_.steady.time_since_epoch().count()) ^ static_cast<std::uint64_t>(getpid()) << 40;
  engine_ = std::make_unique<core::Engine>(config_.rules, seed);
  Result<core::Snapshot> restored = journal_->restore(now_.steady, now_.wall);
  core::Snapshot snapshot;
  if (!restored.ok()) {
    spdlog::error("{}", restored.error());
    return false;
  }
  snapshot = std::move(restored).value();
  last_event_ = snapshot.last_event;
  inbox_.push(core::Restored{&snapshot});
  engine_->step(now_, inbox_.events(), effects_);
  inbox_.deliver(effects_.answers);
  // The world waits for the actors and the notifiers' way out; the engine counts what it asked for as under way.
  std::erase_if(effects_.list, [this](core::Effect& effect) {
    auto* persist = std::get_if<core::Persist>(&effect);
    if (persist != nullptr) perform(*persist);
    return persist != nullptr;
  });
  return true;
}

bool Daemon::listen() {
  const Result<std::uint16_t> agents = endpoint_->listen(config_.agents);
  if (!agents.ok()) {
    spdlog::error("the agents' endpoint can't listen: {}", agents.error());
    return false;
  }
  agents_port_ = agents.value();
  const Result<std::uint16_t> http = http_server_->listen(config_.http);
  if (!http.ok()) {
    spdlog::error("the HTTP server can't listen: {}", http.error());
    return false;
  }
  http_port_ = http.value();
  make_api(http_port_);
  return true;
}

void Daemon::make_actors() {
  actors_["exec"] = std::make_unique<act::ExecActor>(loop_, process_runner_, agents_url());
  actors_["runner"] = std::make_unique<act::RunnerActor>(
      loop_, [this](const core::SendCommand& command) { return publish_command(command); });
}

void Daemon::make_notifiers() {
  notifiers_.clear();
  for (const ChannelConfig& channel : config_.channels) {
    notifiers_[channel.name] = std::make_unique<notify::WebhookNotifier>(http_client_, channel.url, channel.headers);
  }
}

void Daemon::make_api(std::uint16_t http_port) {
  const std::string host = config_.http.substr(0, config_.http.rfind(':'));
  api_ = std::make_unique<api::Api>(
      *engine_,
      api::ApiOptions{.auth = {.token = config_.token, .listen = fmt::format("{}:{}", host, http_port), .hosts = {}},
                      .version = DEFIB_VERSION,
                      .newest_event = last_event_},
      api::ApiDoors{
          .now = [this] { return now_.steady; },
          .wall = [this] { return now_.wall; },
          .ask = [this](core::OperatorAsked wish) { return ask(wish); },
          .history = [this](core::EventId after, std::size_t limit) { return journal_->history(after, limit); },
          .troubles = {}});
}

void Daemon::await_signals() {
  signals_.async_wait([this](const boost::system::error_code& error, int signal) {
    if (error) return;
    if (signal != SIGHUP) return loop_.stop();
    reload();
    await_signals();
  });
}

// A bad file is reported and changes nothing; what can't change while we run is said.
void Daemon::reload() {
  if (config_path_.empty()) return spdlog::warn("SIGHUP: no --config file was given, nothing to read");
  ConfigReading reading = read_config_file(config_path_);
  for (const ConfigMistake& mistake : reading.mistakes) {
    spdlog::error("{}:{}:{}: {}", config_path_, mistake.line, mistake.column, mistake.message);
  }
  if (!reading.mistakes.empty()) return spdlog::error("{} was not taken: mend it and send SIGHUP again", config_path_);
  config_.rules = std::move(reading.config.rules);
  config_.channels = std::move(reading.config.channels);
  make_notifiers();
  inbox_.push(core::RulesChanged{&config_.rules});
  spdlog::info("{} was read; addresses, data_dir and token hold until a restart", config_path_);
}

void Daemon::feed_watchdog() {
  if (watchdog_every_ == Duration{0} || now_.steady < watchdog_next_) return;
  watchdog_next_ = now_.steady + watchdog_every_;
  sd_notify(0, "WATCHDOG=1");
}

// ---- A turn ----------------------------------------------------------------------------------------

Instant Daemon::on_turn() {
  step();
  const bool has_waiting_requests = http_source_->resume(now_.steady);
  api_->on_turn(now_.steady);
  endpoint_->flush(now_.steady);
  feed_watchdog();
  if (has_waiting_requests || api_->has_work() || !inbox_.is_empty()) return now_.steady;
  return std::min({engine_->next_wakeup(), api_->next_wakeup(), endpoint_->next_wakeup(), watchdog_next_});
}

void Daemon::step() {
  now_ = {net::read_steady(), net::read_wall()};
  engine_->step(now_, inbox_.events(), effects_);
  inbox_.deliver(effects_.answers);
  perform(effects_);
}

void Daemon::perform(core::Effects& effects) {
  for (core::Effect& effect : effects.list) {
    std::visit([this](auto& e) { perform(e); }, effect);
  }
}

void Daemon::perform(core::Persist& effect) { journal_->write(std::move(effect)); }

void Daemon::perform(core::PerformAction& effect) {
  const core::IncidentId incident = effect.incident;
  const std::uint32_t attempt = effect.attempt;
  const auto done = [this, incident, attempt](const act::ActionResult& result) {
    inbox_.push(core::ActionFinished{incident, attempt, result.end, inbox_.keep(result.detail)});
  };
  const auto actor = actors_.find(effect.step.with);
  if (actor == actors_.end()) {
    return done({core::ActionEnd::refused, fmt::format("this version has no adapter called {}", effect.step.with)});
  }
  actor->second->perform(effect, done);
}

void Daemon::perform(core::SendCommand& effect) { publish_command(effect); }

int Daemon::publish_command(const core::SendCommand& command) {
  const std::string prefix = config_.name_space.empty() ? "" : config_.name_space + ":";
  const int heard = endpoint_->publish(prefix + "defib:control:" + command.agent_id,
                                       boost::json::serialize(wire::command_json(command)));
  return heard + (http_source_->offer_command(now_.steady, command) ? 1 : 0);
}

void Daemon::perform(core::SendNotice& effect) {
  const core::NoticeRecord& notice = effect.notice;
  const core::NoticeId id = notice.id;
  const auto done = [this, id](const notify::DeliveryResult& result) {
    inbox_.push(core::Delivered{id, result.end, inbox_.keep(result.detail), result.retry_after});
  };
  const auto notifier = notifiers_.find(notice.channel);
  if (notifier == notifiers_.end()) {
    return done({.end = core::DeliveryEnd::refused, .detail = "no channel has this name any more"});
  }
  notify::Message message;
  message.incident = engine_->incident(notice.incident).value_or(core::Incident{});
  message.agent = engine_->agent(now_.steady, notice.agent_id);
  message.link_base = fmt::format("http://{}:{}", reachable_host(config_.http), http_port_);
  message.notice = notice;
  notifier->second->send(message, done);
}

void Daemon::perform(core::Announce& effect) {
  const core::HistoryRecord& record = effect.record;
  spdlog::log(level_of(record), "{}", record.text);
  if (api_) api_->on_announce(record);
}

void Daemon::perform(core::OperatorAnswer& effect) {
  if (api_) api_->on_operator_answer(effect);
}

// ---- Doors -----------------------------------------------------------------------------------------

void Daemon::on_http(const std::shared_ptr<net::HttpExchange>& exchange) {
  // Requests come between two steps: the last turn's time may be seconds old.
  now_ = {net::read_steady(), net::read_wall()};
  if (!ingest::HttpSource::handles(exchange->request())) return api_->handle(exchange);
  if (api_->admit(*exchange)) http_source_->handle(now_.steady, exchange);
}

std::uint64_t Daemon::ask(core::OperatorAsked wish) {
  if (inbox_.is_full()) return 0;
  wish.request = ++last_request_;
  wish.agent_id = inbox_.keep(wish.agent_id);
  wish.who = inbox_.keep(wish.who);
  inbox_.push(wish);
  return last_request_;
}

std::string Daemon::agents_url() const {
  const std::string login = config_.token.empty() ? "" : ":" + config_.token + "@";
  return fmt::format("redis://{}{}:{}", login, reachable_host(config_.agents), agents_port_);
}

}  // namespace defib::app
