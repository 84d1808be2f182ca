// SPDX-License-Identifier: MIT
// In which order tasks are submitted, and how many of a kind at once; tasks that ask to be run again later.
#include "tests/support/catch.h"
#include "tests/unit/engine/driven_batch.h"

namespace allot::test {

namespace {

RetryRules rules(std::string_view text) {
  return parse_retry_rules(text).value();
}

}  // namespace

TEST_CASE("tasks of higher priority are submitted first, equal ones as they stand") {
  auto tasks = plain_tasks(6);
  tasks[1].priority = -1;
  tasks[3].priority = 7;
  tasks[4].priority = 7;
  DrivenBatch batch(tasks);
  batch.settings.retry.max_running = 1;
  FakeCluster cluster(1);
  std::vector<std::uint64_t> order;
  cluster.behaviour = [&](const FakeTask& task) {
    order.push_back(task.step);
    return FakeRun{};
  };
  batch.run(cluster);
  CHECK(order == std::vector<std::uint64_t>{3, 4, 0, 2, 5, 1});
  CHECK(batch.states() == "dddddd");
}

TEST_CASE("of the tasks of one name no more run at once than they say, and others pass them by") {
  auto tasks = plain_tasks(12);
  for (std::size_t step = 0; step < 8; ++step) {
    tasks[step].name = "licence";
    tasks[step].max_parallel = step == 5 ? 2 : 3;
    if (step % 2 == 0) tasks[step].resources.cores = 2;  // other resources share the name's limit
  }
  DrivenBatch batch(tasks);
  FakeCluster cluster(12);
  std::uint64_t most = 0, now = 0, others = 0;
  cluster.behaviour = [&](const FakeTask& task) {
    if (task.step >= 8) {
      ++others;
      return FakeRun{};
    }
    most = std::max(most, ++now);
    return fake_goes_on();
  };
  std::vector<std::uint64_t> finished;
  batch.observer.on_progress = [&](const BatchProgress& progress) {
    if (progress.running == 0 || progress.done < 4) return;
    for (std::uint64_t step = 0; step < 8; ++step) {
      const bool is_out = std::find(finished.begin(), finished.end(), step) != finished.end();
      if (is_out || cluster.runs_of(step).empty()) continue;
      finished.push_back(step);
      --now;
      return cluster.finish(step);
    }
  };
  batch.run(cluster);
  CHECK(most == 2);
  CHECK(others == 4);
  CHECK(batch.states() == "dddddddddddd");
}

TEST_CASE("a task that asks to be run later runs again without an attempt, and gives up in the end") {
  DrivenBatch batch(plain_tasks(2), true);
  batch.settings.retry.rules = rules("75=defer,defer=20ms:90ms");
  FakeCluster cluster(2);
  std::vector<std::uint32_t> attempts;
  cluster.behaviour = [&](const FakeTask& task) {
    if (task.step == 0) return fake_end(ExitClass::error, 75);
    attempts.push_back(task.attempt);
    return attempts.size() < 3 ? fake_end(ExitClass::error, 75) : FakeRun{};
  };
  batch.run(cluster);
  CHECK(batch.states() == "fd");
  CHECK(attempts == std::vector<std::uint32_t>{1, 1, 1});
  CHECK(batch.detail(1).deferrals == 2);
  const auto endless = batch.detail(0);
  CHECK(endless.exit_info.exit_code == 75);
  CHECK(endless.deferrals >= 1);
  CHECK(endless.deferrals <= 4);
  CHECK(endless.retries == std::array<std::uint16_t, kExitClassCount>{});
  CHECK(batch.observer.was_told("asks for another run later"));
}

TEST_CASE("a node is excluded after so many failures in a row that are its fault, and never the last one") {
  NodeRecord nodes;
  CHECK_FALSE(nodes.note("a", ExitClass::done, 2));
  CHECK_FALSE(nodes.note("b", ExitClass::node_failed, 2));
  CHECK_FALSE(nodes.note("b", ExitClass::error, 2));  // the task's own fault: the row is broken
  CHECK_FALSE(nodes.note("b", ExitClass::lost, 2));
  CHECK(nodes.note("b", ExitClass::launch_failed, 2));
  CHECK_FALSE(nodes.note("b", ExitClass::lost, 2));  // a late one
  CHECK(nodes.excluded() == std::vector<std::string>{"b"});
  for (int i = 0; i < 5; ++i) CHECK_FALSE(nodes.note("a", ExitClass::lost, 2));
  CHECK_FALSE(nodes.note("", ExitClass::lost, 1));
  CHECK_FALSE(nodes.note("c", ExitClass::lost, 0));
  CHECK(nodes.note("c", ExitClass::lost, 2));
  CHECK(nodes.excluded() == std::vector<std::string>{"b", "c"});
}

TEST_CASE("how long a task has been put off outlives the driver, and costs no attempt there either") {
  DrivenBatch batch(plain_tasks(1), false);
  batch.settings.retry.rules = rules("75=defer,defer=10ms:1h");
  FakeCluster cluster(1);
  cluster.behaviour = [&](const FakeTask&) { return fake_end(ExitClass::error, 75); };
  batch.when([&](const BatchProgress&) { return cluster.runs_of(0).size() >= 3; },
             [&](BatchRun&) { batch.stop.request(); });
  batch.run(cluster);
  const auto deferrals = batch.detail(0).deferrals;
  CHECK(deferrals >= 2);
  std::vector<std::uint32_t> attempts;
  cluster.behaviour = [&](const FakeTask& task) {
    attempts.push_back(task.attempt);
    return FakeRun{};
  };
  batch.observer.on_progress = {};
  batch.resume(cluster);
  CHECK(batch.states() == "d");
  REQUIRE(attempts.size() == 1);
  CHECK(attempts.front() <= 2);  // 2 where the stop met a run that then ended for good
}

}  // namespace allot::test
