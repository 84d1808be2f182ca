// SPDX-License-Identifier: MIT
// What users ask of a batch while it is driven, and what the next driver makes of it.
#include "tests/support/catch.h"
#include "tests/unit/engine/driven_batch.h"

namespace allot::test {

namespace {

using std::chrono::milliseconds;

TaskSelection steps_of(std::vector<StepRange> ranges) {
  TaskSelection selection;
  selection.steps.emplace();
  for (const auto& range : ranges) selection.steps->append_range(range.first, range.count);
  return selection;
}

RetryRules rules(std::string_view text) {
  return parse_retry_rules(text).value();
}

auto running(std::uint64_t count) {
  return [count](const BatchProgress& progress) { return progress.running >= count; };
}

FakeRun on_and_on(const FakeTask&) {
  return fake_goes_on();
}

}  // namespace

TEST_CASE("cancelled tasks end and do not run again, whatever the rules say, and the others go on") {
  auto tasks = plain_tasks(6);
  tasks[4].after = {{0, DependencyKind::after_ok}};
  tasks[5].after = {{0, DependencyKind::after_any}};
  DrivenBatch batch(tasks);
  batch.settings.retry.rules = rules("error=5,signaled=5");
  FakeCluster cluster(2);
  cluster.behaviour = [](const FakeTask& task) { return task.step < 2 ? fake_goes_on() : FakeRun{}; };
  CancelCount count;
  batch.when(running(2), [&](BatchRun& run) {
    count = run.cancel(steps_of({{0, 1}, {2, 1}}), milliseconds(77));
    batch.when([](const BatchProgress& progress) { return progress.failed == 2; },
               [&](BatchRun&) { cluster.finish(1); });
  });
  const BatchResult result = batch.run(cluster);
  CHECK(count.asked == 2);
  CHECK(count.withdrawn == 0);
  CHECK(result.by_class[static_cast<std::size_t>(ExitClass::killed)] == 2);
  CHECK(batch.states() == "fdfdad");
  CHECK(cluster.graces().front() == milliseconds(77));
  CHECK(batch.fold().task(0).is_cancelled);
  CHECK(batch.fold().ended());
  CHECK(batch.fold().damage().empty());
}

TEST_CASE("what has not been submitted is withdrawn at once, all of it before anything is abandoned") {
  auto tasks = plain_tasks(4);
  tasks[2].after = {{1, DependencyKind::after_ok}};
  tasks[3].after = {{2, DependencyKind::after_ok}};
  DrivenBatch batch(tasks);
  batch.settings.retry.max_running = 1;
  FakeCluster cluster;
  cluster.behaviour = on_and_on;
  CancelCount count;
  batch.when(running(1), [&](BatchRun& run) {
    count = run.cancel(steps_of({{1, 2}}), milliseconds(0));
    CHECK(run.cancelling() == 0);
    cluster.finish(0);
  });
  batch.run(cluster);
  CHECK(count.withdrawn == 2);
  CHECK(batch.states() == "dffa");
  CHECK(batch.fold().task(1).exit_class == ExitClass::killed);
  CHECK(batch.fold().task(2).exit_class == ExitClass::killed);
  CHECK(batch.fold().task(1).attempts == 0);
}

TEST_CASE("cancelling what waits for its next run leaves the end of the last one") {
  DrivenBatch batch(plain_tasks(2));
  batch.settings.retry.rules = rules("error=3:1h");
  FakeCluster cluster;
  cluster.behaviour = [](const FakeTask& task) {
    return task.step == 0 ? fake_end(ExitClass::error, 9) : fake_goes_on();
  };
  batch.when([](const BatchProgress& progress) { return progress.waiting == 1 && progress.running == 1; },
             [&](BatchRun& run) {
               CHECK(run.explain(0).find("runs again after") != std::string::npos);
               run.cancel({}, milliseconds(0));
             });
  const BatchResult result = batch.run(cluster);
  CHECK(result.progress.failed == 2);
  CHECK(batch.states() == "ff");
  CHECK(batch.detail(0).exit_info.exit_class == ExitClass::error);
  CHECK(batch.detail(0).exit_info.exit_code == 9);
  CHECK(batch.detail(1).exit_info.exit_class == ExitClass::killed);
}

TEST_CASE("a driver of its own accord runs nothing again that was cancelled, and one that the user asks for does") {
  DrivenBatch batch(plain_tasks(3));
  FakeCluster cluster(1);
  cluster.behaviour = on_and_on;
  batch.when(running(1), [&](BatchRun& run) { run.cancel({}, milliseconds(0)); });
  batch.run(cluster);
  CHECK(batch.states() == "fff");
  batch.observer.on_progress = {};
  cluster.behaviour = {};
  batch.request.keep_cancelled = true;
  batch.resume(cluster);
  CHECK(batch.states() == "fff");
  CHECK(cluster.submissions().size() == 1);
  batch.request.keep_cancelled = false;
  batch.resume(cluster);
  CHECK(batch.states() == "ddd");
  CHECK_FALSE(batch.fold().task(1).is_cancelled);
}

TEST_CASE("a driver that died while it cancelled is followed by one that goes on cancelling") {
  DrivenBatch batch(plain_tasks(3));
  FakeCluster cluster(1);
  cluster.behaviour = [](const FakeTask&) {
    FakeRun run = fake_goes_on();
    run.is_deaf = true;
    return run;
  };
  cluster.outlives_stop = true;
  batch.settings.termination_bound = milliseconds(1);
  batch.settings.grace = milliseconds(1);
  batch.when(running(1), [&](BatchRun& run) {
    run.cancel(steps_of({{0, 1}}), std::chrono::hours(1));
    run.give_up({ErrorCode::gave_up, "as if it had died"});
    run.lose_events({ErrorCode::gone, "as if it had died"}, true);
  });
  batch.run(cluster);
  cluster.outlives_stop = false;
  batch.observer.on_progress = {};
  batch.request.keep_cancelled = true;
  batch.settings.grace = milliseconds(0);
  cluster.behaviour = {};
  batch.resume(cluster);
  CHECK(batch.fold().task(0).exit_class == ExitClass::killed);
  CHECK(batch.states() == "fdd");
  CHECK(cluster.runs_of(0).size() == 1);
}

TEST_CASE("held tasks do not start before they are released, and other drivers keep to that") {
  const bool is_queued = GENERATE(true, false);
  DrivenBatch batch(plain_tasks(6));
  if (!is_queued) batch.settings.retry.max_running = 2;
  FakeCluster cluster(2);
  cluster.behaviour = on_and_on;
  BatchRun* driven = nullptr;
  batch.when(running(2), [&](BatchRun& run) {
    driven = &run;
    CHECK(run.hold(steps_of({{3, 3}})) == 3);
    // Once the distributor holds them, too.
    batch.when([&](const BatchProgress&) { return !driven->is_calling(); },
               [&](BatchRun&) {
                 cluster.finish(0);
                 cluster.finish(1);
                 // Its reason is told once the answer to its submission has been taken.
                 batch.when(
                     [&](const BatchProgress& progress) {
                       return progress.done == 2 && progress.running == 1 &&
                              driven->explain(4).find("held") != std::string::npos;
                     },
                     [&](BatchRun&) { batch.stop.request(); });
               });
  });
  batch.run(cluster);
  CHECK(batch.states().substr(0, 3) == "ddf");
  for (std::uint64_t step = 3; step < 6; ++step) {
    CHECK(cluster.runs_of(step).empty());
    CHECK(batch.fold().task(step).is_held);
  }
  cluster.behaviour = {};
  std::vector<std::uint64_t> before;
  batch.when([](const BatchProgress& progress) { return progress.total > 0; },
             [&](BatchRun& run) {
               CHECK(run.explain(3).find("held") != std::string::npos);
               for (std::uint64_t step = 3; step < 6; ++step) before.push_back(cluster.runs_of(step).size());
               CHECK(run.release({}) == 3);
             });
  batch.resume(cluster);
  CHECK(before == std::vector<std::uint64_t>{0, 0, 0});
  CHECK(batch.states() == "dddddd");
  CHECK(batch.fold().held() == 0);
}

TEST_CASE("what runs as a batch is held runs on, and its next run waits for the release") {
  DrivenBatch batch(plain_tasks(2));
  batch.settings.retry.rules = rules("error=2");
  FakeCluster cluster(2);
  cluster.behaviour = [](const FakeTask& task) { return task.attempt == 1 ? fake_goes_on() : FakeRun{}; };
  batch.when(running(2), [&](BatchRun& run) {
    CHECK(run.hold({}) == 0);  // none that has not started
    cluster.finish(0, fake_end(ExitClass::error, 1));
    cluster.finish(1);
  });
  batch.when([](const BatchProgress& progress) { return progress.done == 1 && progress.running == 0; },
             [&](BatchRun& run) {
               CHECK(run.explain(0).find("held") != std::string::npos);
               batch.stop.request();
             });
  batch.run(cluster);
  CHECK(cluster.runs_of(0).size() == 1);
  CHECK(batch.fold().held() == 1);
  batch.when([](const BatchProgress& progress) { return progress.total > 0; },
             [&](BatchRun& run) {
               CHECK(cluster.runs_of(0).size() == 1);
               run.release({});
             });
  batch.resume(cluster);
  CHECK(batch.states() == "dd");
  CHECK(cluster.runs_of(0).size() == 2);
}

TEST_CASE("a throttle counts from now on, and for the next driver") {
  DrivenBatch batch(plain_tasks(20));
  batch.settings.retry.max_running = 8;
  FakeCluster cluster(8);
  batch.when([](const BatchProgress& progress) { return progress.done >= 8; },
             [&](BatchRun& run) {
               run.set_max_running(1);
               batch.stop.request();
             });
  cluster.behaviour = {};
  batch.run(cluster);
  CHECK(batch.fold().max_running() == 1u);
  FakeCluster other(8);
  std::uint64_t most = 0;
  batch.observer.on_progress = [&](const BatchProgress& progress) {
    most = std::max(most, progress.running + progress.queued);
  };
  batch.resume(other);
  CHECK(most <= 1);
  CHECK(other.most_running() == 1);
  CHECK(batch.fold().count(TaskState::done) == 20);
}

TEST_CASE("failed tasks run again on request while the batch is driven, with what was abandoned because of them") {
  auto tasks = plain_tasks(5);
  tasks[2].after = {{1, DependencyKind::after_ok}};
  tasks[3].after = {{2, DependencyKind::after_ok}};
  DrivenBatch batch(tasks);
  FakeCluster cluster(3);
  bool is_mended = false;
  cluster.behaviour = [&](const FakeTask& task) {
    if (task.step == 4) return fake_goes_on();
    if (task.step == 0) return fake_end(ExitClass::signaled, 11);
    return task.step == 1 && !is_mended ? fake_end(ExitClass::error, 1) : FakeRun{};
  };
  std::uint64_t again = 0;
  batch.when([](const BatchProgress& progress) { return progress.failed == 2 && progress.abandoned == 2; },
             [&](BatchRun& run) {
               is_mended = true;
               again = run.run_again({}, ExitClass::error);
               cluster.finish(4);
             });
  const BatchResult result = batch.run(cluster);
  CHECK(again == 1);
  CHECK(batch.states() == "fdddd");
  CHECK(result.progress.done == 4);
  CHECK(cluster.runs_of(0).size() == 1);
  CHECK(cluster.runs_of(1).size() == 2);
  CHECK(batch.fold().damage().empty());
}

TEST_CASE("a driver that is to run failed tasks again leaves everything else alone") {
  auto tasks = plain_tasks(6);
  tasks[2].after = {{1, DependencyKind::after_ok}};
  DrivenBatch batch(tasks);
  batch.settings.retry.max_running = 3;
  FakeCluster cluster(3);
  cluster.behaviour = [](const FakeTask& task) {
    return task.step == 1 ? fake_end(ExitClass::error, 1) : task.step == 0 ? FakeRun{} : fake_goes_on();
  };
  batch.when([](const BatchProgress& progress) { return progress.abandoned == 1 && progress.running == 3; },
             [&](BatchRun&) { batch.stop.request(); });
  batch.run(cluster);
  REQUIRE(batch.states() == "dfafff");  // 3 to 5 were cancelled with the run
  batch.observer.on_progress = {};
  cluster.behaviour = {};
  batch.request.run_again = steps_of({{0, 3}});
  batch.request.leave_others = true;
  const BatchResult result = batch.resume(cluster);
  CHECK(batch.states() == "dddfff");
  CHECK(result.progress.done == 3);
  CHECK(cluster.runs_of(0).size() == 1);
  CHECK(cluster.runs_of(1).size() == 2);
  CHECK(cluster.runs_of(3).size() == 1);
}

}  // namespace allot::test
