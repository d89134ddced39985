#include "net/proc.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/spawn.h"

namespace defib::net {
namespace {

using ::testing::HasSubstr;

TEST(Proc, TellsALivingProcessFromAZombieAndFromNone) {
  EXPECT_TRUE(is_running(::getpid()));
  EXPECT_FALSE(is_running(0));
  EXPECT_FALSE(is_running(-1));
  EXPECT_FALSE(is_running(std::int64_t{1} << 40));
  const auto child = spawn({.command = {"sleep", "60"}, .captures_output = false});
  ASSERT_TRUE(child.ok()) << child.error();
  const pid_t pid = child.value().pid;
  EXPECT_TRUE(is_running(pid));
  ::kill(pid, SIGKILL);
  // Waits for its end without reaping it: a zombie is left.
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT), 0);
  EXPECT_EQ(::kill(pid, 0), 0);
  EXPECT_FALSE(is_running(pid));
  EXPECT_THAT(describe_process(pid), HasSubstr("state Z (zombie)"));
  ::waitpid(pid, nullptr, 0);
  EXPECT_FALSE(is_running(pid));
  EXPECT_EQ(describe_process(pid), "");
  ::close(child.value().pidfd);
}

TEST(Proc, DescribesAProcessInOneLine) {
  const std::string line = describe_process(::getpid());
  EXPECT_THAT(line, HasSubstr("pid " + std::to_string(::getpid()) + ": state R (running), "));
  EXPECT_THAT(line, HasSubstr(" kB resident"));
  EXPECT_EQ(line.find('\n'), std::string::npos);
  EXPECT_NE(read_host_name(), "");
}

}  // namespace
}  // namespace defib::net
