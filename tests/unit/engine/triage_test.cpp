// SPDX-License-Identifier: MIT
// Tasks that go silent: the distributor does not have them any more and has told no end.
#include <atomic>

#include "tests/support/catch.h"
#include "tests/unit/engine/driven_batch.h"

namespace allot::test {

using Catch::Matchers::ContainsSubstring;

namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

constexpr auto kSome = [](const BatchProgress& progress) { return progress.running > 0; };

// Nothing runs again by itself, so that what is decided can be seen.
void set_rules(DrivenBatch& batch, const char* retries = "lost=0") {
  batch.settings.retry.rules = parse_retry_rules(retries).value();
  batch.settings.retry.triage = {milliseconds(5), milliseconds(20)};
}

std::vector<VerdictRecord> verdicts(const DrivenBatch& batch) {
  std::vector<VerdictRecord> found;
  for (const auto& record : batch.driver_records()) {
    if (const auto* verdict = std::get_if<VerdictRecord>(&record)) found.push_back(*verdict);
  }
  return found;
}

}  // namespace

TEST_CASE("a running task that vanished is lost with what each witness said") {
  DrivenBatch batch(plain_tasks(2));
  set_rules(batch);
  FakeCluster cluster;
  cluster.behaviour = [](const FakeTask& task) { return task.step == 1 ? fake_goes_on() : FakeRun{}; };
  batch.when([](const BatchProgress& progress) { return progress.running == 1 && progress.done == 1; },
             [&](BatchRun&) { cluster.vanish(1); });
  const BatchResult result = batch.run(cluster);
  CHECK(result.progress.failed == 1);
  CHECK(batch.states() == "df");
  CHECK(batch.fold().task(1).exit_class == ExitClass::lost);
  REQUIRE(verdicts(batch).size() == 1);
  const VerdictRecord verdict = verdicts(batch).front();
  CHECK(verdict.key.step == 1);
  CHECK(verdict.started);
  CHECK_THAT(verdict.exit_info.text, ContainsSubstring("records: it started at "));
  CHECK_THAT(verdict.exit_info.text,
             ContainsSubstring("and there is no end; distributor: it was not among what it has"));
  CHECK_THAT(verdict.exit_info.text, ContainsSubstring("is not known here"));
  CHECK(batch.detail(1).exit_info.text == verdict.exit_info.text);
}

TEST_CASE("a queued task that vanished is lost without a start and runs again") {
  DrivenBatch batch(plain_tasks(3));
  set_rules(batch, "lost=1");
  FakeCluster cluster(1);
  std::atomic<bool> is_first = true;
  cluster.behaviour = [&](const FakeTask& task) {
    return task.step == 0 && is_first.exchange(false) ? fake_goes_on() : FakeRun{};
  };
  batch.when(kSome, [&](BatchRun&) { cluster.vanish(2); });
  batch.when([&](const BatchProgress&) { return batch.observer.failures.size() == 1; },
             [&](BatchRun&) { cluster.finish(0); });
  const BatchResult result = batch.run(cluster);
  CHECK(result.progress.done == 3);
  CHECK(batch.states() == "ddd");
  REQUIRE(verdicts(batch).size() == 1);
  CHECK(verdicts(batch).front().key.step == 2);
  CHECK_FALSE(verdicts(batch).front().started);
  CHECK(cluster.runs_of(2) == std::vector<std::uint64_t>{2});
  CHECK(batch.fold().task(2).attempts == 1);
}

TEST_CASE("an end that was recorded and not told is taken from the record") {
  DrivenBatch batch(plain_tasks(2));
  set_rules(batch);
  FakeCluster cluster;
  cluster.is_mute = [](std::uint64_t step) { return step == 1; };
  cluster.behaviour = [](const FakeTask& task) { return task.step == 1 ? fake_end(ExitClass::error, 3) : FakeRun{}; };
  const BatchResult result = batch.run(cluster);
  CHECK(result.progress.done == 1);
  CHECK(batch.states() == "df");
  CHECK(batch.fold().task(1).exit_class == ExitClass::error);
  CHECK(verdicts(batch).empty());
  CHECK(batch.observer.was_told("step 1 has ended, by its record"));
}

