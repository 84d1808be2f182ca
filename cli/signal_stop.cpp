// SPDX-License-Identifier: MIT
#include "cli/signal_stop.h"

#include <pthread.h>
#include <sys/signalfd.h>
#include <unistd.h>

namespace allot::cli {

SignalStop::SignalStop() {
  sigset_t wanted;
  ::sigemptyset(&wanted);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction action {};
    // While it is blocked an ignored signal would be kept for us.
    if (::sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN) continue;
    ::sigaddset(&wanted, signal);
  }
  ::pthread_sigmask(SIG_BLOCK, &wanted, &before_);
  fd_.reset(::signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK));
  // Without a descriptor to learn of them by, they do what they always do.
  if (!fd_) ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

SignalStop::~SignalStop() {
  take();
  ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

int SignalStop::take() {
  int taken = 0;
  signalfd_siginfo info;
  while (fd_ && ::read(fd_.get(), &info, sizeof info) == sizeof info) {
    if (first_signal_ == 0) first_signal_ = static_cast<int>(info.ssi_signo);
    ++taken;
  }
  return taken;
}

}  // namespace allot::cli
