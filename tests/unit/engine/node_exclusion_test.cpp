// SPDX-License-Identifier: MIT
// What a driver does about a node that fails again and again: the whole way, from the ends to the next submissions.
#include <algorithm>
#include <atomic>

#include "tests/support/catch.h"
#include "tests/unit/engine/driven_batch.h"

namespace allot::test {

namespace {

using Nodes = std::vector<std::string>;

constexpr std::uint32_t kAfter = 3;

// So few at once that the driver has heard of every end before it submits more.
void set_up(DrivenBatch& batch) {
  batch.settings.retry.rules = parse_retry_rules("node_failed=9,lost=9,launch_failed=9").value();
  batch.settings.retry.exclude_node_after = kAfter;
  batch.settings.retry.max_running = 2;
}

std::size_t notices(const DrivenBatch& batch) {
  const auto& all = batch.observer.notices;
  return static_cast<std::size_t>(std::count_if(
      all.begin(), all.end(), [](const auto& text) { return text.find("is excluded") != std::string::npos; }));
}

}  // namespace

TEST_CASE("a node that fails so often in a row gets nothing of the later submissions, and that is told once") {
  const ExitClass how = GENERATE(ExitClass::node_failed, ExitClass::lost, ExitClass::launch_failed);
  DrivenBatch batch(plain_tasks(8));
  set_up(batch);
  FakeCluster cluster(2);
  cluster.nodes = {"good", "bad"};
  std::size_t at_bad = 0;
  // The first one shows that there is another node; the second one keeps that busy.
  cluster.behaviour = [&](const FakeTask& task) {
    if (task.node == "good") return task.step == 1 ? fake_goes_on() : FakeRun{};
    ++at_bad;
    return fake_end(how);
  };
  batch.when([&](const BatchProgress& progress) { return progress.running == 1 && notices(batch) > 0; },
             [&](BatchRun&) { cluster.finish(1); });
  CHECK(batch.run(cluster).all_done());
  CHECK(at_bad == kAfter);
  CHECK(notices(batch) == 1);
  CHECK(batch.observer.was_told("node bad is excluded from now on: 3 tasks in a row have failed there"));
  std::size_t failures = 0, with = 0;
  for (const auto& submission : cluster.submissions()) {
    CHECK(submission.excluded_nodes == (failures < kAfter ? Nodes{} : Nodes{"bad"}));
    with += submission.excluded_nodes.empty() ? 0 : 1;
    if (failures < kAfter && submission.steps.back() >= 2) ++failures;
  }
  CHECK(with > 0);
  // The next driver's reader finds it in the intents.
  std::size_t recorded = 0;
  for (const auto& record : batch.driver_records()) {
    const auto* intent = std::get_if<IntentRecord>(&record);
    if (intent != nullptr && intent->excluded_nodes == Nodes{"bad"}) ++recorded;
  }
  CHECK(recorded == with);
}

TEST_CASE("a task that ends well breaks the row, and 0 excludes no node at all") {
  const bool is_off = GENERATE(false, true);
  DrivenBatch batch(plain_tasks(12));
  set_up(batch);
  if (is_off) batch.settings.retry.exclude_node_after = 0;
  FakeCluster cluster(2);
  cluster.nodes = {"good", "bad"};
  std::size_t at_bad = 0;
  cluster.behaviour = [&](const FakeTask& task) {
    if (task.node == "good") return task.step == 1 ? fake_goes_on() : FakeRun{};
    ++at_bad;
    return is_off ? (at_bad <= 8 ? fake_end(ExitClass::lost) : FakeRun{})
                  : (at_bad % kAfter != 0 ? fake_end(ExitClass::lost) : FakeRun{});
  };
  batch.when([](const BatchProgress& progress) { return progress.done == 11 && progress.running == 1; },
             [&](BatchRun&) { cluster.finish(1); });
  CHECK(batch.run(cluster).all_done());
  CHECK(at_bad > 2 * kAfter);
  CHECK(notices(batch) == 0);
  for (const auto& submission : cluster.submissions()) CHECK(submission.excluded_nodes.empty());
}

TEST_CASE("the last node is never excluded, however often it fails") {
  DrivenBatch batch(plain_tasks(4));
  set_up(batch);
  FakeCluster cluster(2);
  cluster.nodes = {"a", "b"};
  Nodes ran_at;
  std::atomic<std::size_t> ended = 0;  // the tasks end in another thread
  cluster.behaviour = [&](const FakeTask& task) {
    if (task.step == 0 && task.attempt == 1) return fake_goes_on();
    ran_at.push_back(task.node);
    ++ended;
    return fake_end(ExitClass::lost);
  };
  // Until then only one of them has ended anything.
  batch.when([&](const BatchProgress& progress) { return progress.running == 1 && ended > kAfter; },
             [&](BatchRun&) {
               CHECK(notices(batch) == 0);
               cluster.finish(0, fake_end(ExitClass::lost));
             });
  const BatchResult result = batch.run(cluster);
  CHECK(result.by_class[static_cast<std::size_t>(ExitClass::lost)] == 4);
  CHECK(result.by_class[static_cast<std::size_t>(ExitClass::queueing_error)] == 0);
  CHECK(notices(batch) == 1);
  Nodes excluded;
  for (const auto& submission : cluster.submissions()) {
    CHECK(submission.excluded_nodes.size() <= 1);
    if (excluded.empty()) excluded = submission.excluded_nodes;
    CHECK(submission.excluded_nodes == excluded);
  }
  REQUIRE(excluded.size() == 1);
  const auto last = std::find(ran_at.rbegin(), ran_at.rend(), excluded.front());
  CHECK(std::distance(ran_at.rbegin(), last) > static_cast<std::ptrdiff_t>(kAfter));
}

}  // namespace allot::test
