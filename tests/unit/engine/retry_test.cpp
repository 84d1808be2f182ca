// SPDX-License-Identifier: MIT
// What a driver does about tasks that did not end well, and what the next driver makes of that.
#include "protocol/limits_queue.h"
#include "tests/support/catch.h"
#include "tests/unit/engine/driven_batch.h"

namespace allot::test {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

RetryRules rules(std::string_view text) {
  return parse_retry_rules(text).value();
}

std::vector<RetryRecord> decisions(const DrivenBatch& batch) {
  std::vector<RetryRecord> found;
  for (const auto& record : batch.driver_records()) {
    if (const auto* decision = std::get_if<RetryRecord>(&record)) found.push_back(*decision);
  }
  return found;
}

}  // namespace

TEST_CASE("a task that fails runs again as often as its rule says, and each decision is recorded first") {
  DrivenBatch batch(plain_tasks(2));
  batch.settings.retry.rules = rules("error=2");
  FakeCluster cluster;
  const int good_after = GENERATE(0, 1, 2, 3);
  std::vector<std::uint32_t> attempts;
  cluster.behaviour = [&](const FakeTask& task) {
    if (task.step != 1) return FakeRun{};
    attempts.push_back(task.attempt);
    return static_cast<int>(attempts.size()) <= good_after ? fake_end(ExitClass::error, 7) : FakeRun{};
  };
  cluster.refuse = [&](const Submission& submission) -> std::optional<Error> {
    CHECK(decisions(batch).size() == submission.number - 1);
    return std::nullopt;
  };
  const BatchResult result = batch.run(cluster);
  const auto runs = static_cast<std::size_t>(std::min(good_after, 2) + 1);
  CHECK(attempts.size() == runs);
  CHECK(attempts.back() == runs);
  CHECK(result.progress.failed == (good_after == 3 ? 1u : 0u));
  CHECK(batch.states() == (good_after == 3 ? "df" : "dd"));
  CHECK(batch.fold().task(1).attempts == runs);
  CHECK(batch.fold().damage().empty());
  CHECK(result.highlights.failures().size() == result.progress.failed);
  const auto made = decisions(batch);
  REQUIRE(made.size() == runs - 1);
  for (std::size_t i = 0; i < made.size(); ++i) {
    CHECK(made[i].because == ExitClass::error);
    CHECK(made[i].retry == i + 1);
    CHECK(made[i].key.submission == i + 1);
  }
}

TEST_CASE("budgets are kept by class, and losses do not count as failures of the task") {
  DrivenBatch batch(plain_tasks(1), false);
  batch.settings.retry.rules = rules("error=1,lost=2");
  FakeCluster cluster;
  const std::vector<ExitClass> ends = {ExitClass::lost, ExitClass::error, ExitClass::lost, ExitClass::error};
  std::size_t run = 0;
  cluster.behaviour = [&](const FakeTask&) { return fake_end(ends.at(run++), 1); };
  const BatchResult result = batch.run(cluster);
  CHECK(run == 4);
  CHECK(result.by_class[static_cast<std::size_t>(ExitClass::error)] == 1);
}

TEST_CASE("a delay is waited for, and what waits is neither queued nor forgotten") {
  DrivenBatch batch(plain_tasks(1), false);
  batch.settings.retry.rules = rules("error=2:100ms:2");
  FakeCluster cluster;
  std::vector<std::chrono::steady_clock::time_point> starts;
  cluster.behaviour = [&](const FakeTask&) {
    starts.push_back(std::chrono::steady_clock::now());
    return starts.size() < 3 ? fake_end(ExitClass::error, 1) : FakeRun{};
  };
  CHECK(batch.run(cluster).all_done());
  REQUIRE(starts.size() == 3);
  CHECK(starts[1] - starts[0] >= milliseconds(100));
  CHECK(starts[2] - starts[1] >= milliseconds(200));
}

TEST_CASE("a task's own rules go before the cluster's, and exit codes may be fatal") {
  auto tasks = plain_tasks(4);
  tasks[1].retry = to_text(rules("error=1"));
  tasks[2].retry = to_text(rules("7=fatal"));
  tasks[3].retry = to_text(rules("7=retry"));
  DrivenBatch batch(tasks);
  batch.settings.retry.rules = rules("error=2");
  FakeCluster cluster;
  std::vector<int> runs(4);
  cluster.behaviour = [&](const FakeTask& task) {
    ++runs[task.step];
    return fake_end(ExitClass::error, 7);
  };
  CHECK(batch.run(cluster).progress.failed == 4);
  CHECK(runs == std::vector<int>{3, 2, 1, 3});
}

