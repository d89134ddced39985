// The real monitor from outside, beside Redis: the same client, the same messages, the same run.
#include <fmt/format.h>
#include <string>
#include <vector>

#include "benches.h"
#include "fleet.h"
#include "load.h"
#include "server.h"

namespace defib::bench {
namespace {

constexpr std::uint32_t kFleet = 10'000;
constexpr std::uint32_t kLargeFleet = 1'000'000;
constexpr std::uint32_t kConnected = 1'000;
constexpr unsigned kPipelines = 4;

struct Cost {
  double per_second = 0;
  double cpu_ns = 0;  // Of the server, one of them.
};

template <typename Work>
Cost measure(const Server& server, std::size_t times, Work&& work) {
  const double wall = wall_ns();
  const double cpu = server.cpu_ns();
  work();
  const auto n = static_cast<double>(times);
  return {n / (wall_ns() - wall) * 1e9, (server.cpu_ns() - cpu) / n};
}

struct Samples {
  std::vector<double> per_second;
  std::vector<double> cpu_ns;
  void add(const Cost& cost) {
    per_second.push_back(cost.per_second);
    cpu_ns.push_back(cost.cpu_ns);
  }
};

void bench_pipelined(Report& report, const Server& monitor, const Server& redis) {
  const Fleet fleet(kFleet, report.options().seed);
  const Subscriber subscriber(redis.port());
  PipelinedClient to_monitor(monitor.port(), fleet, kPipelines);
  PipelinedClient to_redis(redis.port(), fleet, kPipelines);
  to_monitor.publish_rounds(2);  // The first beats of everyone are another matter.
  to_redis.publish_rounds(2);
  constexpr unsigned kRounds = 50;
  Samples ours, theirs;
  for (unsigned run = 0; run < report.options().runs; ++run) {
    ours.add(measure(monitor, kRounds * kFleet, [&] { to_monitor.publish_rounds(kRounds); }));
    theirs.add(measure(redis, kRounds * kFleet, [&] { to_redis.publish_rounds(kRounds); }));
  }
  report.add(
      {"endpoint.pipelined.rate", "beats/s, 10,000 agents, 4 connections", "1/s", ours.per_second, Better::higher});
  report.add({"endpoint.pipelined.cpu", "monitor CPU a beat", "ns/beat", ours.cpu_ns});
  report.add(
      {"redis.pipelined.rate", "Redis with one subscriber, the same client", "1/s", theirs.per_second, Better::higher});
  report.add({"redis.pipelined.cpu", "Redis CPU a beat", "ns/beat", theirs.cpu_ns});
  report.add_ratio("endpoint.pipelined.rate_vs_redis", "beats/s against Redis with one subscriber", ours.per_second,
                   theirs.per_second, Better::higher, 1);
  report.add_ratio("endpoint.pipelined.cpu_vs_redis", "CPU a beat against Redis with one subscriber", ours.cpu_ns,
                   theirs.cpu_ns, Better::lower, 1.2);
}

// What a connection costs that has spoken and is silent since.
void bench_idle_connections(Report& report) {
  const Server monitor = Server::monitor(report.options().defib);
  const std::size_t before = monitor.rss_bytes();
  std::vector<Idler> idlers;
  for (std::uint32_t i = 0; i < kConnected; ++i) idlers.emplace_back(monitor.port());
  const auto grown = static_cast<double>(monitor.rss_bytes() - before);
  report.add({"endpoint.connection.memory",
              "RSS of the monitor a connection, 1,000 idle ones",
              "bytes",
              {grown / kConnected},
              Better::lower,
              8192});
}

void bench_connected(Report& report, const Server& monitor, const Server& redis) {
  const Subscriber subscriber(redis.port());
  AgentsClient to_monitor(monitor.port(), kConnected);
  AgentsClient to_redis(redis.port(), kConnected);
  const auto measure_with = [&](std::string_view id, std::string_view what, std::size_t under_way, unsigned rounds) {
    to_monitor.beat(2, under_way);
    to_redis.beat(2, under_way);
    Samples ours, theirs;
    for (unsigned run = 0; run < report.options().runs; ++run) {
      ours.add(measure(monitor, rounds * kConnected, [&] { to_monitor.beat(rounds, under_way); }));
      theirs.add(measure(redis, rounds * kConnected, [&] { to_redis.beat(rounds, under_way); }));
    }
    report.add(
        {fmt::format("endpoint.{}.cpu", id), fmt::format("monitor CPU a beat, {}", what), "ns/beat", ours.cpu_ns});
    report.add({fmt::format("redis.{}.cpu", id), "Redis CPU a beat, one subscriber", "ns/beat", theirs.cpu_ns});
    report.add_ratio(fmt::format("endpoint.{}.cpu_vs_redis", id), fmt::format("CPU a beat against Redis, {}", what),
                     ours.cpu_ns, theirs.cpu_ns, Better::lower, 1.1);
  };
  measure_with("connected", "1,000 connections, all waiting for an answer", kConnected, 20);
  measure_with("one_by_one", "1,000 connections, one beat under way", 1, 5);
}

// Once each: what a million agents cost from outside.
void bench_million(Report& report) {
  progress("endpoint: 1,000,000 agents");
  const Server monitor = Server::monitor(report.options().defib);
  const Server redis = Server::redis(report.options().redis);
  const Fleet fleet(kLargeFleet, report.options().seed);
  const std::size_t before = monitor.rss_bytes();
  Samples ours, theirs;
  {
    PipelinedClient client(monitor.port(), fleet, kPipelines);
    const Cost first = measure(monitor, kLargeFleet, [&] { client.publish_rounds(1); });
    report.add({"endpoint.first_beat.1m",
                "monitor CPU of an agent's first beat: history, record and log line",
                "ns/beat",
                {first.cpu_ns}});
    monitor.settle();
    ours.add(measure(monitor, kLargeFleet, [&] { client.publish_rounds(1); }));
    monitor.settle();
  }
  const auto grown = static_cast<double>(monitor.rss_bytes() - before);
  {
    PipelinedClient client(redis.port(), fleet, kPipelines);
    const Subscriber subscriber(redis.port());
    client.publish_rounds(1);
    theirs.add(measure(redis, kLargeFleet, [&] { client.publish_rounds(1); }));
  }
  report.add({"endpoint.million.rate", "beats/s, 1,000,000 agents", "1/s", ours.per_second, Better::higher});
  report.add({"endpoint.million.cpu", "monitor CPU a beat, 1,000,000 agents", "ns/beat", ours.cpu_ns});
  report.add_ratio("endpoint.million.rate_vs_redis", "the same against Redis with one subscriber", ours.per_second,
                   theirs.per_second, Better::higher);
  report.add({"memory.monitor.1m",
              "RSS an agent of the whole monitor, its journal in memory too",
              "bytes",
              {grown / kLargeFleet},
              Better::lower,
              300});
}

}  // namespace

void bench_endpoint(Report& report) {
  progress("endpoint: the monitor and Redis side by side");
  {
    const Server monitor = Server::monitor(report.options().defib);
    const Server redis = Server::redis(report.options().redis);
    bench_pipelined(report, monitor, redis);
    bench_connected(report, monitor, redis);
  }
  bench_idle_connections(report);
  bench_million(report);
}

void bench_health(Report& report) {
  progress("health: the list of 10,000 agents");
  const Server monitor = Server::monitor(report.options().defib);
  const Fleet fleet(kFleet, report.options().seed);
  PipelinedClient client(monitor.port(), fleet, kPipelines);
  client.publish_rounds(2);
  HttpGetter getter(monitor.http_port());
  const auto bytes = static_cast<double>(getter.get("/health/agents"));
  constexpr unsigned kLists = 20;
  constexpr unsigned kSingles = 2'000;
  Samples list, single;
  for (unsigned run = 0; run < report.options().runs; ++run) {
    list.add(measure(monitor, kLists, [&] {
      for (unsigned i = 0; i < kLists; ++i) getter.get("/health/agents");
    }));
    single.add(measure(monitor, kSingles, [&] {
      for (unsigned i = 0; i < kSingles; ++i) getter.get("/health/agents/" + Fleet::id_of(fleet.agent_at(i)));
    }));
  }
  report.add({"health.list.rate", "GET /health/agents of 10,000 agents, one keep-alive connection", "1/s",
              list.per_second, Better::higher});
  report.add({"health.list.cpu", "monitor CPU a list", "ns", list.cpu_ns});
  report.add({"health.list.bytes", "its body", "bytes", {bytes}});
  report.add({"health.agent.rate", "GET /health/agents/{id}, one keep-alive connection", "1/s", single.per_second,
              Better::higher});
  report.add({"health.agent.cpu", "monitor CPU of one agent", "ns", single.cpu_ns});
}

}  // namespace defib::bench
