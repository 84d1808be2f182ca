// SPDX-License-Identifier: MIT
#include "engine/queue_choice.h"

#include <fmt/format.h>

namespace allot {

const ClusterQueue* queue_of(const RequestedResources& resources,
                             const std::vector<std::unique_ptr<ClusterQueue>>& queues) {
  if (resources.queue.empty()) return queues.empty() ? nullptr : queues.front().get();
  for (const auto& queue : queues) {
    if (queue->queue_name() == resources.queue) return queue.get();
  }
  return nullptr;
}

std::optional<std::string> unfit_reason_of(const RequestedResources& resources,
                                           const std::vector<std::unique_ptr<ClusterQueue>>& queues,
                                           const std::string& cluster_name) {
  if (queues.empty()) return std::nullopt;
  const ClusterQueue* queue = queue_of(resources, queues);
  if (queue == nullptr) {
    std::string names;
    for (const auto& known : queues) names += (names.empty() ? "" : ", ") + known->queue_name();
    return fmt::format("cluster {} has no queue \"{}\"; it has {}", cluster_name, resources.queue, names);
  }
  const auto validation = queue->validate_resources(resources, true);
  if (validation.valid) return std::nullopt;
  return fmt::format("queue {} of cluster {}: {}", queue->queue_name(), cluster_name, validation.message);
}

}  // namespace allot
