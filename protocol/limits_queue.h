// SPDX-License-Identifier: MIT
// A ClusterQueue that is fully described by limits: what every plugin here uses. It judges amounts only: which queue a
// request names, and texts such as the account, are the caller's concern and pass through it unchanged. Limits and
// required names other than those listed at QueueParameters are ignored (the reader of cluster files refuses them).
#pragma once

#include "protocol/cluster_config.h"
#include "protocol/cluster_queue.h"

namespace allot {

class LimitsQueue final : public ClusterQueue {
 public:
  explicit LimitsQueue(QueueConfig config) : config_(std::move(config)) {}

  int queue_id() const override { return config_.queue_id; }
  const std::string& queue_name() const override { return config_.name; }
  const QueueParameters& parameters() const override { return config_.limits; }
  std::vector<std::string> required_resources() const override { return config_.required; }
  ResourceValidation validate_resources(const RequestedResources& resources, bool strict) const override;
  RequestedResources coerce_resources(const RequestedResources& resources) const override;

 private:
  QueueConfig config_;
};

}  // namespace allot
