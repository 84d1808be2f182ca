// SPDX-License-Identifier: MIT
// The worker nodes of one batch, and what waits for them. Internal to the multiprocess distributor.
#pragma once

#include <chrono>
#include <deque>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "process/spawn.h"
#include "worker_node/channel.h"
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
  std::uint32_t slot_count = 0;
  std::uint32_t first_slot = 0;  // of the cluster's slots: which cores are its
  std::uint32_t limit = 0;       // last told
  std::shared_ptr<Channel> channel;
  std::string socket_path;  // removed with it, should it be killed
  std::vector<wire::SlotState> slots;
  std::unordered_set<std::uint32_t> told;    // entries whose submission it knows
  std::unordered_set<std::uint64_t> handed;  // entry << 32 | step
  std::vector<RunKey> adopted;               // what it ran when it answered the greeting
  std::int64_t silent_beats = 0;             // of the driver's timer since its last message
  bool is_reaped = false;                    // its process has ended
  std::string trouble;                       // last notice that still holds
  std::string trouble_told;                  // of what keeps it from being buried
  std::uint32_t broken_slots = 0;            // given up by the worker node
};

struct PendingRange {
  std::uint32_t entry = 0;
  std::uint64_t first = 0;
  std::uint64_t count = 0;
};

struct Pool {
  std::uint32_t batch = 0;
  std::uint64_t epoch = 0;
  std::vector<std::shared_ptr<WorkerLink>> workers;
  std::deque<PendingRange> pending;
  std::uint64_t unfinished = 0;
  double ends_per_second = 0;  // smoothed
  std::chrono::steady_clock::time_point last_end{};

  std::uint64_t handed() const {
    std::uint64_t sum = 0;
    for (const auto& worker : workers) sum += worker->handed.size();
    return sum;
  }
};

inline std::uint64_t task_key(RunBook::Found task) {
  return (std::uint64_t{task.entry} << 32) | task.step;
}
inline RunBook::Found task_of_key(std::uint64_t key) {
  return {static_cast<std::uint32_t>(key >> 32), key & 0xffffffffu};
}

}  // namespace allot
