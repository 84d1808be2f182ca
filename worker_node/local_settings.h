// SPDX-License-Identifier: MIT
// The settings of the distributors that run worker nodes on this machine.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "protocol/cluster_config.h"
#include "protocol/cluster_queue.h"
#include "protocol/result.h"

namespace allot {

/// Longer ones than a year are taken for a year: a clock must not overflow.
inline constexpr std::chrono::milliseconds kLongestGrace = std::chrono::hours(24 * 365);

struct LocalSettings {
  std::uint32_t slots = 1;
  std::uint64_t memory_bytes = 0;  ///< what tasks are packed against
  std::vector<int> cores;          ///< usable cores, as the kernel numbers them
  bool pinned = false;
  std::uint32_t slots_per_worker = 8;
  std::chrono::milliseconds kill_grace{5000};
  std::chrono::milliseconds worker_grace{10'000};
  std::chrono::milliseconds heartbeat_interval{5000};
  std::chrono::milliseconds start_timeout{10'000};
  std::chrono::milliseconds sample_interval{1000};
  std::chrono::milliseconds commit_interval{20};
  std::string shell = "/bin/sh";
  bool control_groups = true;  ///< a control group for each slot, where one can be made
};

/// Parameters of every local distributor, and those that only one with several slots has.
std::vector<ParameterSpec> local_parameter_specs();
std::vector<ParameterSpec> pool_parameter_specs();

/// Errors: fix_request for values that do not go together.
Result<LocalSettings> local_settings(const ClusterConfig& config);

/// The cluster's queues; limits that the file does not give are what the machine has. Default first.
std::vector<std::unique_ptr<ClusterQueue>> local_queues(const ClusterConfig& config, const LocalSettings& settings);

}  // namespace allot
