// SPDX-License-Identifier: MIT
// The ClusterWorkerNode of every distributor whose tasks run under allot's own worker node.
#pragma once

#include "protocol/cluster_worker_node.h"

namespace allot {

class EnvironmentNode final : public ClusterWorkerNode {
 public:
  std::optional<std::string> distributor_id() const override;
  std::optional<std::uint64_t> array_step_id() const override;
  Result<UsageStats> get_usage_stats() const override;
  ExitInfo get_exit_info(int wait_status, const std::string& error_text) const override;
  Result<std::string> initialize_logfile(LogType log_type, const std::string& log_dir,
                                         const std::string& name) override;
};

}  // namespace allot