TEST_CASE("what ran out of memory asks for more, from the measured peak, and goes on to a queue that has it") {
  auto tasks = plain_tasks(2);
  tasks[1].resources.memory_bytes = 1000;
  DrivenBatch batch(tasks);
  for (const auto& [name, most] :
       std::vector<std::pair<std::string, std::uint64_t>>{{"small", 2000}, {"large", 4000}}) {
    QueueConfig config;
    config.name = name;
    config.limits["memory_bytes"] = {1, most};
    batch.queues.push_back(std::make_unique<LimitsQueue>(config));
  }
  batch.settings.retry.rules = rules("out_of_memory=5");
  batch.settings.retry.fallback_queues = {"large"};
  FakeCluster cluster;
  std::vector<std::pair<std::uint64_t, std::string>> asked;
  cluster.behaviour = [&](const FakeTask& task) {
    if (task.step == 0) return FakeRun{};
    const std::uint64_t memory = task.resources.memory_bytes.value();
    asked.emplace_back(memory, task.resources.queue);
    FakeRun run = fake_end(ExitClass::out_of_memory);
    run.max_rss_bytes = 2 * memory;
    return run;
  };
  const BatchResult result = batch.run(cluster);
  CHECK(asked == std::vector<std::pair<std::uint64_t, std::string>>{{1000, ""}, {2400, "large"}, {4000, "large"}});
  CHECK(result.progress.failed == 1);
  CHECK(batch.observer.was_told("no queue gives more than it has asked for"));
  CHECK(batch.detail(1).retry->resources.memory_bytes == 4000);
  // Why it is not run a fourth time can be read later, too.
  std::string told;
  for (const auto& record : batch.driver_records()) {
    if (const auto* verdict = std::get_if<VerdictRecord>(&record)) told = verdict->exit_info.text;
  }
  CHECK(told == "it is not run again: no queue gives more than it has asked for");
  CHECK(batch.fold().task(1).exit_class == ExitClass::out_of_memory);
  CHECK(batch.fold().damage().empty());
}

TEST_CASE("budgets, delays and grown requests outlive the driver") {
  auto tasks = plain_tasks(1);
  tasks[0].resources.runtime_milliseconds = 1000;
  DrivenBatch batch(tasks, false);
  batch.settings.retry.rules = rules("timed_out=2");
  FakeCluster cluster;
  std::vector<std::int64_t> asked;
  cluster.behaviour = [&](const FakeTask& task) {
    asked.push_back(task.resources.runtime_milliseconds.value());
    if (asked.size() == 2) batch.stop.request();
    return asked.size() == 2 ? fake_goes_on() : fake_end(ExitClass::timed_out);
  };
  CHECK(batch.run(cluster).by_class[static_cast<std::size_t>(ExitClass::killed)] == 1);
  CHECK(asked == std::vector<std::int64_t>{1000, 1500});
  // The one that was killed runs again with what it was given; of its budget one is left.
  const BatchResult result = batch.resume(cluster);
  CHECK(asked == std::vector<std::int64_t>{1000, 1500, 1500, 2250});
  CHECK(result.progress.failed == 1);
  CHECK(batch.fold().damage().empty());
}

TEST_CASE("a decision that nobody acted on is acted on by the next driver, not before its time") {
  DrivenBatch batch(plain_tasks(2));
  batch.settings.retry.rules = rules("error=1:300ms");
  FakeCluster cluster;
  std::vector<std::chrono::steady_clock::time_point> starts;
  cluster.behaviour = [&](const FakeTask& task) {
    if (task.step == 0) return FakeRun{};
    starts.push_back(std::chrono::steady_clock::now());
    return starts.size() == 1 ? fake_end(ExitClass::error, 1) : FakeRun{};
  };
  bool is_stopped = false;
  batch.observer.on_progress = [&](const BatchProgress& progress) {
    if (!is_stopped && progress.done == 1 && progress.waiting == 1 && starts.size() == 1) {
      is_stopped = true;
      batch.stop.request();
    }
  };
  CHECK(batch.run(cluster).progress.waiting == 1);
  CHECK(batch.states() == "dw");
  batch.observer.on_progress = {};
  CHECK(batch.resume(cluster).all_done());
  REQUIRE(starts.size() == 2);
  CHECK(starts[1] - starts[0] >= milliseconds(300));
}

TEST_CASE("of a failure about which nothing was decided, the next driver decides") {
  DrivenBatch batch(plain_tasks(2));
  FakeCluster cluster;
  int runs = 0;
  cluster.behaviour = [&](const FakeTask& task) {
    return task.step == 1 && ++runs == 1 ? fake_end(ExitClass::error, 1) : FakeRun{};
  };
  batch.run(cluster);
  CHECK(batch.states() == "df");
  batch.settings.retry.rules = rules("error=1");
  const BatchResult result = batch.resume(cluster);
  CHECK(result.all_done());
  CHECK(result.highlights.failures().empty());
  CHECK(runs == 2);
  CHECK(batch.resume(cluster).all_done());
  CHECK(runs == 2);
}

TEST_CASE("a budget that is used up stays so for every driver") {
  DrivenBatch batch(plain_tasks(2));
  batch.settings.retry.rules = rules("error=2");
  FakeCluster cluster;
  int runs = 0;
  cluster.behaviour = [&](const FakeTask& task) {
    if (task.step == 1) ++runs;
    return task.step == 1 ? fake_end(ExitClass::error, 1) : FakeRun{};
  };
  CHECK(batch.run(cluster).progress.failed == 1);
  CHECK(runs == 3);
  const BatchResult result = batch.resume(cluster);
  CHECK(result.progress.failed == 1);
  CHECK(result.highlights.failures().size() == 1);
  CHECK(runs == 3);
}

TEST_CASE("no more tasks than max_running are under way, over all submissions") {
  DrivenBatch batch(plain_tasks(20));
  batch.settings.retry.max_running = 3;
  FakeCluster cluster(8);
  cluster.limits.max_array_length = 2;
  CHECK(batch.run(cluster).all_done());
  CHECK(cluster.most_running() <= 3);
  CHECK(cluster.submissions().size() >= 10);
}

}  // namespace allot::test
