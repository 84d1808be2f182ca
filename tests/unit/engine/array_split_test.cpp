// SPDX-License-Identifier: MIT
#include "engine/array_split.h"

#include "tests/support/catch.h"
#include "tests/unit/engine/driven_batch.h"

namespace allot::test {

namespace {

BatchPlan plan_of(const std::vector<TaskSpec>& tasks, bool is_array = true) {
  PlanBuilder builder({});
  for (std::size_t step = 0; step < tasks.size(); ++step) builder.add(step, 1, tasks[step]);
  return builder.finish(is_array);
}

std::vector<std::uint64_t> sizes(const std::vector<PlannedSubmission>& submissions, SubmitTime time) {
  std::vector<std::uint64_t> sizes;
  for (const auto& one : submissions) {
    if (one.time == time) sizes.push_back(one.steps.size());
  }
  return sizes;
}

using Sizes = std::vector<std::uint64_t>;

}  // namespace

TEST_CASE("the next array is as long as every limit lets it be") {
  ArrayLimits limits{{100, 0}, {}, true};
  CHECK(next_array_length(limits, 1'000'000, 1'000'000) == 100);
  limits.distributor.max_queued = 60;
  CHECK(next_array_length(limits, 0, 500) == 60);
  CHECK(next_array_length(limits, 59, 500) == 1);
  CHECK(next_array_length(limits, 60, 0) == 0);
  CHECK(next_array_length(limits, 61, 0) == 0);
  limits.max_running = 10;
  CHECK(next_array_length(limits, 0, 0) == 10);
  CHECK(next_array_length(limits, 4, 5) == 1);
  CHECK(next_array_length(limits, 5, 5) == 0);
  CHECK(next_array_length(limits, 0, 11) == 0);
  limits.may_be_arrays = false;
  CHECK(next_array_length(limits, 0, 0) == 1);
  CHECK(next_array_length(limits, 0, 10) == 0);
}

TEST_CASE("steps are taken from the front across gaps") {
  StepRanges steps(3, 2);
  steps.append_range(10, 5);
  CHECK(take_front(steps, 3).ranges() == std::vector<StepRange>{{3, 2}, {10, 1}});
  CHECK(steps.ranges() == std::vector<StepRange>{{11, 4}});
  CHECK(take_front(steps, 100).size() == 4);
  CHECK(steps.empty());
}

TEST_CASE("what has to wait for room or for others is told apart") {
  auto tasks = plain_tasks(10);
  tasks[8].after = {{0, DependencyKind::after_any}};
  tasks[9].resources.cores = 2;
  const auto plan = plan_of(tasks);
  const auto planned = plan_submissions(plan, {{3, 0}, 5, true}, {false, false}, 0);
  CHECK(sizes(planned, SubmitTime::at_once) == Sizes{3, 2});
  CHECK(sizes(planned, SubmitTime::later) == Sizes{3, 1});
  CHECK(sizes(planned, SubmitTime::after_others) == Sizes{1});
  CHECK(planned.back().steps.front() == 8);
  // What the driver refuses itself is never under way.
  CHECK(sizes(plan_submissions(plan, {{3, 0}, 5, true}, {true, false}, 0), SubmitTime::at_once) == Sizes{3, 3, 2, 1});
}

TEST_CASE("what has to wait for its time comes in the order of the times, and what waits for others is theirs") {
  auto tasks = plain_tasks(9);
  tasks[1].begin_ns = tasks[2].begin_ns = 300;
  tasks[3].begin_ns = tasks[4].begin_ns = tasks[8].begin_ns = 200;
  tasks[4].resources.cores = 2;
  tasks[5].begin_ns = 100;  // that is over
  tasks[6].begin_ns = 200;
  tasks[6].after = {{0, DependencyKind::after_ok}};
  const auto planned = plan_submissions(plan_of(tasks), {{100, 0}, {}, true}, {false, false}, 100);
  CHECK(sizes(planned, SubmitTime::at_once) == Sizes{3});
  CHECK(sizes(planned, SubmitTime::at_begin) == Sizes{2, 1, 2});
  CHECK(sizes(planned, SubmitTime::after_others) == Sizes{1});
  REQUIRE(planned.size() == 5);
  CHECK(planned[0].steps.ranges() == std::vector<StepRange>{{0, 1}, {5, 1}, {7, 1}});
  CHECK(planned[1].steps.ranges() == std::vector<StepRange>{{3, 1}, {8, 1}});
  CHECK(planned[1].begin_ns == 200);
  CHECK(planned[3].begin_ns == 300);
}

TEST_CASE("a plan of submissions is what the driver submits while nothing ends") {
  auto tasks = plain_tasks(40);
  for (std::size_t step = 0; step < 40; step += 3) tasks[step].resources.cores = 2;
  for (std::size_t step = 2; step < 40; step += 9) tasks[step].priority = 5;
  for (std::size_t step = 4; step < 40; step += 5) {
    tasks[step].name = "few";
    tasks[step].max_parallel = 3;
  }
  for (std::size_t step = 1; step < 40; step += 7) tasks[step].after = {{0, DependencyKind::after_ok}};
  const DistributorLimits distributor_limits[] = {{1000, 0}, {4, 0}, {4, 10}, {1, 3}};
  for (const auto& limits : distributor_limits) {
    for (const std::optional<std::uint32_t> max_running : {std::optional<std::uint32_t>(), std::optional(7u)}) {
      CAPTURE(limits.max_array_length, limits.max_queued, max_running.value_or(0));
      std::vector<StepRanges> planned;
      const auto plan = plan_of(tasks);
      const std::vector<bool> is_refused(plan.groups.size());
      for (auto& one : plan_submissions(plan, {limits, max_running, true}, is_refused, 0)) {
        if (one.time == SubmitTime::at_once) planned.push_back(one.steps);
      }
      DrivenBatch batch(tasks);
      batch.settings.retry.max_running = max_running;
      // No slots, so that nothing ever starts; the driver is stopped once it has nothing more to submit.
      FakeCluster cluster(0);
      cluster.limits = limits;
      batch.observer.on_progress = [&](const BatchProgress& progress) {
        if (progress.queued > 0 && cluster.submissions().size() >= planned.size()) batch.stop.request();
      };
      batch.run(cluster);
      std::vector<StepRanges> submitted;
      for (const auto& one : cluster.submissions()) submitted.push_back(one.steps);
      CHECK(submitted == planned);
    }
  }
}

}  // namespace allot::test
