// SPDX-License-Identifier: MIT
// What waits in one batch of a distributor that queues.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <utility>

#include "worker_node/run_book.h"

namespace allot {

/// Tasks by priority, the highest first. Of equals those that came back from a worker node are first, in the order of
/// their submission; then those that were released, as push_front() says; then the rest in the order of push_back().
/// A task may be in it twice, or be over: that is for the caller to see. Not thread-safe.
class PendingTasks {
 public:
  void push_back(std::int32_t priority, std::uint32_t entry, StepRange steps) {
    levels_[priority].line.push_back({entry, steps});
  }
  void push_front(std::int32_t priority, RunBook::Found task) {
    auto& line = levels_[priority].line;
    if (!line.empty() && line.front().entry == task.entry && line.front().steps.first == task.step + 1) {
      --line.front().steps.first;
      ++line.front().steps.count;
    } else {
      line.push_front({task.entry, {task.step, 1}});
    }
  }
  /// What a worker node had and did not start. `submission` is its number in the batch.
  void put_back(std::int32_t priority, std::uint32_t submission, RunBook::Found task) {
    levels_[priority].returned.emplace(std::pair(submission, task.step), task.entry);
  }

  bool empty() const { return levels_.empty(); }
  void clear() { levels_.clear(); }
  /// Not of an empty one.
  RunBook::Found front() const {
    const Level& level = levels_.begin()->second;
    if (level.returned.empty()) return {level.line.front().entry, level.line.front().steps.first};
    const auto& [place, entry] = *level.returned.begin();
    return {entry, place.second};
  }
  std::int32_t priority() const { return levels_.begin()->first; }
  void pop_front() {
    Level& level = levels_.begin()->second;
    if (!level.returned.empty()) {
      level.returned.erase(level.returned.begin());
    } else if (Range& range = level.line.front(); range.steps.count > 1) {
      ++range.steps.first;
      --range.steps.count;
    } else {
      level.line.pop_front();
    }
    if (level.returned.empty() && level.line.empty()) levels_.erase(levels_.begin());
  }

 private:
  struct Range {
    std::uint32_t entry = 0;
    StepRange steps;
  };
  struct Level {
    std::map<std::pair<std::uint32_t, std::uint64_t>, std::uint32_t> returned;  // submission's number and step → entry
    std::deque<Range> line;
  };
  std::map<std::int32_t, Level, std::greater<>> levels_;  // none is empty
};

}  // namespace allot
