// SPDX-License-Identifier: MIT
#include "process/wait_status.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/catch.h"

using namespace allot;

namespace {

int status_of(int code, int signal) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    if (signal != 0) {
      ::signal(signal, SIG_DFL);
      ::raise(signal);
    }
    ::_exit(code);
  }
  int status = -1;
  ::waitpid(pid, &status, 0);
  return status;
}

}  // namespace

TEST_CASE("real ends are told as they were") {
  const ExitInfo done = decode_wait_status(status_of(0, 0));
  CHECK(done.exit_class == ExitClass::done);
  CHECK(done.exit_code == 0);
  CHECK_FALSE(done.signal.has_value());
  for (int code : {1, 3, 127, 137, 255}) {
    const ExitInfo info = decode_wait_status(status_of(code, 0));
    CHECK(info.exit_class == ExitClass::error);
    CHECK(info.exit_code == code);
    CHECK_FALSE(info.signal.has_value());
  }
  for (int signal : {SIGKILL, SIGTERM, SIGINT, SIGUSR1}) {
    const ExitInfo info = decode_wait_status(status_of(0, signal));
    CHECK(info.exit_class == ExitClass::signaled);
    CHECK(info.signal == signal);
    CHECK_FALSE(info.exit_code.has_value());
  }
}

TEST_CASE("a stop is no end, and never done") {
  const ExitInfo info = decode_wait_status(0x137f);  // stopped by signal 19
  CHECK(info.exit_class == ExitClass::lost);
  CHECK_FALSE(info.text.empty());
}

TEST_CASE("signals have names") {
  CHECK(signal_name(SIGKILL) == "SIGKILL");
  CHECK(signal_name(SIGSEGV) == "SIGSEGV");
  CHECK(signal_name(77) == "signal 77");
}

TEST_CASE("usage comes in seconds and bytes, and what wait4 does not tell stays unknown") {
  rusage usage{};
  usage.ru_utime = {1, 500'000};
  usage.ru_stime = {0, 250'000};
  usage.ru_maxrss = 2048;
  usage.ru_inblock = 3;
  const UsageStats stats = decode_rusage(usage);
  CHECK(stats.user_seconds == 1.5);
  CHECK(stats.system_seconds == 0.25);
  CHECK(stats.max_rss_bytes == 2048u * 1024);
  CHECK(stats.read_bytes == 1536u);
  CHECK_FALSE(stats.wall_seconds.has_value());
  CHECK_FALSE(stats.tree_peak_bytes.has_value());
}
