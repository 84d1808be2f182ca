// SPDX-License-Identifier: MIT
// Stopping a batch: once, twice, and with tasks that cannot be ended.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <mutex>

#include "tests/support/catch.h"
#include "tests/unit/engine/driven_batch.h"

namespace allot::test {

namespace {

// Asks once, when `running` tasks run.
void stop_when_running(DrivenBatch& batch, std::uint64_t running, int requests = 1) {
  batch.observer.on_progress = [&batch, running, left = requests](const BatchProgress& progress) mutable {
    if (progress.running < running || left == 0) return;
    for (; left > 0; --left) batch.stop.request();
  };
}

}  // namespace

TEST_CASE("cancelling ends what runs, takes out what is queued, and starts nothing more") {
  auto tasks = plain_tasks(200'000);
  tasks[199'999].after = {{0, DependencyKind::after_any}};
  DrivenBatch batch(tasks);
  batch.settings.queue_first = std::chrono::minutes(10);  // however slow the machine is
  FakeCluster cluster(3);
  cluster.behaviour = [](const FakeTask&) { return fake_goes_on(); };
  stop_when_running(batch, 3);
  const BatchResult result = batch.run(cluster);
  CHECK(result.stop_requests == 1);
  CHECK_FALSE(result.trouble);
  CHECK(result.by_class[static_cast<std::size_t>(ExitClass::killed)] == 199'999);
  CHECK(result.progress.waiting == 1);
  CHECK(result.progress.abandoned == 0);
  const Fold fold = batch.fold();
  CHECK(fold.damage().empty());
  std::uint64_t started = 0, killed = 0;
  for (std::uint64_t step = 0; step + 1 < fold.size(); ++step) {
    started += fold.task(step).attempts;
    killed += fold.task(step).state == TaskState::failed && fold.task(step).exit_class == ExitClass::killed;
  }
  CHECK(started == 3);  // in the fake nothing starts while a call removes what is queued
  CHECK(killed == 199'999);
  CHECK(fold.task(199'999).state == TaskState::waiting);
  CHECK(fold.ended());
  CHECK(cluster.graces().front() == batch.settings.grace);
}

TEST_CASE("what runs is asked to end although what is queued cannot be taken out yet") {
  DrivenBatch batch(plain_tasks(20));
  batch.settings.queue_first = std::chrono::milliseconds(1);
  FakeCluster cluster(2);
  cluster.behaviour = [](const FakeTask&) { return fake_goes_on(); };
  std::promise<void> asked;
  const std::shared_future<void> is_asked = asked.get_future().share();
  std::once_flag once;
  std::atomic<bool> is_in_time = true;
  cluster.before_termination = [&](const std::vector<std::string>& ids) {
    if (ids.size() <= 2) return std::call_once(once, [&] { asked.set_value(); });  // of those that run
    if (is_asked.wait_for(std::chrono::seconds(30)) != std::future_status::ready) is_in_time = false;
  };
  stop_when_running(batch, 2);
  const BatchResult result = batch.run(cluster);
  CHECK(is_in_time);
  CHECK(batch.states() == std::string(20, 'f'));
  CHECK(result.by_class[static_cast<std::size_t>(ExitClass::killed)] == 20);
}

TEST_CASE("a second request kills what does not heed the first") {
  DrivenBatch batch(plain_tasks(2));
  FakeCluster cluster(2);
  cluster.behaviour = [](const FakeTask& task) {
    FakeRun run = fake_goes_on();
    run.is_deaf = task.step == 1;
    return run;
  };
  int asked = 0;
  batch.observer.on_progress = [&](const BatchProgress& progress) {
    if ((asked == 0 && progress.running == 2) || (asked == 1 && progress.failed == 1)) {
      ++asked;
      batch.stop.request();
    }
  };
  const BatchResult result = batch.run(cluster);  // its grace is longer than the test may take
  CHECK(result.stop_requests == 2);
  CHECK(batch.states() == "ff");
  CHECK(batch.detail(1).exit_info.exit_class == ExitClass::killed);
  CHECK(cluster.graces().back() == std::chrono::milliseconds(0));
}

TEST_CASE("what cannot be ended is said so, and not waited for without end") {
  DrivenBatch batch(plain_tasks(1));
  batch.settings.grace = std::chrono::milliseconds(1);
  batch.settings.termination_bound = std::chrono::milliseconds(50);
  FakeCluster cluster(1);
  cluster.behaviour = [](const FakeTask&) {
    FakeRun run = fake_goes_on();
    run.is_unkillable = true;
    return run;
  };
  stop_when_running(batch, 1);
  const BatchResult result = batch.run(cluster);
  CHECK(result.progress.running == 1);
  CHECK_FALSE(result.all_done());
  CHECK(batch.observer.was_told("cannot be ended"));
  CHECK(batch.states() == "r");
}

TEST_CASE("a request that comes before anything was submitted starts nothing") {
  DrivenBatch batch(plain_tasks(5));
  FakeCluster cluster;
  batch.stop.request();
  const BatchResult result = batch.run(cluster);
  CHECK(result.stop_requests == 1);
  CHECK(batch.states() == "wwwww");
  CHECK(cluster.submissions().empty());
}

TEST_CASE("lost runs are not repeated once the batch is being cancelled") {
  DrivenBatch batch(plain_tasks(2));
  FakeCluster cluster(2);
  cluster.behaviour = [](const FakeTask& task) {
    FakeRun run = fake_goes_on();
    run.is_unkillable = task.step == 1;  // ended by the test, in its own way
    return run;
  };
  bool is_asked = false, is_lost = false;
  batch.observer.on_progress = [&](const BatchProgress& progress) {
    if (!is_asked && progress.running == 2) {
      is_asked = true;
      batch.stop.request();
    }
    if (is_asked && !is_lost && progress.failed == 1) {
      is_lost = true;
      cluster.finish(1, fake_end(ExitClass::node_failed));
    }
  };
  const BatchResult result = batch.run(cluster);
  CHECK(result.progress.failed == 2);
  CHECK(cluster.runs_of(1).size() == 1);
}

}  // namespace allot::test
