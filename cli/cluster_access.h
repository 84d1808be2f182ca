// SPDX-License-Identifier: MIT
// From a cluster's name to its distributor.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/verb.h"
#include "engine/retry_policy.h"
#include "protocol/cluster_config.h"
#include "protocol/plugin.h"

namespace allot::cli {

inline constexpr char kDefaultCluster[] = "multiprocess";

struct Cluster {
  ClusterConfig config;
  std::shared_ptr<Plugin> plugin;
  RetryPolicy retry;
};

/// A cluster's file says what runs as this user (a shell, a plugin), so nobody else may write it: the rule is that of
/// plugins. Errors: fix_request. A file that cannot be found is for its reader to complain about.
Result<void> check_cluster_file(const std::string& path);

/// Reads the cluster's file and loads its plugin. `slots` replaces the parameter of that name. Errors: fix_request (no
/// such cluster, faults in its file, no slots to set), not_available (its plugin cannot be used: the text says why).
Result<Cluster> open_cluster(Services& services, const std::string& name_or_path, std::optional<std::int64_t> slots);

/// A distributor that is not started, and the cluster's queues. Errors: not_available when the plugin's probe says so.
struct ClusterParts {
  std::unique_ptr<ClusterDistributor> distributor;
  std::vector<std::unique_ptr<ClusterQueue>> queues;
  RetryPolicy retry;
};
Result<ClusterParts> make_parts(const Cluster& cluster);

/// What to store so that resume finds the same cluster: its name, or its absolute path where a path was given.
std::string stored_name(const std::string& name_or_path);

}  // namespace allot::cli
