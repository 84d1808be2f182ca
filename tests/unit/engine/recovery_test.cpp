// SPDX-License-Identifier: MIT
// A second driver: what it adopts, what it finds lost, what it runs again and what it leaves alone.
#include "engine/recovery.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>

#include "ledger/record_file.h"
#include "tests/support/catch.h"
#include "tests/unit/engine/driven_batch.h"

namespace allot::test {

namespace {

using Kind = DependencyKind;

// Ends the driver by a fault of its distributor once `running` tasks run; the machine is as `leave` makes it then.
struct Interruption {
  Interruption(DrivenBatch& batch, FakeCluster& cluster, std::uint64_t running, std::function<void()> leave) {
    cluster.event_fault = [this]() -> std::optional<Error> {
      if (!is_due) return std::nullopt;
      return Error{ErrorCode::gone, "interrupted by the test"};
    };
    batch.observer.on_progress = [this, &batch, running, leave = std::move(leave)](const BatchProgress& progress) {
      if (is_due || progress.running < running || progress.queued == 0) return;
      is_due = true;
      leave();
      batch.observer.on_progress = nullptr;
    };
  }
  std::atomic<bool> is_due = false;
};

}  // namespace

TEST_CASE("after the machine was lost: ended tasks stay, runs without an end get a verdict, queued ones just run") {
  DrivenBatch batch(plain_tasks(10));
  FakeCluster cluster(2);
  cluster.behaviour = [](const FakeTask& task) {
    if (task.step == 0) return fake_end(ExitClass::error, 3);
    return task.step < 3 ? FakeRun{} : fake_goes_on();
  };
  {
    const Interruption interruption(batch, cluster, 2, [&] { cluster.lose_everything(); });
    const BatchResult first = batch.run(cluster);
    REQUIRE(first.trouble);
    CHECK(batch.states() == "fddrrqqqqq");
    cluster.event_fault = nullptr;
  }
  cluster.behaviour = nullptr;
  cluster.refuse = [&](const Submission& submission) -> std::optional<Error> {
    // The verdicts come first.
    const Fold fold = batch.fold();
    for (const std::uint64_t step : {3, 4}) {
      if (submission.steps.contains(step)) CHECK(fold.task(step).attempts == 1);
    }
    return std::nullopt;
  };
  const BatchResult second = batch.resume(cluster);
  CHECK_FALSE(second.trouble);
  CHECK(batch.states() == "fddddddddd");
  CHECK(second.progress.done == 9);
  CHECK(second.progress.failed == 1);
  CHECK(cluster.runs_of(0).size() == 1);
  CHECK(cluster.runs_of(1).size() == 1);
  CHECK(cluster.runs_of(3).size() == 2);
  CHECK(cluster.runs_of(9).size() == 1);
  std::vector<std::uint32_t> verdicts;
  for (const auto& record : batch.driver_records()) {
    if (const auto* verdict = std::get_if<VerdictRecord>(&record)) {
      verdicts.push_back(verdict->key.step);
      CHECK(verdict->exit_info.exit_class == ExitClass::lost);
      CHECK(verdict->exit_info.text.find("no end of it was recorded; the fake cluster does not have it") !=
            std::string::npos);
    }
  }
  CHECK(verdicts == std::vector<std::uint32_t>{3, 4});
  for (const auto& submission : cluster.submissions()) {
    if (submission.number > 1) CHECK(submission.attempt == (submission.steps.contains(3) ? 2 : 1));
  }
  CHECK(batch.fold().task(3).attempts == 2);
}

TEST_CASE("work that lives on is adopted: nothing is submitted twice and its events count") {
  DrivenBatch batch(plain_tasks(6));
  FakeCluster cluster(2);
  cluster.outlives_stop = true;
  cluster.behaviour = [](const FakeTask&) { return fake_goes_on(); };
  {
    const Interruption interruption(batch, cluster, 2, [] {});
    batch.run(cluster);
    cluster.event_fault = nullptr;
  }
  CHECK(batch.states() == "rrqqqq");
  cluster.behaviour = nullptr;
  bool is_finished = false;
  batch.observer.on_progress = [&](const BatchProgress& progress) {
    if (is_finished || progress.running != 2) return;
    is_finished = true;
    cluster.finish(0);
    cluster.finish(1);
  };
  const BatchResult result = batch.resume(cluster);
  CHECK(is_finished);
  CHECK(result.all_done());
  CHECK(cluster.submissions().size() == 1);
  CHECK(batch.states() == "dddddd");
  for (std::uint64_t step = 0; step < 6; ++step) CHECK(cluster.runs_of(step).size() == 1);
}

TEST_CASE("adopted work can be cancelled") {
  DrivenBatch batch(plain_tasks(6));
  FakeCluster cluster(2);
  cluster.outlives_stop = true;
  cluster.behaviour = [](const FakeTask&) { return fake_goes_on(); };
  {
    const Interruption interruption(batch, cluster, 2, [] {});
    batch.run(cluster);
    cluster.event_fault = nullptr;
  }
  batch.observer.on_progress = [&](const BatchProgress& progress) {
    if (progress.running == 2 && !progress.is_stopping) batch.stop.request();
  };
  const BatchResult result = batch.resume(cluster);
  CHECK(result.by_class[static_cast<std::size_t>(ExitClass::killed)] == 6);
  CHECK(batch.states() == "ffffff");
}

TEST_CASE("what is not known is not submitted again") {
  DrivenBatch batch(plain_tasks(4));
  batch.settings.reconcile_patience = std::chrono::milliseconds(1);
  FakeCluster cluster(1);
  cluster.behaviour = [](const FakeTask& task) { return task.step == 0 ? FakeRun{} : fake_goes_on(); };
  {
    const Interruption interruption(batch, cluster, 1, [&] { cluster.lose_everything(); });
    batch.run(cluster);
    cluster.event_fault = nullptr;
  }
  cluster.reconcile_answer = [](const std::string&) { return Reconciliation{}; };
  const std::size_t submitted = cluster.submissions().size();
  const BatchResult result = batch.resume(cluster);
  CHECK(result.unknown == 3);
  CHECK(result.progress.done == 1);
  CHECK_FALSE(result.all_done());
  CHECK(cluster.submissions().size() == submitted);
  CHECK(batch.states() == "drqq");
}

TEST_CASE("a cancelled batch is finished by resume") {
  DrivenBatch batch(tasks_after({{}, {}, {}, {{0, Kind::after_ok}}, {{1, Kind::after_ok}}}));
  FakeCluster cluster(2);
  cluster.behaviour = [](const FakeTask&) { return fake_goes_on(); };
  batch.observer.on_progress = [&](const BatchProgress& progress) {
    if (progress.running == 2 && !progress.is_stopping) batch.stop.request();
  };
  const BatchResult first = batch.run(cluster);
  CHECK(first.by_class[static_cast<std::size_t>(ExitClass::killed)] == 3);
  CHECK(batch.states() == "fffww");
  batch.observer.on_progress = nullptr;
  cluster.behaviour = nullptr;
  const BatchResult second = batch.resume(cluster);
  CHECK(second.all_done());
  CHECK(batch.states() == "ddddd");
  CHECK(batch.fold().task(0).attempts == 2);
  CHECK(batch.fold().task(2).attempts == 1);
}

TEST_CASE("tasks abandoned because of a lost one run once that one is done") {
  DrivenBatch batch(tasks_after({{}, {{0, Kind::after_ok}}, {{1, Kind::after_ok}}, {}, {{3, Kind::after_ok}}}));
  FakeCluster cluster;
  cluster.behaviour = [](const FakeTask& task) {
    if (task.step == 0) return fake_end(ExitClass::node_failed);
    return task.step == 3 ? fake_end(ExitClass::error, 1) : FakeRun{};
  };
  const BatchResult first = batch.run(cluster);
  CHECK(first.progress.abandoned == 3);
  CHECK(batch.states() == "faafa");
  cluster.behaviour = nullptr;
  const BatchResult second = batch.resume(cluster);
  CHECK(batch.states() == "dddfa");
  CHECK(second.progress.done == 3);
  CHECK(second.progress.abandoned == 1);
  std::size_t records = 0;
  for (const auto& record : batch.driver_records()) records += std::holds_alternative<AbandonedRecord>(record) ? 1 : 0;
  CHECK(records == 3);  // that the last one stays abandoned is not recorded again
}

TEST_CASE("a finished batch has nothing to resume") {
  DrivenBatch batch(plain_tasks(3));
  FakeCluster cluster;
  cluster.behaviour = [](const FakeTask& task) { return task.step == 1 ? fake_end(ExitClass::error, 1) : FakeRun{}; };
  batch.run(cluster);
  const std::size_t submitted = cluster.submissions().size();
  const BatchResult result = batch.resume(cluster);
  CHECK(result.progress.done == 2);
  CHECK(result.progress.failed == 1);
  CHECK(cluster.submissions().size() == submitted);
}

TEST_CASE("what one cluster could not take may run on the next") {
  DrivenBatch batch(plain_tasks(2));
  FakeCluster cluster;
  cluster.behaviour = [](const FakeTask& task) {
    return task.step == 1 ? fake_end(ExitClass::queueing_error) : FakeRun{};
  };
  CHECK(batch.run(cluster).progress.failed == 1);
  cluster.behaviour = {};
  CHECK(batch.resume(cluster).all_done());
}

TEST_CASE("the summary of a resumed batch names what ended before") {
  DrivenBatch batch(plain_tasks(4));
  FakeCluster cluster;
  cluster.behaviour = [](const FakeTask& task) {
    if (task.step == 1) return fake_end(ExitClass::error, 7);
    return task.step == 2 ? fake_end(ExitClass::killed) : FakeRun{};
  };
  batch.run(cluster);
  cluster.behaviour = [](const FakeTask&) { return fake_end(ExitClass::error, 8); };
  const BatchResult result = batch.resume(cluster);
  const auto& failures = result.highlights.failures();
  REQUIRE(failures.size() == 2);  // what was killed has run again
  CHECK(failures[0].step == 1);
  CHECK(failures[0].exit_info.exit_code == 7);
  CHECK(failures[1].step == 2);
  CHECK(failures[1].exit_info.exit_code == 8);
}

TEST_CASE("after a boot it is not known whether what was queued has run") {
  DrivenBatch batch(plain_tasks(4));
  FakeCluster cluster(1);
  cluster.behaviour = [](const FakeTask& task) { return task.step == 0 ? FakeRun{} : fake_goes_on(); };
  {
    const Interruption interruption(batch, cluster, 1, [&] { cluster.lose_everything(); });
    batch.run(cluster);
    cluster.event_fault = nullptr;
  }
  CHECK(batch.states() == "drqq");
  batch.pretend_crash_and_boot();
  cluster.behaviour = nullptr;
  const BatchResult result = batch.resume(cluster);
  CHECK(result.all_done());
  std::vector<std::pair<std::uint32_t, bool>> verdicts;
  for (const auto& record : batch.driver_records()) {
    if (const auto* verdict = std::get_if<VerdictRecord>(&record))
      verdicts.emplace_back(verdict->key.step, verdict->started);
  }
  CHECK(verdicts == std::vector<std::pair<std::uint32_t, bool>>{{1, true}, {2, false}, {3, false}});
  CHECK_FALSE(batch.detail(2).evidence.empty());
  CHECK(batch.states() == "dddd");
}

TEST_CASE("after a boot a driver that died before its verdicts makes nothing certain") {
  DrivenBatch batch(plain_tasks(4));
  FakeCluster cluster(1);
  cluster.behaviour = [](const FakeTask& task) { return task.step == 0 ? FakeRun{} : fake_goes_on(); };
  {
    const Interruption interruption(batch, cluster, 1, [&] { cluster.lose_everything(); });
    batch.run(cluster);
    cluster.event_fault = nullptr;
  }
  batch.pretend_boot_of_driver(1);
  // Of this boot, and gone before it had decided anything.
  batch.claim_and_die();
  cluster.behaviour = nullptr;
  const BatchResult result = batch.resume(cluster);
  CHECK(result.all_done());
  std::vector<std::uint32_t> verdicts;
  for (const auto& record : batch.driver_records()) {
    if (const auto* verdict = std::get_if<VerdictRecord>(&record)) verdicts.push_back(verdict->key.step);
  }
  CHECK(verdicts == std::vector<std::uint32_t>{1, 2, 3});
}

TEST_CASE("where records were damaged, what is queued may have run, and runs again only after a verdict") {
  DrivenBatch batch(plain_tasks(4));
  FakeCluster cluster(1);
  cluster.behaviour = [](const FakeTask& task) { return task.step < 2 ? FakeRun{} : fake_goes_on(); };
  {
    const Interruption interruption(batch, cluster, 1, [&] { cluster.lose_everything(); });
    batch.run(cluster);
    cluster.event_fault = nullptr;
  }
  CHECK(batch.states() == "ddrq");
  const auto hide = batch.damage_first_run();
  cluster.behaviour = nullptr;
  const BatchResult result = batch.resume(cluster);
  CHECK(result.all_done());
  const Fold fold = batch.fold();
  CHECK(fold.task(hide.step).attempts == 2);
  CHECK(fold.task(3).attempts == 2);
  bool is_told = false;
  for (const auto& line : batch.detail(hide.step).evidence) {
    is_told = is_told || line.find(hide.file + " is damaged at " + std::to_string(hide.offset)) != std::string::npos;
  }
  CHECK(is_told);
}

TEST_CASE("a number that only a run's records name is not given to another submission") {
  DrivenBatch batch(plain_tasks(2));
  FakeCluster cluster(1);
  RecordWriter writer = RecordWriter::open(batch.directory().record_path("host-9")).value();
  REQUIRE(writer.append(StartedRecord{{0, 41, 0}, 1, 1}));
  FinishedRecord finished;
  finished.key = {0, 41, 0};
  finished.exit_info.exit_class = ExitClass::done;
  REQUIRE(writer.append(finished));
  const BatchResult result = batch.resume(cluster);
  CHECK(result.all_done());
  REQUIRE(cluster.submissions().size() == 1);
  CHECK(cluster.submissions()[0].number == 42);
}

TEST_CASE("a batch whose table or environment lost something is not resumed") {
  DrivenBatch batch(plain_tasks(4));
  FakeCluster cluster(1);
  cluster.behaviour = [](const FakeTask&) { return fake_goes_on(); };
  {
    const Interruption interruption(batch, cluster, 1, [&] { cluster.lose_everything(); });
    batch.run(cluster);
    cluster.event_fault = nullptr;
  }
  const std::string index = batch.directory().task_index_path();
  REQUIRE(::truncate(index.c_str(), 3 * 8) == 0);
  auto error = batch.failing_resume(cluster);
  CHECK(error.code == ErrorCode::gave_up);
  CHECK(error.message.find(index + ": damaged: it names the rows of 3 tasks, and the batch has 4") == 0);
  const std::string environment = batch.directory().environment_path();
  REQUIRE(::truncate(environment.c_str(), 3) == 0);
  error = batch.failing_resume(cluster);
  CHECK(error.code == ErrorCode::gave_up);
  CHECK(error.message.find(environment + ": damaged") == 0);
}

TEST_CASE("a request to stop ends the asking") {
  DrivenBatch batch(plain_tasks(2));
  FakeCluster cluster(1);
  cluster.behaviour = [](const FakeTask&) { return fake_goes_on(); };
  {
    const Interruption interruption(batch, cluster, 1, [&] { cluster.lose_everything(); });
    batch.run(cluster);
    cluster.event_fault = nullptr;
  }
  cluster.reconcile_answer = [&](const std::string&) {
    batch.stop.request();
    return Reconciliation{};
  };
  const auto error = batch.failing_resume(cluster);
  CHECK(error.code == ErrorCode::gave_up);
  CHECK(error.message.find("interrupted") == 0);
}

}  // namespace allot::test
