// SPDX-License-Identifier: MIT
// What this process may use of the machine: affinity and cgroup limits count, not what is built in.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace allot {

/// Numbers of the logical cores in the affinity mask, cut to the cgroup's CPU quota (rounded up, at least one).
std::vector<int> usable_cores();

/// Smaller of physical memory and the cgroup's limit, bytes.
std::uint64_t usable_memory_bytes();

/// The node-local directory for sockets and locks of this user: $XDG_RUNTIME_DIR/allot if that is short enough for the
/// path of a socket, else /tmp/allot-UID. Made with mode 0700; empty if it cannot be made or belongs to someone else.
std::string runtime_directory();

}  // namespace allot
