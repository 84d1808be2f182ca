// SPDX-License-Identifier: MIT
#include "engine/batch_plan.h"

#include "tests/support/catch.h"

namespace allot {

TEST_CASE("what a task states counts, the rest comes from the defaults") {
  RequestedResources defaults;
  defaults.cores = 2;
  defaults.memory_bytes = 100;
  defaults.queue = "q";
  defaults.pass_through = {{"a", "1"}, {"b", "1"}};
  RequestedResources own;
  own.cores = 4;
  own.account = "me";
  own.pass_through = {{"b", "2"}};
  const auto merged = with_defaults(own, defaults);
  CHECK(merged.cores == 4);
  CHECK(merged.memory_bytes == 100);
  CHECK(merged.queue == "q");
  CHECK(merged.account == "me");
  CHECK_FALSE(merged.gpus);
  CHECK(merged.pass_through == std::map<std::string, std::string>{{"a", "1"}, {"b", "2"}});
  CHECK(with_defaults({}, defaults) == defaults);
  CHECK(with_defaults(own, {}) == own);
}

TEST_CASE("steps with equal resources form one group, however they say it") {
  RequestedResources defaults;
  defaults.cores = 1;
  TaskSpec one, two;
  one.resources.cores = 1;  // the default, stated
  one.after = {{0, DependencyKind::after_any}};
  two.resources.cores = 2;
  PlanBuilder builder(defaults);
  builder.add_plain(0, 2);
  builder.add(2, 1, two);
  builder.add(3, 1, one);
  builder.add(4, 3, two);
  const BatchPlan plan = builder.finish(true);
  CHECK(plan.task_count == 7);
  REQUIRE(plan.groups.size() == 2);
  CHECK(plan.groups[0].resources.cores == 1);
  CHECK(plan.groups[0].steps.ranges() == std::vector<StepRange>{{0, 2}, {3, 1}});
  CHECK(plan.groups[1].resources.cores == 2);
  CHECK(plan.groups[1].steps.ranges() == std::vector<StepRange>{{2, 1}, {4, 3}});
  int edges = 0;
  plan.graph.for_each_dependent(0, [&](const DependencyEdge&) { ++edges; });
  CHECK(edges == 1);
}

TEST_CASE("the batch's priority is added to that of each task, and the sum stays in its range") {
  TaskSpec task, high, highest, lowest;
  high.priority = 5;
  highest.priority = INT32_MAX;
  lowest.priority = INT32_MIN;
  PlanBuilder builder({}, 10);
  builder.add_plain(0, 1);
  builder.add(1, 1, task);
  builder.add(2, 1, high);
  builder.add(3, 1, highest);
  builder.add(4, 1, lowest);
  const BatchPlan plan = builder.finish(true);
  std::vector<std::int32_t> priorities;
  for (const auto& group : plan.groups) priorities.push_back(group.priority);
  CHECK(priorities == std::vector<std::int32_t>{10, 15, INT32_MAX, INT32_MIN + 10});
}

TEST_CASE("steps of one begin are kept as one, an array's as well") {
  TaskSpec plain, early, late;
  early.begin_ns = 100;
  late.begin_ns = 200;
  PlanBuilder builder({});
  builder.add(0, 1, plain);
  builder.add(1, 1000, early);
  builder.add(1001, 1, early);
  builder.add(1002, 2, late);
  builder.add_plain(1004, 1);
  builder.add(1005, 1, late);
  const BatchPlan plan = builder.finish(true);
  CHECK(plan.begins.size() == 3);
  for (const std::uint64_t step : {0, 1004, 1006, 5000}) CHECK(plan.begin_of(step) == 0);
  for (const std::uint64_t step : {1, 500, 1001}) CHECK(plan.begin_of(step) == 100);
  for (const std::uint64_t step : {1002, 1003, 1005}) CHECK(plan.begin_of(step) == 200);
  CHECK(plan.groups.size() == 1);
  CHECK(BatchPlan().begin_of(0) == 0);
}

TEST_CASE("a hundred thousand different requests are sorted quickly") {
  PlanBuilder builder({});
  for (std::uint64_t step = 0; step < 100'000; ++step) {
    TaskSpec own;
    own.resources.memory_bytes = 1 + step / 2;
    builder.add(step, 1, own);
  }
  CHECK(builder.finish(true).groups.size() == 50'000);
}

}  // namespace allot
