// SPDX-License-Identifier: MIT
#include "worker_node/local_settings.h"

#include <unistd.h>

#include <algorithm>

#include "process/machine.h"
#include "protocol/limits_queue.h"
#include "worker_node/shared_queue.h"

namespace allot {

std::vector<ParameterSpec> local_parameter_specs() {
  return {
      {"kill_grace", ParameterType::duration, "From TERM to KILL when a task is ended. Default 5s.", 0, 3'600'000, {}},
      {"sample_interval",
       ParameterType::duration,
       "First sample of what a task's tree uses; later ones are rarer. Default 1s.",
       10,
       3'600'000,
       {}},
      {"commit_interval",
       ParameterType::duration,
       "While every slot is busy, results are gathered so long for one sync to disk. Default 20ms.",
       0,
       10'000,
       {}},
      {"shell", ParameterType::text, "Absolute path of the shell for shell lines. Default /bin/sh.", {}, {}, {}},
      {"cgroup",
       ParameterType::text,
       "A control group for each slot: auto (where one can be made) or never. Default auto.",
       {},
       {},
       {"auto", "never"}},
  };
}

std::vector<ParameterSpec> pool_parameter_specs() {
  auto specs = local_parameter_specs();
  const ParameterSpec more[] = {
      {"slots", ParameterType::integer, "Tasks at once. Default: the cores that this process may use.", 1, 4096, {}},
      {"memory",
       ParameterType::size,
       "Memory that tasks are packed against. Default: what this process may use.",
       1,
       {},
       {}},
      {"pin",
       ParameterType::text,
       "Bind each slot to a core while one batch runs. Default auto: when there are as many slots as usable cores.",
       {},
       {},
       {"auto", "always", "never"}},
      {"slots_per_worker", ParameterType::integer, "Slots that share one worker node. Default 8.", 1, kMaxSlots, {}},
      {"worker_grace",
       ParameterType::duration,
       "How long worker nodes wait for a new driver when theirs is gone and nothing runs. Default 10s.",
       0,
       86'400'000,
       {}},
      {"heartbeat_interval",
       ParameterType::duration,
       "Interval of the worker nodes' heartbeats. Default 5s.",
       10,
       3'600'000,
       {}},
      {"start_timeout",
       ParameterType::duration,
       "Longest wait for a worker node to be ready. Default 10s.",
       10,
       3'600'000,
       {}},
  };
  specs.insert(specs.end(), std::begin(more), std::end(more));
  return specs;
}

Result<LocalSettings> local_settings(const ClusterConfig& config) {
  LocalSettings settings;
  const auto duration = [&config](const char* key, std::chrono::milliseconds fallback) {
    return std::chrono::milliseconds(config.get<std::int64_t>(key, fallback.count()));
  };
  settings.cores = usable_cores();
  settings.slots =
      static_cast<std::uint32_t>(config.get<std::int64_t>("slots", static_cast<std::int64_t>(settings.cores.size())));
  settings.memory_bytes =
      static_cast<std::uint64_t>(config.get<std::int64_t>("memory", static_cast<std::int64_t>(usable_memory_bytes())));
  settings.slots_per_worker = static_cast<std::uint32_t>(config.get<std::int64_t>("slots_per_worker", 8));
  settings.kill_grace = duration("kill_grace", settings.kill_grace);
  settings.worker_grace = duration("worker_grace", settings.worker_grace);
  settings.heartbeat_interval = duration("heartbeat_interval", settings.heartbeat_interval);
  settings.start_timeout = duration("start_timeout", settings.start_timeout);
  settings.sample_interval = duration("sample_interval", settings.sample_interval);
  settings.commit_interval = duration("commit_interval", settings.commit_interval);
  settings.shell = config.get<std::string>("shell", settings.shell);
  settings.control_groups = config.get<std::string>("cgroup", "auto") != "never";
  const std::string pin = config.get<std::string>("pin", "auto");
  const auto cores = settings.cores.size();
  settings.pinned = pin == "always" || (pin == "auto" && settings.slots == cores && cores > 1);
  const auto wrong = [&config](const std::string& what) {
    return fail(ErrorCode::fix_request,
                (config.source.empty() ? "cluster " + config.name : config.source) + ": " + what);
  };
  if (settings.slots < 1 || settings.slots > 4096) return wrong("slots must be 1 to 4096");
  if (settings.slots_per_worker < 1 || settings.slots_per_worker > kMaxSlots) {
    return wrong("slots_per_worker must be 1 to " + std::to_string(kMaxSlots));
  }
  if (settings.memory_bytes == 0) return wrong("memory must be at least 1 byte");
  if (settings.shell.empty() || settings.shell[0] != '/' || ::access(settings.shell.c_str(), X_OK) != 0) {
    return wrong("parameters.shell: \"" + settings.shell +
                 "\" is not the absolute path of a program that can be executed");
  }
  return settings;
}

std::vector<std::unique_ptr<ClusterQueue>> local_queues(const ClusterConfig& config, const LocalSettings& settings) {
  std::vector<QueueConfig> configs = config.queues;
  if (configs.empty()) {
    configs.emplace_back();
    configs.back().name = config.default_queue.empty() ? "default" : config.default_queue;
  }
  std::stable_partition(configs.begin(), configs.end(),
                        [&config](const QueueConfig& queue) { return queue.name == config.default_queue; });
  std::vector<std::unique_ptr<ClusterQueue>> queues;
  for (QueueConfig& queue : configs) {
    const auto cap = [&queue](const char* name, std::uint64_t most) {
      auto [it, added] = queue.limits.emplace(name, ResourceLimit{1, most});
      if (!added) it->second.maximum = std::max(it->second.minimum, std::min(it->second.maximum, most));
    };
    cap("cores", settings.slots);
    cap("memory_bytes", settings.memory_bytes);
    // This machine's tasks are single processes: what it cannot give must not be promised.
    for (const char* name : {"gpus", "ranks", "nodes"}) {
      queue.limits.insert_or_assign(name, ResourceLimit{0, std::string(name) == "gpus" ? 0u : 1u});
    }
    queues.push_back(std::make_unique<LimitsQueue>(queue));
  }
  return queues;
}

}  // namespace allot
