// SPDX-License-Identifier: MIT
// The tree of processes below a guard: seen, measured, ended. Relies on the guard being a subreaper without other
// children.
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace allot {

/// Sends `signal` to every process below `root`, in one walk. Returns how many were there.
std::size_t signal_tree(pid_t root, int signal);

/// Sum of the resident sets below `root`, bytes. `exact`: proportional set sizes instead (shared pages counted once),
/// which costs some 13 µs per MiB.
std::uint64_t tree_memory_bytes(pid_t root, bool exact);

/// Adds times and counts, takes the larger maximum RSS.
void add_usage(rusage& sum, const rusage& more);

/// Reaps what has ended of the caller's children, except `main` (0: none). Adds what they used to `usage`.
/// Returns false when the caller has no child left at all (`main` counts as one).
bool reap_orphans(pid_t main, rusage& usage, std::uint32_t& reaped);

/// "4711 (sleep, state D)" for each process below `root`, at most `limit`.
std::string describe_tree(pid_t root, std::size_t limit);

}  // namespace allot
