// SPDX-License-Identifier: MIT
// What a task asks of a cluster. Nothing means "not asked for", never 0.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace allot {

struct RequestedResources {
  std::optional<std::uint32_t> cores;                ///< logical cores, ≥ 1
  std::optional<std::uint64_t> memory_bytes;         ///< limit of the whole tree of processes, bytes, ≥ 1
  std::optional<std::int64_t> runtime_milliseconds;  ///< limit of the run's wall time, ≥ 1
  std::optional<std::uint32_t> gpus;
  std::optional<std::uint32_t> ranks;  ///< MPI ranks
  std::optional<std::uint32_t> nodes;
  std::string queue;                                ///< queue (partition) name; empty: the cluster's default
  std::string account;                              ///< account to charge; empty: the user's default
  std::string constraint;                           ///< node features asked for, in the scheduler's own words
  std::map<std::string, std::string> pass_through;  ///< options handed on to the scheduler unchanged

  friend bool operator==(const RequestedResources&, const RequestedResources&) = default;
  friend auto operator<=>(const RequestedResources&, const RequestedResources&) = default;
};

}  // namespace allot
