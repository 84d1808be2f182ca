// SPDX-License-Identifier: MIT
// The kernel's own word on memory: how often it has killed for it in this process's control group.
#pragma once

#include <cstdint>

namespace allot {

/// Count of out-of-memory kills in the memory cgroup of this process (v2: memory.events, v1: memory.oom_control).
/// 0 where the kernel does not tell: then only allot's own measuring names an out_of_memory.
std::uint64_t kernel_memory_kills();

}  // namespace allot
