// SPDX-License-Identifier: MIT
// Which queue a request goes to, and whether that takes it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "protocol/cluster_queue.h"
#include "protocol/resources.h"

namespace allot {

/// The queue that `resources` names, or the first one where it names none; null if there is no such queue.
const ClusterQueue* queue_of(const RequestedResources& resources,
                             const std::vector<std::unique_ptr<ClusterQueue>>& queues);

/// Why no queue takes the request as it is; nothing if one does, or if the cluster says nothing of its queues.
std::optional<std::string> unfit_reason_of(const RequestedResources& resources,
                                           const std::vector<std::unique_ptr<ClusterQueue>>& queues,
                                           const std::string& cluster_name);

}  // namespace allot
