// SPDX-License-Identifier: MIT
// The kernel's own word on memory: how often it has killed for it in this process's control group, and peaks.
#pragma once

#include <csignal>
#include <cstdint>
#include <functional>
#include <utility>

#include "process/fd.h"
#include "protocol/exit_info.h"

namespace allot {

/// Counts out-of-memory kills in the memory cgroup that this process is in when it is made (v2: memory.events, v1:
/// memory.oom_control). 0 where the kernel does not tell: then only allot's own measuring names an out_of_memory.
class MemoryKillCount {
 public:
  MemoryKillCount();
  std::uint64_t operator()() const;

 private:
  Fd file_;  // kept: it is read for every task
};

/// Largest resident set that this process's memory has had since its exec (VmHWM). 0 where the kernel does not tell.
std::uint64_t own_peak_bytes();

/// Whether a task that died of SIGKILL was killed by the kernel for memory. Not thread-safe.
class KillWitness {
 public:
  explicit KillWitness(std::function<std::uint64_t()> count) : count_(std::move(count)) {}

  /// Before a task starts: what has been killed so far is not that one.
  void before_start() { seen_ = count_(); }
  bool has_killed() const { return count_() > seen_; }
  bool after_end(const ExitInfo& end) const { return end.signal && *end.signal == SIGKILL && count_() > seen_; }

 private:
  std::function<std::uint64_t()> count_;
  std::uint64_t seen_ = 0;
};

}  // namespace allot
