// SPDX-License-Identifier: MIT
// The worker nodes of one batch, and what waits for them. Internal to the multiprocess distributor.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "process/spawn.h"
#include "worker_node/channel.h"
#include "worker_node/pending_tasks.h"
#include "worker_node/run_book.h"

namespace allot {

/// One worker node, ours or adopted.
struct WorkerLink {
  std::uint32_t batch = 0;
  std::int64_t pid = 0;
  std::uint64_t start_ticks = 0;
  bool child = false;    // ours to reap
  bool welcome = false;  // has answered the greeting
  bool leaving = false;
  bool dead = false;
  bool is_recalled = false;  // what waits there is on its way back
  std::chrono::steady_clock::time_point started{};
  std::uint32_t slot_count = 0;
  std::uint32_t first_slot = 0;  // of the cluster's slots: which cores are its
  std::uint32_t limit = 0;       // last told
  std::shared_ptr<Channel> channel;
  std::string socket_path;  // removed with it, should it be killed
  std::vector<wire::SlotState> slots;
  std::unordered_set<std::uint32_t> told;    // entries whose submission it knows
  std::unordered_set<std::uint64_t> handed;  // entry << 32 | step
  std::uint64_t cores_handed = 0;            // of those
  std::vector<RunKey> adopted;               // what it ran when it answered the greeting
  std::int64_t silent_beats = 0;             // of the driver's timer since its last message
  bool is_short = false;                     // of what passes: room, descriptors, processes
  bool is_reaped = false;                    // its process has ended
  std::string trouble;                       // last notice that still holds
  std::string trouble_told;                  // of what keeps it from being buried
  std::uint32_t broken_slots = 0;            // given up by the worker node
};

struct Pool {
  std::uint32_t batch = 0;
  std::uint64_t epoch = 0;
  std::vector<std::shared_ptr<WorkerLink>> workers;
  PendingTasks pending;
  std::uint64_t unfinished = 0;
  std::uint32_t deaths_in_a_row = 0;  // of its worker nodes, without a task ended between
  bool is_lost = false;               // its directory was removed
  std::uint64_t last_served = 0;      // when it last got a slot, as a number that grows
  std::int32_t lowest_ahead = std::numeric_limits<std::int32_t>::max();  // priority of what may wait at worker nodes
  double ends_per_second = 0;                                            // smoothed
  std::chrono::steady_clock::time_point last_end{};

  std::uint64_t handed() const {
    std::uint64_t sum = 0;
    for (const auto& worker : workers) sum += worker->handed.size();
    return sum;
  }
  std::uint64_t cores_handed() const {
    std::uint64_t sum = 0;
    for (const auto& worker : workers) sum += worker->cores_handed;
    return sum;
  }
  void note_ends(std::uint64_t count) { unfinished -= std::min(unfinished, count); }
};

inline std::uint64_t task_key(RunBook::Found task) {
  return (std::uint64_t{task.entry} << 32) | task.step;
}
inline RunBook::Found task_of_key(std::uint64_t key) {
  return {static_cast<std::uint32_t>(key >> 32), key & 0xffffffffu};
}

}  // namespace allot
