// SPDX-License-Identifier: MIT
// Tasks that may be submitted, those of higher priority first, equal ones as they came.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "protocol/step_ranges.h"

namespace allot {

/// Steps that may be submitted as one array.
struct ReadyWork {
  std::uint32_t group = 0;  ///< index into BatchPlan::groups
  std::uint16_t attempt = 1;
  StepRanges steps;
};

/// Not thread-safe.
class ReadyQueue {
 public:
  /// Puts work behind what is of the same priority.
  void push(std::int32_t priority, ReadyWork work);
  /// Puts it before that.
  void push_front(std::int32_t priority, ReadyWork work);
  /// One step: those that come one by one are gathered by group and attempt until next() is called.
  void push(std::int32_t priority, std::uint32_t group, std::uint16_t attempt, std::uint32_t step);

  /// Takes out the first work of which something may be submitted now: `room` says how many tasks of a group. What is
  /// more than that stays first.
  std::optional<ReadyWork> next(const std::function<std::uint64_t(std::uint32_t group)>& room);

  /// Leaves only the steps for which `is_ready` holds.
  void keep_if(const std::function<bool(std::uint64_t)>& is_ready);
  bool empty() const { return work_.empty() && fresh_.empty(); }

 private:
  struct FreshKey {
    std::int32_t priority = 0;
    std::uint32_t group = 0;
    std::uint16_t attempt = 0;
    auto operator<=>(const FreshKey&) const = default;
  };
  void gather();

  std::map<std::int32_t, std::deque<ReadyWork>, std::greater<>> work_;  // by priority; no queue is empty
  std::map<FreshKey, std::vector<std::uint32_t>> fresh_;
};

}  // namespace allot
