// SPDX-License-Identifier: MIT
// The kernel's own word on memory: how often it has killed for it in this process's control group, and peaks.
#pragma once

#include <cstdint>

#include "protocol/exit_info.h"

namespace allot {

/// Count of out-of-memory kills in the memory cgroup of this process (v2: memory.events, v1: memory.oom_control).
/// 0 where the kernel does not tell: then only allot's own measuring names an out_of_memory.
std::uint64_t kernel_memory_kills();

/// Largest resident set that this process's memory has had since its exec (VmHWM). 0 where the kernel does not tell.
std::uint64_t own_peak_bytes();

/// Whether a task that died of SIGKILL was killed by the kernel for memory. Not thread-safe.
class KillWitness {
 public:
  explicit KillWitness(std::uint64_t (*count)() = kernel_memory_kills) : count_(count) {}

  /// What has been killed so far is of no task to come.
  void look() { seen_ = count_(); }
  /// To be told of every end. The count is read at those that are not done: of a task that failed otherwise, a child
  /// may have been killed, and the next task's SIGKILL must not be put down to that.
  bool after_end(const ExitInfo& end);

 private:
  std::uint64_t (*count_)();
  std::uint64_t seen_ = 0;
};

}  // namespace allot
