// The runner against a monitor that it reaches by HTTP: beats, commands in the answers, reports that are kept.
#include <atomic>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <mutex>
#include <signal.h>
#include <string>
#include <thread>
#include <vector>

#include <boost/json.hpp>

#include "net/http_server.h"
#include "net/loop.h"
#include "run/fake_monitor.h"
#include "run/test_process.h"

namespace defib::run {
namespace {

namespace json = boost::json;

class HttpMonitor {
 public:
  HttpMonitor() : server_(loop_, [this](const auto& exchange) { answer(*exchange); }) {
    port_ = server_.listen("127.0.0.1:0").value();
    thread_ = std::thread([this] { loop_.run([] { return kNever; }); });
  }
  ~HttpMonitor() {
    loop_.post([this] {
      server_.close();
      loop_.stop();
    });
    thread_.join();
  }

  std::string url() const { return fmt::format("http://127.0.0.1:{}", port_); }
  // The next answer carries this.
  void command(json::object command) {
    const std::lock_guard lock(mutex_);
    commands_.push_back(std::move(command));
  }
  void answer_with(unsigned status) { status_ = status; }
  std::vector<json::object> messages(bool (*wanted)(const json::object&)) const {
    const std::lock_guard lock(mutex_);
    std::vector<json::object> found;
    for (const json::object& message : messages_) {
      if (wanted(message)) found.push_back(message);
    }
    return found;
  }
  bool wait_for(std::size_t count, bool (*wanted)(const json::object&)) const {
    return eventually([&] { return messages(wanted).size() >= count; });
  }
  std::string last_login() const {
    const std::lock_guard lock(mutex_);
    return login_;
  }
  int refused() const { return refused_; }

 private:
  void answer(net::HttpExchange& exchange) {
    const std::lock_guard lock(mutex_);
    login_ = exchange.request().header("authorization");
    if (status_ != 200) {
      ++refused_;
      return exchange.respond({.status = status_});
    }
    EXPECT_EQ(exchange.request().path, "/v1/heartbeats");
    EXPECT_EQ(exchange.request().header("content-type"), "application/json");
    messages_.push_back(json::parse(exchange.request().body).as_object());
    json::array commands;
    for (json::object& command : commands_) commands.push_back(std::move(command));
    commands_.clear();
    exchange.respond(
        {.body = json::serialize(json::object{{"accepted", 1}, {"refused", json::array()}, {"commands", commands}})});
  }

  mutable std::mutex mutex_;
  std::vector<json::object> messages_;
  std::vector<json::object> commands_;
  std::string login_;
  std::atomic<unsigned> status_ = 200;
  std::atomic<int> refused_ = 0;
  net::Loop loop_;
  net::HttpServer server_;
  std::uint16_t port_ = 0;
  std::thread thread_;
};

std::vector<std::string> under(const HttpMonitor& monitor, const std::string& script) {
  return {"--url", monitor.url(), "--token", "hush", "--id",    "a1", "--interval-ms",
          "200",   "--restart",   "no",      "--",   "/bin/sh", "-c", script};
}

TEST(RunnerOverHttp, BeatsAndTakesCommandsFromTheAnswers) {
  HttpMonitor monitor;
  TestProcess runner(under(monitor, "exec sleep 1000"));
  ASSERT_TRUE(monitor.wait_for(3, is_beat));
  EXPECT_EQ(monitor.last_login(), "Bearer hush");
  const json::object before = monitor.messages(is_beat).back();
  monitor.command({{"id", "1"},
                   {"command", "restart"},
                   {"agentId", "a1"},
                   {"instanceId", before.at("instanceId")},
                   {"reason", "r"}});
  EXPECT_TRUE(eventually([&] { return monitor.messages(is_beat).back().at("instanceId") != before.at("instanceId"); }));
  runner.send_signal(SIGTERM);
  EXPECT_EQ(runner.wait(), 128 + SIGTERM);
  EXPECT_EQ(monitor.messages(is_goodbye).size(), 1U);
}

TEST(RunnerOverHttp, AReportIsKeptUntilItIsTaken) {
  HttpMonitor monitor;
  TestProcess runner(under(monitor, "sleep 0.5; exit 3"));
  ASSERT_TRUE(monitor.wait_for(1, is_beat));
  monitor.answer_with(503);
  EXPECT_TRUE(eventually([&] { return monitor.refused() >= 3; }));
  monitor.answer_with(200);
  EXPECT_EQ(runner.wait(), 3);
  const auto exits = monitor.messages(is_exit);
  ASSERT_EQ(exits.size(), 1U);
  EXPECT_EQ(exits[0].at("exit").at("code").as_int64(), 3);
}

TEST(RunnerOverHttp, NoServerChangesNothingForTheProgram) {
  TestProcess runner({"--url", "http://127.0.0.1:1", "--restart", "no", "--", "/bin/sh", "-c", "echo well; exit 4"});
  EXPECT_EQ(runner.wait(), 4);
  EXPECT_EQ(runner.out(), "well\n");
  EXPECT_EQ(runner.err(), "");
}

}  // namespace
}  // namespace defib::run
