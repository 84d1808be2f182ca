// SPDX-License-Identifier: MIT
// Tasks that do not start before their time, whatever else they wait for.
#include "engine/driver_log.h"
#include "tests/support/catch.h"
#include "tests/unit/engine/driven_batch.h"

namespace allot::test {

namespace {

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kHour = 3600 * kSecond;

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

auto done(std::uint64_t count) {
  return [count](const BatchProgress& progress) { return progress.done >= count; };
}

}  // namespace

TEST_CASE("tasks start at their time and not before, in any order of the times, and the others do not wait") {
  auto tasks = plain_tasks(6);
  const std::int64_t now = unix_nanoseconds();
  tasks[0].begin_ns = now + kSecond / 2;
  tasks[1].begin_ns = tasks[3].begin_ns = now + kSecond / 4;
  tasks[2].begin_ns = now - kHour;
  DrivenBatch batch(tasks);
  FakeCluster cluster(6);
  std::vector<std::uint64_t> order;
  cluster.behaviour = [&](const FakeTask& task) {
    CHECK(unix_nanoseconds() >= tasks[task.step].begin_ns);
    order.push_back(task.step);
    return FakeRun{};
  };
  const BatchResult result = batch.run(cluster);
  CHECK(result.all_done());
  CHECK(order == std::vector<std::uint64_t>{2, 4, 5, 1, 3, 0});
  // Those of one time are one array.
  CHECK(cluster.submissions().size() == 3);
  CHECK(batch.states() == "dddddd");
}

TEST_CASE("a task that waits for its time says so, is held and released, and goes on waiting") {
  auto tasks = plain_tasks(3);
  tasks[1].begin_ns = tasks[2].begin_ns = unix_nanoseconds() + kHour;
  DrivenBatch batch(tasks);
  FakeCluster cluster;
  std::vector<std::string> told;
  batch.when(done(1), [&](BatchRun& run) {
    TaskSelection one;
    one.steps.emplace(1, 1);
    told.push_back(run.explain(1));
    CHECK(run.hold(one) == 1);
    told.push_back(run.explain(1));
    CHECK(run.release(one) == 1);
    told.push_back(run.explain(1));
    CHECK_FALSE(run.is_over());
    batch.when(done(1), [&, one](BatchRun& later) {
      CHECK(later.under_way() == 0);
      CHECK(later.cancel(one, std::chrono::milliseconds(0)).withdrawn == 1);
      batch.stop.request();
    });
  });
  batch.run(cluster);
  REQUIRE(told.size() == 3);
  CHECK(has(told[0], "it is not to start before "));
  CHECK(has(told[1], "it is held; allot release lets it go on, and it is not to start before "));
  CHECK(told[2] == told[0]);
  CHECK(batch.states() == "dfw");
  CHECK(cluster.submissions().size() == 1);
}

TEST_CASE("the next driver knows the times, too") {
  auto tasks = plain_tasks(4);
  tasks[1].begin_ns = unix_nanoseconds() + kHour;
  tasks[2].begin_ns = unix_nanoseconds() + kSecond / 5;
  DrivenBatch batch(tasks);
  FakeCluster cluster;
  batch.when([](const BatchProgress&) { return true; }, [&](BatchRun&) { batch.stop.request(); });
  batch.run(cluster);
  batch.observer.on_progress = {};
  FakeCluster other;
  other.behaviour = [&](const FakeTask& task) {
    CHECK(unix_nanoseconds() >= tasks[task.step].begin_ns);
    return FakeRun{};
  };
  std::string told;
  batch.when(done(3), [&](BatchRun& run) {
    told = run.explain(1);
    batch.stop.request();
  });
  batch.resume(other);
  CHECK(has(told, "it is not to start before "));
  CHECK(batch.states() == "dwdd");
}

TEST_CASE("a task with both waits for the others and for its time") {
  const bool is_time_first = GENERATE(true, false);
  CAPTURE(is_time_first);
  auto tasks = tasks_after({{}, {{0, DependencyKind::after_ok}}, {{1, DependencyKind::after_any}}});
  const std::int64_t begin = unix_nanoseconds() + kSecond / 3;
  tasks[1].begin_ns = begin;
  DrivenBatch batch(tasks);
  FakeCluster cluster;
  bool is_free = !is_time_first;
  cluster.behaviour = [&](const FakeTask& task) {
    if (task.step == 0 && !is_free) return fake_goes_on();
    if (task.step == 1) {
      CHECK(unix_nanoseconds() >= begin);
      CHECK(is_free);
    }
    return FakeRun{};
  };
  std::string told;
  if (is_time_first) {
    batch.when([](const BatchProgress& progress) { return progress.running == 1; },
               [&](BatchRun& run) {
                 told = run.explain(1);
                 batch.when([&](const BatchProgress&) { return unix_nanoseconds() > begin; },
                            [&](BatchRun&) {
                              is_free = true;
                              cluster.finish(0);
                            });
               });
  }
  CHECK(batch.run(cluster).all_done());
  CHECK(batch.states() == "ddd");
  if (is_time_first) CHECK(has(told, "it waits for the end of step 0"));
}

TEST_CASE("what is abandoned because of another task does not wait for its time") {
  auto tasks = tasks_after({{}, {{0, DependencyKind::after_ok}}, {}});
  tasks[1].begin_ns = unix_nanoseconds() + kHour;
  DrivenBatch batch(tasks);
  FakeCluster cluster;
  cluster.behaviour = [](const FakeTask& task) { return task.step == 0 ? fake_end(ExitClass::error, 1) : FakeRun{}; };
  batch.run(cluster);
  CHECK(batch.states() == "fad");
}

TEST_CASE("what waits to run again waits for its time as before") {
  auto tasks = plain_tasks(1);
  tasks[0].begin_ns = unix_nanoseconds() + kSecond / 5;
  DrivenBatch batch(tasks, false);
  batch.settings.retry.rules = parse_retry_rules("error=1:50ms").value();
  FakeCluster cluster;
  std::vector<std::int64_t> starts;
  cluster.behaviour = [&](const FakeTask&) {
    starts.push_back(unix_nanoseconds());
    return starts.size() == 1 ? fake_end(ExitClass::error, 1) : FakeRun{};
  };
  CHECK(batch.run(cluster).all_done());
  REQUIRE(starts.size() == 2);
  CHECK(starts[0] >= tasks[0].begin_ns);
  CHECK(starts[1] - starts[0] >= 50'000'000);
}

}  // namespace allot::test
