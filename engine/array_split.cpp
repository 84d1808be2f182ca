// SPDX-License-Identifier: MIT
#include "engine/array_split.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <string>
#include <utility>

#include "engine/ready_queue.h"

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

bool fits(const DistributorLimits& limits, std::uint64_t steps, std::uint64_t queued) {
  return steps == 1 || (steps <= limits.max_array_length && (limits.max_queued == 0 || queued <= limits.max_queued));
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
                                                const std::vector<bool>& is_refused, std::int64_t now_ns) {
  std::vector<bool> waits(plan.graph.empty() ? 0 : plan.task_count);
  plan.graph.for_each_edge([&](const DependencyEdge& edge) { waits[edge.dependent] = true; });

  ReadyQueue ready;
  std::vector<PlannedSubmission> planned, after;
  std::map<std::pair<std::int64_t, std::uint32_t>, StepRanges> begins;  // by time and group
  for (std::uint32_t group = 0; group < plan.groups.size(); ++group) {
    ReadyWork work{group, 1, {}};
    StepRanges waiting;
    if (waits.empty() && plan.begins.empty()) {
      work.steps = plan.groups[group].steps;
    } else {
      plan.groups[group].steps.for_each([&](std::uint64_t step) {
        if (!waits.empty() && waits[step]) return waiting.append(step);
        const std::int64_t begin = plan.begin_of(step);
        (begin > now_ns ? begins[{begin, group}] : work.steps).append(step);
      });
    }
    ready.push(plan.groups[group].priority, std::move(work));
    if (!waiting.empty()) after.push_back({group, SubmitTime::after_others, std::move(waiting), 0});
  }
  std::uint64_t queued = 0;
  std::map<std::string, std::uint64_t> queued_by_name;
  while (const std::uint64_t most = next_array_length(limits, queued, 0)) {
    auto work = ready.next([&](std::uint32_t group) {
      const auto limit = plan.max_parallel.find(plan.groups[group].limited_name);
      if (limit == plan.max_parallel.end()) return most;
      return std::min(most, limit->second - std::min<std::uint64_t>(limit->second, queued_by_name[limit->first]));
    });
    if (!work) break;
    if (!is_refused[work->group]) {
      queued += work->steps.size();
      queued_by_name[plan.groups[work->group].limited_name] += work->steps.size();
    }
    planned.push_back({work->group, SubmitTime::at_once, std::move(work->steps), 0});
  }
  while (auto work = ready.next([](std::uint32_t) { return UINT64_MAX; })) {
    planned.push_back({work->group, SubmitTime::later, std::move(work->steps), 0});
  }
  for (auto& [key, steps] : begins) {
    planned.push_back({key.second, SubmitTime::at_begin, std::move(steps), key.first});
  }
  std::move(after.begin(), after.end(), std::back_inserter(planned));
  return planned;
}

}  // namespace allot
