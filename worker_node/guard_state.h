// SPDX-License-Identifier: MIT
// What the guard keeps while it starts and watches one run. Included by the guard's sources only.
#pragma once

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <ctime>
#include <optional>
#include <string>
#include <vector>

#include "ledger/record.h"
#include "worker_node/guard.h"

namespace allot {

inline constexpr std::int64_t kNever = INT64_MAX;  // of deadlines

inline std::int64_t clock_ns(clockid_t clock) {
  timespec t;
  ::clock_gettime(clock, &t);
  return static_cast<std::int64_t>(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
}
inline std::int64_t monotonic_ns() {
  return clock_ns(CLOCK_MONOTONIC);
}

/// So long after `now`; never, where that is beyond what 64 bits of nanoseconds can tell (292 years).
inline std::int64_t after(std::int64_t now, std::int64_t milliseconds) {
  std::int64_t moment;
  const std::int64_t length = std::max<std::int64_t>(0, milliseconds);
  const bool is_beyond =
      __builtin_mul_overflow(length, std::int64_t{1'000'000}, &moment) || __builtin_add_overflow(moment, now, &moment);
  return is_beyond ? kNever : moment;
}

/// Takes what an eventfd counts.
inline void clear_event(int fd) {
  std::uint64_t count;
  while (::read(fd, &count, sizeof count) < 0 && errno == EINTR) {
  }
}

/// A command made ready for execve.
struct Guard::Launch {
  std::string path;  // program
  char* const* argv = nullptr;
  char* const* envp = nullptr;
  std::string cwd;
  const std::string* line = nullptr;  // the shell line, where the command is one
  const std::string* success_codes = nullptr;
  Fd input;                       // empty: /dev/null
  Fd external_out, external_err;  // files of the user's; empty: captured
  std::string stderr_path;
  std::vector<std::string> shell_words;
  std::string fifos;  // redirections for a shell, of the streams that are FIFOs

  /// Runs the line by the shell instead. `argv` is the storage to build the vector in.
  void use_shell(const std::string& shell, const std::string& shell_line, std::vector<char*>& storage);
  /// Opening a FIFO waits for whoever opens its other end, which the task is to do, within its limits, and not the
  /// guard. Notes it and returns true if `fifo` is one.
  bool wait_for_fifo(const char* redirection, const std::string& fifo);
  /// Puts a shell in front that opens them and becomes the command. `storage` holds the command so far.
  void open_fifos_first(const std::string& shell, std::vector<char*>& storage);
  /// True for a shell line that runs without a shell.
  bool is_direct_line() const { return line != nullptr && shell_words.empty(); }
  std::string describe_failure(const SpawnResult& result) const;
  void close_external() {
    input.reset();
    external_out.reset();
    external_err.reset();
  }
};

/// What the worker node has asked for: to end the run in progress.
struct Guard::StopOrder {
  ExitClass reason = ExitClass::killed;
  std::string text;
  std::int64_t grace_milliseconds = 0;
};

/// The run in progress.
struct Guard::Running {
  QueueEntry* entry = nullptr;
  std::uint32_t index = 0;  // of the entry in the queue
  FinishedRecord record;
  pid_t pid = 0;
  int pidfd = -1;
  bool watch_out = false, watch_err = false;
  std::int64_t started_mono = 0;
  std::int64_t runtime_deadline = INT64_MAX;  // all deadlines: nanoseconds of CLOCK_MONOTONIC
  std::int64_t kill_deadline = INT64_MAX;
  std::int64_t next_sample = INT64_MAX;
  std::int64_t sample_interval = 0;
  std::uint64_t exact_peak = 0;          // largest sum of proportional set sizes seen; 0: was not asked for
  std::optional<ExitClass> stop_reason;  // why the guard ends it
  std::string stop_text;
  rusage usage{};
  std::uint32_t orphans = 0;  // reaped besides the command itself
  std::string unkillable;
};

/// Last `max_bytes` of a regular file; empty if there is none.
std::string tail_of_file(const std::string& path, std::size_t max_bytes);
/// The same, and the file is removed.
std::string take_file(const std::string& path, std::size_t max_bytes);

}  // namespace allot
