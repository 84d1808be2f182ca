// SPDX-License-Identifier: MIT
// One pass over what waits. Internal to the multiprocess distributor.
#pragma once

#include <algorithm>
#include <chrono>
#include <map>
#include <vector>

#include "distributors/multiprocess/multiprocess_distributor.h"
#include "distributors/multiprocess/pool.h"

namespace allot {

/// Slots are kept so long for a batch whose worker nodes are being started.
inline constexpr std::chrono::milliseconds kStartPatience{1000};

inline bool is_starting(const Pool& pool) {
  const auto now = std::chrono::steady_clock::now();
  return std::any_of(pool.workers.begin(), pool.workers.end(), [now](const auto& worker) {
    return !worker->welcome && !worker->dead && !worker->leaving && now - worker->started < kStartPatience;
  });
}

/// A batch with a task that may start.
struct MultiprocessDistributor::Line {
  Pool* pool = nullptr;
  RunBook::Found next;
  bool is_prepared = false;          // it has been seen to it that it has worker nodes
  std::uint64_t promises = 0;        // slots that are kept for it until its worker nodes are ready
  std::uint64_t promised_cores = 0;  // of those

  bool goes_before(const Line& other) const {
    const std::int32_t priority = pool->pending.priority();
    if (priority != other.pool->pending.priority()) return priority > other.pool->pending.priority();
    const std::uint64_t cores = pool->cores_handed() + promised_cores;
    const std::uint64_t other_cores = other.pool->cores_handed() + other.promised_cores;
    return cores != other_cores ? cores < other_cores : pool->last_served < other.pool->last_served;
  }
};

/// What a pass hands out, gathered for one message to each worker node and submission.
struct MultiprocessDistributor::Outgoing {
  struct Steps {
    std::uint32_t entry = 0;
    StepRanges steps;
  };
  std::map<WorkerLink*, std::vector<Steps>> batches;

  void add(WorkerLink* worker, RunBook::Found task) {
    auto& list = batches[worker];
    if (list.empty() || list.back().entry != task.entry || list.back().steps.back() >= task.step) {
      list.push_back({task.entry, {}});
    }
    list.back().steps.append(task.step);
  }
};

}  // namespace allot
