// SPDX-License-Identifier: MIT
// A partition as a queue: what its nodes have, what the cluster's file leaves of that, and what the account and the QOS
// that a request is for let one job have. So a request is told what is wrong with it before the controller refuses it,
// or lets it wait for ever.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "distributors/slurm/slurm_settings.h"
#include "distributors/slurm/slurm_types.h"
#include "protocol/limits_queue.h"

namespace allot::slurm {

/// Of a job in `partition` for that account and QOS (empty: the user's default). As slurmctld has it: of the
/// partition's QOS, the job's QOS and the association, the first that sets a limit decides; what a group of jobs may
/// have together bounds each of them, whoever sets it. Limits of parent accounts are not known here.
struct PolicyLimits {
  JobLimits limits;
  std::string names;  ///< such as "QOS \"short\", account \"physics\""; empty: no policy is known
};
PolicyLimits policy_limits(const Policies& policies, const std::string& account, const std::string& qos,
                           const Partition& partition);

class SlurmQueue final : public ClusterQueue {
 public:
  /// `config`: the queue with the limits of the partition and of the cluster's file. `policies` may be null.
  SlurmQueue(QueueConfig config, Partition partition, std::shared_ptr<const Policies> policies, std::string account,
             std::string qos);

  int queue_id() const override { return usual_.queue_id(); }
  const std::string& queue_name() const override { return usual_.queue_name(); }
  const QueueParameters& parameters() const override { return usual_.parameters(); }
  std::vector<std::string> required_resources() const override { return usual_.required_resources(); }
  ResourceValidation validate_resources(const RequestedResources& resources, bool strict) const override;
  RequestedResources coerce_resources(const RequestedResources& resources) const override;

  /// What a job of these resources may have.
  PolicyLimits policy_of(const RequestedResources& resources) const;

 private:
  bool is_usual(const RequestedResources& resources) const;
  LimitsQueue queue_for(const PolicyLimits& policy) const;

  const QueueConfig config_;
  const Partition partition_;
  const std::shared_ptr<const Policies> policies_;
  const std::string account_, qos_;
  const LimitsQueue open_;   // whatever the policies say
  const LimitsQueue usual_;  // for who names neither account nor QOS
};

/// The queues: one for each partition, or those of the cluster's file, whose limits then lie within their partition's.
/// The default partition, or the file's default queue, comes first. Errors: fix_request naming a queue of the file that
/// is no partition.
Result<std::vector<std::unique_ptr<ClusterQueue>>> slurm_queues(const ClusterConfig& config,
                                                                const SlurmSettings& settings,
                                                                const std::vector<Partition>& partitions,
                                                                std::shared_ptr<const Policies> policies);

}  // namespace allot::slurm
