// SPDX-License-Identifier: MIT
// What an attempt used. Unknown is nothing, never 0; every figure names its source.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace allot {

/// Who has measured. The sources named below are the worker node's.
enum class UsageSource : std::uint8_t {
  worker_node,
  accounting,  ///< the scheduler's own, of a run that left no end: its job, from its start to its end, sampled
};

struct UsageStats {
  std::optional<double> wall_seconds;    ///< monotonic clock of the guard: spawn to reap
  std::optional<double> user_seconds;    ///< wait4(2): the command and the children it waited for, plus reaped orphans
  std::optional<double> system_seconds;  ///< as user_seconds
  std::optional<std::uint64_t> max_rss_bytes;  ///< wait4(2): largest resident set of any one process of the tree
  std::optional<std::uint64_t>
      tree_peak_bytes;  ///< /proc sampling: largest sum of resident sets seen; only for tasks that lived to be sampled
  std::optional<std::uint64_t> read_bytes;            ///< wait4(2) ru_inblock × 512: read from storage
  std::optional<std::uint64_t> write_bytes;           ///< wait4(2) ru_oublock × 512: written to storage
  std::optional<std::uint64_t> minor_faults;          ///< wait4(2)
  std::optional<std::uint64_t> major_faults;          ///< wait4(2)
  std::optional<std::uint64_t> voluntary_switches;    ///< wait4(2)
  std::optional<std::uint64_t> involuntary_switches;  ///< wait4(2)
  std::optional<std::uint32_t> cores;                 ///< cores that the task was given
  std::optional<std::uint64_t> energy_joules;         ///< the accounting, where the site measures it
  std::optional<UsageSource> source;                  ///< nothing: the worker node
  std::string node;                                   ///< name of the node it ran on; empty: never ran

  friend bool operator==(const UsageStats&, const UsageStats&) = default;
};

}  // namespace allot
