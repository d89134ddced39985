#include "run/signals.h"

#include <sys/signalfd.h>
#include <unistd.h>

#include "base/check.h"

namespace defib::run {
namespace {

bool is_ignored(int signal) {
  struct sigaction action {};
  return sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

}  // namespace

void Signals::take_over() {
  sigset_t taken;
  sigemptyset(&taken);
  for (const int signal : {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH, SIGTSTP, SIGCONT}) {
    if (!is_ignored(signal)) sigaddset(&taken, signal);
  }
  sigprocmask(SIG_BLOCK, &taken, &former_mask_);
  fd_.reset(signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK));
  DEFIB_CHECK(fd_.is_open());
  sigemptyset(&formerly_ignored_);
  for (const int signal : {SIGPIPE, SIGCHLD}) {
    if (is_ignored(signal)) sigaddset(&formerly_ignored_, signal);
  }
  signal(SIGPIPE, SIG_IGN);
  signal(SIGCHLD, SIG_DFL);
}

std::optional<SignalSeen> Signals::next() {
  signalfd_siginfo info{};
  if (read(fd_.get(), &info, sizeof info) != static_cast<ssize_t>(sizeof info)) return std::nullopt;
  return SignalSeen{static_cast<int>(info.ssi_signo), info.ssi_code == SI_KERNEL};
}

}  // namespace defib::run
