// SPDX-License-Identifier: MIT
// Clusters as files: where they are looked for, and how NAME.toml becomes a ClusterConfig. docs/clusters.md tells
// users. It knows no plugin: what a plugin's parameters are comes in as their specs.
#pragma once

#include <string>
#include <vector>

#include "engine/retry_policy.h"
#include "protocol/cluster_config.h"
#include "protocol/result.h"

namespace allot {

struct ClusterFile {
  std::string name;  ///< file name without ".toml"
  std::string path;
};

/// Where cluster files are looked for, first match wins: each of $ALLOT_CLUSTER_PATH (colon-separated), then
/// $XDG_CONFIG_HOME/allot/clusters (~/.config where it is unset or relative), then `built_in` (empty: none).
std::vector<std::string> cluster_config_directories(const std::string& built_in);

/// Every NAME.toml in `directories`, those of the first directory first, by name within one; a name that an earlier
/// directory has is left out. Directories that are missing or cannot be read are passed over.
std::vector<ClusterFile> find_cluster_configs(const std::vector<std::string>& directories);

/// One cluster by name, or by path if `name_or_path` has a '/'. Errors: fix_request with the directories searched and
/// the clusters that are there, the most similar name first.
Result<ClusterFile> find_cluster_config(const std::vector<std::string>& directories, const std::string& name_or_path);

/// First stage: which plugin the file names, so that its specs can be had. Errors as for read_cluster_config, but only
/// for TOML itself and the key `plugin`.
Result<std::string> read_plugin_name(const std::string& path);

/// Second stage: the whole file, checked against the plugin's specs. `queues` has the default queue first; queue ids
/// number the queues in the order of the file, from 0. A file without queues leaves them to the plugin, and then
/// `default_queue` is whatever it says, or empty.
/// Errors: fix_request with one line "FILE:LINE: KEY: what is wrong; what to do" for every fault found (unknown keys,
/// wrong types, units or ranges, queues that contradict themselves), or "FILE:LINE:COLUMN: …" for a TOML syntax error;
/// as read_file for a file that cannot be read.
/// `policy`: takes what the file says of retries, which is the engine's and no plugin's ([retry], [exit_codes],
/// fallback_queues, max_running).
Result<ClusterConfig> read_cluster_config(const std::string& path, const std::vector<ParameterSpec>& plugin_specs,
                                          RetryPolicy* policy = nullptr);

}  // namespace allot