TEST_CASE("a task that comes back in time is welcome") {
  DrivenBatch batch(plain_tasks(1));
  set_rules(batch);
  batch.settings.retry.triage.patience = hours(1);
  FakeCluster cluster;
  std::atomic<bool> is_hidden = true;
  cluster.is_hidden = [&](std::uint64_t) { return is_hidden.load(); };
  cluster.behaviour = [](const FakeTask&) { return fake_goes_on(); };
  BatchRun* run = nullptr;
  batch.when([&](const BatchProgress& progress) { return progress.running == 1; }, [&](BatchRun& it) { run = &it; });
  batch.when(
      [&](const BatchProgress&) { return run != nullptr && run->explain(0).find("went silent") != std::string::npos; },
      [&](BatchRun&) { is_hidden = false; });
  batch.when([&](const BatchProgress&) { return batch.observer.was_told("step 0: the distributor has it again"); },
             [&](BatchRun& it) {
               CHECK(it.explain(0) == "it runs");
               cluster.finish(0);
             });
  CHECK(batch.run(cluster).progress.done == 1);
  CHECK(verdicts(batch).empty());
}

TEST_CASE("a cluster that cannot be asked says nothing against a task") {
  DrivenBatch batch(plain_tasks(1));
  set_rules(batch);
  FakeCluster cluster;
  std::atomic<int> asked = 0;
  cluster.behaviour = [](const FakeTask&) { return fake_goes_on(); };
  cluster.snapshot_fault = [&]() -> std::optional<Error> {
    ++asked;
    return Error{ErrorCode::retry_later, "the controller is down"};
  };
  batch.when([&](const BatchProgress& progress) { return progress.running == 1 && asked > 20; },
             [&](BatchRun&) { cluster.finish(0); });
  CHECK(batch.run(cluster).progress.done == 1);
  CHECK(verdicts(batch).empty());
}

TEST_CASE("what the cluster knows of an end refines a verdict but never says done") {
  const bool says_done = GENERATE(false, true);
  DrivenBatch batch(plain_tasks(1));
  set_rules(batch);
  FakeCluster cluster;
  cluster.behaviour = [](const FakeTask&) { return fake_goes_on(); };
  cluster.remote_exit_info = [&](std::uint64_t) -> std::optional<ExitInfo> {
    return says_done ? fake_end(ExitClass::done).exit_info : fake_end(ExitClass::timed_out, 0, "TimeLimit").exit_info;
  };
  batch.when(kSome, [&](BatchRun&) { cluster.vanish(0); });
  CHECK(batch.run(cluster).progress.failed == 1);
  REQUIRE(verdicts(batch).size() == 1);
  const ExitInfo info = verdicts(batch).front().exit_info;
  CHECK(info.exit_class == (says_done ? ExitClass::lost : ExitClass::timed_out));
  CHECK_THAT(info.text, ContainsSubstring(says_done ? "it is said to have ended well" : "timed_out: TimeLimit"));
  CHECK(batch.fold().task(0).exit_class == info.exit_class);
}

TEST_CASE("a late end of a task that was given up replaces the loss and nothing runs twice") {
  DrivenBatch batch(plain_tasks(2));
  set_rules(batch);
  FakeCluster cluster;
  std::atomic<bool> is_hidden = true;
  cluster.is_hidden = [&](std::uint64_t step) { return step == 0 && is_hidden; };
  cluster.behaviour = [](const FakeTask&) { return fake_goes_on(); };
  batch.when([&](const BatchProgress& progress) { return progress.failed == 1; },
             [&](BatchRun&) {
               cluster.finish(0);
               cluster.finish(1);
             });
  const BatchResult result = batch.run(cluster);
  CHECK(result.progress.done == 2);
  CHECK(batch.states() == "dd");
  CHECK(cluster.runs_of(0).size() == 1);
}

TEST_CASE("a task that vanished while it was being cancelled does not keep its batch") {
  DrivenBatch batch(plain_tasks(1));
  set_rules(batch, "lost=3");
  FakeCluster cluster;
  cluster.behaviour = [](const FakeTask&) { return fake_goes_on(); };
  batch.when(kSome, [&](BatchRun& run) {
    cluster.vanish(0);
    run.cancel(TaskSelection{}, milliseconds(0));
  });
  CHECK(batch.run(cluster).progress.failed == 1);
  CHECK(cluster.runs_of(0).size() == 1);
}

}  // namespace allot::test
