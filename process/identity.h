// SPDX-License-Identifier: MIT
// Who a process is, so that a reused pid is not taken for it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/result.h"

namespace allot {

struct ProcessIdentity {
  pid_t pid = 0;
  std::uint64_t start_ticks = 0;  ///< field 22 of /proc/PID/stat
  friend bool operator==(const ProcessIdentity&, const ProcessIdentity&) = default;
};

/// Of this boot of this kernel; empty if /proc does not tell.
const std::string& boot_id();
/// gethostname(2), cached at the first call.
const std::string& host_name();

/// Nothing if there is no such process (or it is a zombie: that one has ended).
std::optional<std::uint64_t> process_start_ticks(pid_t pid);
ProcessIdentity own_identity();
/// True while the very process lives (same pid and start time).
bool is_alive(const ProcessIdentity& identity);

/// Every process below `root` (children of children, root excluded), in no order, but for those in `except` and what is
/// below them. Reads /proc once: what a spared process starts meanwhile is below it and so spared as well.
std::vector<pid_t> descendants_of(pid_t root, const std::vector<pid_t>& except = {});

/// The process that started `pid`, the one that started that, and so on.
std::vector<pid_t> ancestors_of(pid_t pid);

/// Processes of this user whose environment holds the exact entry `NAME=VALUE`: finds what left a tree behind.
std::vector<pid_t> processes_with_environment(const std::string& entry);

struct EnvironmentScan {
  std::vector<pid_t> found;
  /// Another user's programs, and what stays in execve(2): whether they are wanted cannot be said.
  std::vector<pid_t> unreadable;
};
/// Processes with the variable `name` (one that vfork(2) has just made still has its parent's environment), for whose
/// value `wanted` holds. Reads each environment once, however many values are wanted.
EnvironmentScan scan_environments(const std::string& name, const std::function<bool(std::string_view)>& wanted);

}  // namespace allot
