// SPDX-License-Identifier: MIT
#include "engine/array_split.h"

#include <algorithm>
#include <utility>

namespace allot {

std::uint64_t next_array_length(const ArrayLimits& limits, std::uint64_t queued, std::uint64_t running) {
  std::uint64_t most = limits.may_be_arrays ? limits.distributor.max_array_length : 1;
  if (limits.distributor.max_queued > 0) {
    most = std::min(most, limits.distributor.max_queued - std::min(queued, limits.distributor.max_queued));
  }
  if (limits.max_running) {
    const std::uint64_t room = *limits.max_running - std::min<std::uint64_t>(queued + running, *limits.max_running);
    most = std::min(most, room);
  }
  return most;
}

StepRanges take_front(StepRanges& steps, std::uint64_t count) {
  StepRanges front, rest;
  for (const auto& range : steps.ranges()) {
    const std::uint64_t taken = std::min(count, range.count);
    front.append_range(range.first, taken);
    rest.append_range(range.first + taken, range.count - taken);
    count -= taken;
  }
  steps = std::move(rest);
  return front;
}

std::vector<PlannedSubmission> plan_submissions(const BatchPlan& plan, const ArrayLimits& limits,
                                                const std::vector<bool>& is_refused) {
  std::vector<bool> waits(plan.graph.empty() ? 0 : plan.task_count);
  for (const auto& edge : plan.graph.edges()) waits[edge.dependent] = true;

  std::vector<PlannedSubmission> now, later, after;
  std::uint64_t queued = 0;
  for (std::uint32_t group = 0; group < plan.groups.size(); ++group) {
    StepRanges ready, waiting;
    if (waits.empty()) {
      ready = plan.groups[group].steps;
    } else {
      plan.groups[group].steps.for_each([&](std::uint64_t step) { (waits[step] ? waiting : ready).append(step); });
    }
    // A group that has to wait holds up those behind it, too: the driver keeps their order.
    while (!ready.empty() && later.empty()) {
      const std::uint64_t most = next_array_length(limits, queued, 0);
      if (most == 0) break;
      StepRanges steps = take_front(ready, most);
      if (!is_refused[group]) queued += steps.size();
      now.push_back({group, SubmitTime::at_once, std::move(steps)});
    }
    if (!ready.empty()) later.push_back({group, SubmitTime::later, std::move(ready)});
    if (!waiting.empty()) after.push_back({group, SubmitTime::after_others, std::move(waiting)});
  }
  std::move(later.begin(), later.end(), std::back_inserter(now));
  std::move(after.begin(), after.end(), std::back_inserter(now));
  return now;
}

}  // namespace allot
