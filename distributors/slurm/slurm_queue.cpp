// SPDX-License-Identifier: MIT
#include "distributors/slurm/slurm_queue.h"

#include <algorithm>

namespace allot::slurm {
namespace {

void lower(QueueConfig& queue, const char* name, std::uint64_t least, std::uint64_t most) {
  auto [it, added] = queue.limits.emplace(name, ResourceLimit{least, std::max(least, most)});
  if (!added) it->second.maximum = std::max(it->second.minimum, std::min(it->second.maximum, most));
}

const Qos* qos_named(const Policies& policies, const std::string& name) {
  const auto found =
      std::find_if(policies.qos.begin(), policies.qos.end(), [&name](const Qos& qos) { return qos.name == name; });
  return found == policies.qos.end() ? nullptr : &*found;
}

// One for the partition itself goes before one for all.
const Association* association_of(const Policies& policies, const std::string& account, const std::string& partition) {
  const Association* best = nullptr;
  for (const Association& one : policies.associations) {
    const bool is_named = account.empty() ? one.is_default : one.account == account;
    if (!is_named || (!one.partition.empty() && one.partition != partition)) continue;
    if (best == nullptr || best->partition.empty()) best = &one;
  }
  return best;
}

template <class F>
void for_each_limit(F&& take) {
  take(&JobLimits::minutes);
  take(&JobLimits::jobs);
  take(&JobLimits::cores);
  take(&JobLimits::megabytes);
  take(&JobLimits::gpus);
  take(&JobLimits::nodes);
}

QueueConfig lowered(QueueConfig queue, const JobLimits& limits) {
  if (limits.minutes) lower(queue, "runtime_milliseconds", 1, std::uint64_t{*limits.minutes} * 60'000);
  if (limits.cores) lower(queue, "cores", 1, *limits.cores);
  if (limits.cores) lower(queue, "ranks", 1, *limits.cores);
  if (limits.gpus) lower(queue, "gpus", 0, *limits.gpus);
  if (limits.nodes) lower(queue, "nodes", 1, *limits.nodes);
  if (limits.megabytes) {
    lower(queue, "memory_bytes", 1, (*limits.megabytes - std::min(kElementMegabytes, *limits.megabytes)) * kMegabyte);
  }
  return queue;
}

PolicyLimits policy_in(const std::shared_ptr<const Policies>& policies, const std::string& account,
                       const std::string& qos, const Partition& partition) {
  return policies ? policy_limits(*policies, account, qos, partition) : PolicyLimits{};
}

}  // namespace

PolicyLimits policy_limits(const Policies& policies, const std::string& account, const std::string& qos,
                           const Partition& partition) {
  PolicyLimits known;
  const Association* association = association_of(policies, account, partition.name);
  const Qos* own = qos_named(policies, qos);
  if (qos.empty() && association != nullptr && association->default_qos != 0) {
    const auto found = std::find_if(policies.qos.begin(), policies.qos.end(), [association](const Qos& candidate) {
      return candidate.id == association->default_qos;
    });
    if (found != policies.qos.end()) own = &*found;
  }
  if (qos.empty() && own == nullptr) own = qos_named(policies, "normal");  // what slurmctld takes then
  const Qos* of_partition = partition.qos.empty() ? nullptr : qos_named(policies, partition.qos);
  std::vector<const Qos*> both = {of_partition, own};
  if (own != nullptr && own->is_over_partition) std::swap(both[0], both[1]);
  std::vector<std::pair<const JobLimits*, const JobLimits*>> levels;
  const auto add = [&](const JobLimits& limits, const JobLimits& group, const std::string& name) {
    levels.emplace_back(&limits, &group);
    known.names += (known.names.empty() ? "" : ", ") + name;
  };
  for (const Qos* one : both) {
    if (one != nullptr) add(one->limits, one->group, "QOS \"" + one->name + "\"");
  }
  if (association != nullptr) add(association->limits, association->group, "account \"" + association->account + "\"");
  for_each_limit([&](auto member) {
    auto& value = known.limits.*member;
    for (const auto& [limits, group] : levels) {
      if (!value) value = limits->*member;
    }
    for (const auto& [limits, group] : levels) {
      const auto& most = group->*member;
      if (most && (!value || *most < *value)) value = most;
    }
  });
  return known;
}

SlurmQueue::SlurmQueue(QueueConfig config, Partition partition, std::shared_ptr<const Policies> policies,
                       std::string account, std::string qos)
    : config_(std::move(config)),
      partition_(std::move(partition)),
      policies_(std::move(policies)),
      account_(std::move(account)),
      qos_(std::move(qos)),
      open_(config_),
      usual_(lowered(config_, policy_in(policies_, account_, qos_, partition_).limits)) {}

bool SlurmQueue::is_usual(const RequestedResources& resources) const {
  return !policies_ || (resources.account.empty() && resources.pass_through.count("qos") == 0);
}

PolicyLimits SlurmQueue::policy_of(const RequestedResources& resources) const {
  const auto qos = resources.pass_through.find("qos");
  return policy_in(policies_, resources.account.empty() ? account_ : resources.account,
                   qos == resources.pass_through.end() ? qos_ : qos->second, partition_);
}

LimitsQueue SlurmQueue::queue_for(const PolicyLimits& policy) const {
  return LimitsQueue(lowered(config_, policy.limits));
}

ResourceValidation SlurmQueue::validate_resources(const RequestedResources& resources, bool strict) const {
  if (is_usual(resources)) {
    ResourceValidation usual = usual_.validate_resources(resources, strict);
    if (usual.message.empty()) return usual;
  }
  const PolicyLimits policy = policy_of(resources);
  ResourceValidation answer = queue_for(policy).validate_resources(resources, strict);
  if (answer.message != open_.validate_resources(resources, strict).message) {
    answer.message += " That is what " + policy.names + " allow there.";
  }
  return answer;
}

RequestedResources SlurmQueue::coerce_resources(const RequestedResources& resources) const {
  return is_usual(resources) ? usual_.coerce_resources(resources)
                             : queue_for(policy_of(resources)).coerce_resources(resources);
}

Result<std::vector<std::unique_ptr<ClusterQueue>>> slurm_queues(const ClusterConfig& config,
                                                                const SlurmSettings& settings,
                                                                const std::vector<Partition>& partitions,
                                                                std::shared_ptr<const Policies> policies) {
  std::vector<QueueConfig> configs = config.queues;
  std::string first = config.default_queue;
  if (configs.empty()) {
    for (const Partition& partition : partitions) {
      configs.emplace_back();
      configs.back().queue_id = static_cast<int>(configs.size());
      configs.back().name = partition.name;
      if (partition.is_default && first.empty()) first = partition.name;
    }
  }
  const auto named = [&first](const auto& queue) { return queue.name == first; };
  if (!first.empty() && std::none_of(configs.begin(), configs.end(), named)) {
    return fail(ErrorCode::fix_request, (config.source.empty() ? "cluster " + config.name : config.source) +
                                            ": default_queue: \"" + first + "\" is no partition of this Slurm cluster");
  }
  std::vector<std::unique_ptr<ClusterQueue>> queues;
  std::stable_partition(configs.begin(), configs.end(), named);
  for (QueueConfig& queue : configs) {
    const auto found = std::find_if(partitions.begin(), partitions.end(),
                                    [&queue](const Partition& known) { return known.name == queue.name; });
    if (found == partitions.end()) {
      return fail(ErrorCode::fix_request, (config.source.empty() ? "cluster " + config.name : config.source) +
                                              ": queue \"" + queue.name + "\" is no partition of this Slurm cluster");
    }
    const auto cap = [&queue](const char* name, std::uint64_t least, std::uint64_t most) {
      lower(queue, name, least, most);
    };
    // A task runs on one node, unless it is a program of several nodes by itself.
    const std::uint64_t nodes = std::min<std::uint64_t>(found->nodes, found->max_nodes.value_or(found->nodes));
    cap("cores", 1, found->cores_of_a_node);
    const std::uint64_t own = std::min(kElementMegabytes, found->megabytes_of_a_node);
    cap("memory_bytes", 1, (found->megabytes_of_a_node - own) * kMegabyte);
    cap("gpus", 0, found->gpus_of_a_node);
    cap("nodes", 1, nodes);
    cap("ranks", 1, nodes * found->cores_of_a_node);
    if (found->max_minutes) cap("runtime_milliseconds", 1, std::uint64_t{*found->max_minutes} * 60'000);
    queues.push_back(std::make_unique<SlurmQueue>(queue, *found, policies, settings.account, settings.qos));
  }
  if (queues.empty()) return fail(ErrorCode::fix_request, "this Slurm cluster shows no partition to you");
  return queues;
}

}  // namespace allot::slurm
