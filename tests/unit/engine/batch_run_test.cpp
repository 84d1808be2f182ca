// SPDX-License-Identifier: MIT
// One driver through a fake distributor: what it submits, in which order, and what it records.
#include "engine/batch_run.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>

#include "protocol/limits_queue.h"
#include "tests/support/catch.h"
#include "tests/unit/engine/driven_batch.h"

namespace allot::test {

namespace {

using Kind = DependencyKind;

template <class T>
std::vector<T> records_of(const DrivenBatch& batch) {
  std::vector<T> found;
  for (const auto& record : batch.driver_records()) {
    if (const auto* one = std::get_if<T>(&record)) found.push_back(*one);
  }
  return found;
}

std::uint64_t count_of(const BatchResult& result, ExitClass exit_class) {
  return result.by_class[static_cast<std::size_t>(exit_class)];
}

}  // namespace

TEST_CASE("tasks of equal resources are one array, recorded before it is submitted") {
  DrivenBatch batch(plain_tasks(1000));
  FakeCluster cluster(4);
  std::size_t intents_seen = 0;
  cluster.refuse = [&](const Submission& submission) -> std::optional<Error> {
    // At this moment the ledger must have it.
    const Fold fold = batch.fold();
    const auto* known = fold.submission(submission.number);
    if (known != nullptr && known->intent.token == submission.token && known->intent.steps == submission.steps &&
        known->intent.id_base == submission.id_base) {
      ++intents_seen;
    }
    return std::nullopt;
  };
  const BatchResult result = batch.run(cluster);
  CHECK(result.all_done());
  CHECK_FALSE(result.trouble);
  CHECK(count_of(result, ExitClass::done) == 1000);
  REQUIRE(cluster.submissions().size() == 1);
  CHECK(intents_seen == 1);
  const Submission submission = cluster.submissions()[0];
  CHECK(submission.steps == StepRanges(0, 1000));
  CHECK(submission.is_array);
  CHECK(submission.step_origin == 0);
  CHECK(submission.attempt == 1);
  CHECK(batch.states() == std::string(1000, 'd'));
  CHECK(batch.fold().ended());
  CHECK(batch.detail(17).distributor_id == submission.id_base + "_17");
  CHECK(records_of<EndedRecord>(batch).at(0).reason == "all tasks ended");
  CHECK(batch.observer.last.done == 1000);
}

TEST_CASE("different resources are submissions of their own") {
  auto tasks = plain_tasks(6);
  tasks[1].resources.cores = 2;
  tasks[4].resources.cores = 2;
  DrivenBatch batch(tasks);
  FakeCluster cluster(8);
  CHECK(batch.run(cluster).all_done());
  const auto submissions = cluster.submissions();
  REQUIRE(submissions.size() == 2);
  CHECK(submissions[0].steps.size() == 4);
  CHECK(submissions[1].steps.ranges() == std::vector<StepRange>{{1, 1}, {4, 1}});
  CHECK(submissions[1].resources.cores == 2);
  CHECK(submissions[0].token != submissions[1].token);
}

TEST_CASE("a single task is no array") {
  DrivenBatch batch(plain_tasks(1), false);
  FakeCluster cluster;
  CHECK(batch.run(cluster).all_done());
  CHECK_FALSE(cluster.submissions().at(0).is_array);
  CHECK(batch.detail(0).distributor_id.size() == kIdBaseLength);
}

TEST_CASE("a distributor's limits split the work") {
  DrivenBatch batch(plain_tasks(100));
  FakeCluster cluster(2);
  SECTION("length of an array") {
    cluster.limits.max_array_length = 30;
    CHECK(batch.run(cluster).all_done());
    CHECK(cluster.submissions().size() == 4);
  }
  SECTION("tasks queued at once") {
    cluster.limits.max_queued = 7;
    CHECK(batch.run(cluster).all_done());
    for (const auto& submission : cluster.submissions()) CHECK(submission.steps.size() <= 7);
  }
  SECTION("no arrays at all") {
    cluster.refuse = [](const Submission& submission) -> std::optional<Error> {
      if (submission.is_array) return Error{ErrorCode::unsupported, "no arrays here"};
      return std::nullopt;
    };
    CHECK(batch.run(cluster).all_done());
    CHECK(cluster.submissions().size() == 100);
  }
  CHECK(batch.states() == std::string(100, 'd'));
  StepRanges all;
  std::uint64_t covered = 0;
  for (const auto& submission : cluster.submissions()) covered += submission.steps.size();
  CHECK(covered == 100);
}

TEST_CASE("a cluster that takes less at once than it had said gets smaller parts and is asked until there is room") {
  DrivenBatch batch(plain_tasks(20));
  FakeCluster cluster(2);
  // It learns of its limit of three by refusing, and says then what it has learnt.
  std::uint64_t accepted = 0, refused = 0;
  std::size_t longest = 0;
  cluster.limits.max_queued = 100;
  cluster.refuse = [&](const Submission& submission) -> std::optional<Error> {
    const std::uint64_t count = submission.steps.size();
    if (count > 3 || (count == 1 && refused % 3 == 1)) {
      ++refused;
      cluster.limits.max_queued = std::max<std::uint64_t>(1, count / 2);
      return Error{ErrorCode::no_room, "no room for " + std::to_string(count)};
    }
    longest = std::max(longest, static_cast<std::size_t>(count));
    accepted += count;
    return std::nullopt;
  };
  const BatchResult result = batch.run(cluster);
  CHECK(result.all_done());
  CHECK_FALSE(result.trouble);
  CHECK(refused >= 3);
  CHECK(longest <= 3);
  CHECK(accepted == 20);
  for (std::uint64_t step = 0; step < 20; ++step) CHECK(cluster.runs_of(step).size() == 1);
  CHECK(batch.states() == std::string(20, 'd'));
}

TEST_CASE("failures are told with their text, counted by class and shown in the result") {
  DrivenBatch batch(plain_tasks(20));
  FakeCluster cluster;
  cluster.behaviour = [](const FakeTask& task) {
    if (task.step == 3) return fake_end(ExitClass::error, 7, "no such thing");
    if (task.step == 5) return fake_end(ExitClass::signaled, 11);
    FakeRun run;
    run.wall_seconds = static_cast<double>(task.step);
    run.max_rss_bytes = 1000 - task.step;
    return run;
  };
  const BatchResult result = batch.run(cluster);
  CHECK(result.progress.done == 18);
  CHECK(result.progress.failed == 2);
  CHECK(count_of(result, ExitClass::error) == 1);
  CHECK(count_of(result, ExitClass::signaled) == 1);
  REQUIRE(result.highlights.failures().size() == 2);
  CHECK(result.highlights.failures()[0].exit_info.text == "no such thing");
  CHECK(result.highlights.slowest().at(0).step == 19);
  CHECK(result.highlights.biggest().size() == 3);
  REQUIRE(batch.observer.failures.size() == 2);
  CHECK_FALSE(batch.observer.failures[0].will_rerun);
  CHECK(cluster.runs_of(3).size() == 1);
  CHECK_FALSE(result.trouble);
}

TEST_CASE("dependents start after their causes, in the right case only") {
  // 0 done, 1 fails. 2 after 0 ok; 3 after 1 ok; 4 after 1 any; 5 after 1 not ok; 6 after 0 not ok; 7 after 3 any; 8
  // after 3 ok; 9 after 2 and 4.
  DrivenBatch batch(tasks_after({{},
                                 {},
                                 {{0, Kind::after_ok}},
                                 {{1, Kind::after_ok}},
                                 {{1, Kind::after_any}},
                                 {{1, Kind::after_not_ok}},
                                 {{0, Kind::after_not_ok}},
                                 {{3, Kind::after_any}},
                                 {{3, Kind::after_ok}},
                                 {{2, Kind::after_ok}, {4, Kind::after_ok}}}));
  FakeCluster cluster;
  cluster.behaviour = [](const FakeTask& task) { return task.step == 1 ? fake_end(ExitClass::error, 1) : FakeRun{}; };
  const BatchResult result = batch.run(cluster);
  CHECK(batch.states() == "dfdaddadad");
  CHECK(result.progress.abandoned == 3);
  CHECK(result.progress.ended() == 10);
  const auto abandoned = records_of<AbandonedRecord>(batch);
  REQUIRE(abandoned.size() == 3);
  for (const auto& record : abandoned) {
    if (record.step == 3) CHECK(record.cause_step == 1);
    if (record.step == 6) CHECK(record.cause_step == 0);
    if (record.step == 8) CHECK(record.cause_step == 3);
    CHECK(record.reason.find("step") != std::string::npos);
  }
}

TEST_CASE("random graphs: every task ends, and none before what it waits for") {
  std::mt19937 random(23);
  for (int round = 0; round < 20; ++round) {
    const std::uint32_t size = 2 + random() % 60;
    std::vector<std::vector<Dependency>> after(size);
    for (std::uint32_t step = 1; step < size; ++step) {
      for (std::uint32_t k = random() % 3; k > 0; --k) {
        after[step].push_back({static_cast<std::uint32_t>(random() % step), static_cast<Kind>(random() % 3)});
      }
    }
    std::vector<bool> fails(size);
    for (std::uint32_t step = 0; step < size; ++step) fails[step] = random() % 3 == 0;
    std::vector<std::uint32_t> order;
    DrivenBatch batch(tasks_after(after));
    FakeCluster cluster(1 + random() % 3);
    cluster.behaviour = [&](const FakeTask& task) {
      order.push_back(static_cast<std::uint32_t>(task.step));
      return fails[task.step] ? fake_end(ExitClass::error, 1) : FakeRun{};
    };
    const BatchResult result = batch.run(cluster);
    REQUIRE(result.progress.ended() == size);
    // The model: what runs follows from the causes alone.
    std::vector<char> model(size);
    for (std::uint32_t step = 0; step < size; ++step) {
      bool runs = true;
      for (const auto& dependency : after[step]) {
        const bool is_done = model[dependency.step] == 'd';
        runs = runs && judge_dependency(dependency.kind, is_done) == DependencyVerdict::satisfied;
      }
      model[step] = !runs ? 'a' : fails[step] ? 'f' : 'd';
    }
    REQUIRE(batch.states() == std::string(model.begin(), model.end()));
    for (std::size_t i = 0; i < order.size(); ++i) {
      for (const auto& dependency : after[order[i]]) {
        if (model[dependency.step] == 'a') continue;
        const auto cause = std::find(order.begin(), order.end(), dependency.step);
        REQUIRE(cause - order.begin() < static_cast<std::ptrdiff_t>(i));
      }
    }
  }
}

TEST_CASE("a lost run is repeated after its verdict, three times at most") {
  DrivenBatch batch(plain_tasks(3));
  FakeCluster cluster;
  const auto lost_class = GENERATE(ExitClass::lost, ExitClass::node_failed, ExitClass::preempted);
  int losses = 0;
  std::vector<std::uint32_t> attempts;
  SECTION("until it is done") {
    cluster.behaviour = [&](const FakeTask& task) {
      if (task.step != 1) return FakeRun{};
      attempts.push_back(task.attempt);
      return ++losses <= 2 ? fake_end(lost_class, 0, "its node is gone") : FakeRun{};
    };
    cluster.refuse = [&](const Submission& submission) -> std::optional<Error> {
      if (submission.number == 1) return std::nullopt;
      const auto verdicts = records_of<VerdictRecord>(batch);
      CHECK(verdicts.size() == submission.number - 1);
      CHECK(verdicts.back().key == RunKey{1, submission.number - 1, 0});
      CHECK(verdicts.back().exit_info.text == "its node is gone");
      return std::nullopt;
    };
    CHECK(batch.run(cluster).all_done());
    CHECK(attempts == std::vector<std::uint32_t>{1, 2, 3});
    CHECK(batch.states() == "ddd");
    CHECK(batch.fold().task(1).attempts == 3);
    CHECK(batch.observer.failures.size() == 2);
    CHECK(batch.observer.failures[0].will_rerun);
  }
  SECTION("and no more") {
    cluster.behaviour = [&](const FakeTask& task) { return task.step == 1 ? fake_end(lost_class) : FakeRun{}; };
    const BatchResult result = batch.run(cluster);
    CHECK(result.progress.failed == 1);
    CHECK(count_of(result, lost_class) == 1);
    CHECK(cluster.runs_of(1).size() == 4);
    CHECK_FALSE(batch.observer.failures.back().will_rerun);
  }
}

TEST_CASE("what no queue can ever run is a queueing error, with the reason") {
  auto tasks = plain_tasks(4);
  tasks[1].resources.cores = 99;
  tasks[2].resources.queue = "nowhere";
  tasks[3].after = {{1, Kind::after_not_ok}};
  DrivenBatch batch(tasks);
  QueueConfig queue;
  queue.name = "only";
  queue.limits["cores"] = {1, 4};
  batch.queues.push_back(std::make_unique<LimitsQueue>(queue));
  FakeCluster cluster;
  const BatchResult result = batch.run(cluster);
  CHECK(batch.states() == "dffd");
  CHECK(count_of(result, ExitClass::queueing_error) == 2);
  CHECK(batch.detail(1).exit_info.text.find("99") != std::string::npos);
  CHECK(batch.detail(2).exit_info.text == "cluster fake has no queue \"nowhere\"; it has only");
  CHECK(cluster.runs_of(1).empty());
}

TEST_CASE("where tasks wait long, what could not start is refused before, and the rest of its array is submitted") {
  TempDirectory directory;
  const std::string unwritable = "/etc/passwd/x";
  auto tasks = plain_tasks(10);
  tasks[1].cwd = directory.path() + "/missing";
  tasks[2].cwd = "/etc/passwd";
  tasks[3].stdin_path = "no such input";
  tasks[4].stdout_path = directory.path() + "/missing/out";
  tasks[5].stderr_path = unwritable;
  tasks[6].shell_line.clear();
  tasks[6].argv = {"/bin/true", std::string(131'072, 'x')};
  tasks[7].env = {{"LARGE", std::string(131'066, 'x')}};
  tasks[8].env = {{"FITS", std::string(131'000, 'x')}};
  tasks[8].cwd = directory.path();
  tasks[8].stdout_path = "new file";
  tasks[8].stderr_path = "/dev/fd/77";  // another file in each process
  tasks[9].cwd = directory.path() + "/missing";
  const bool is_checked = GENERATE(true, false);
  DrivenBatch batch(tasks);
  FakeCluster cluster;
  cluster.limits.checks_paths = is_checked;
  const BatchResult result = batch.run(cluster);
  if (!is_checked) {
    CHECK(result.all_done());
    return;
  }
  CHECK(batch.states() == "dfffffffdf");
  CHECK(count_of(result, ExitClass::queueing_error) == 8);
  REQUIRE(cluster.submissions().size() == 1);
  CHECK(cluster.submissions()[0].steps.size() == 2);
  const auto text = [&batch](std::uint64_t step) { return batch.detail(step).exit_info.text; };
  CHECK(text(1).find("working directory " + tasks[1].cwd) != std::string::npos);
  CHECK(text(1).find("check_paths = false") != std::string::npos);
  CHECK(text(9) == text(1));
  CHECK(text(2).find("/etc/passwd") != std::string::npos);
  CHECK(text(3).find("standard input") != std::string::npos);
  CHECK(text(4).find("standard output " + tasks[4].stdout_path) != std::string::npos);
  CHECK(text(5).find("standard error " + unwritable) != std::string::npos);
  CHECK(text(6).find("argument 1 has 131072 bytes") != std::string::npos);
  CHECK(text(7).find("variable LARGE") != std::string::npos);
}

TEST_CASE("a submission that the distributor refuses is a queueing error") {
  DrivenBatch batch(plain_tasks(2));
  FakeCluster cluster;
  cluster.refuse = [](const Submission&) -> std::optional<Error> {
    return Error{ErrorCode::fix_request, "no account of yours"};
  };
  const BatchResult result = batch.run(cluster);
  CHECK(count_of(result, ExitClass::queueing_error) == 2);
  CHECK(batch.detail(0).exit_info.text == "no account of yours");
  CHECK(batch.fold().submissions().at(0).error == "no account of yours");
}

TEST_CASE("a submission refused for the time being is repeated with its token") {
  DrivenBatch batch(plain_tasks(5));
  FakeCluster cluster;
  std::vector<std::string> tokens;
  cluster.refuse = [&](const Submission& submission) -> std::optional<Error> {
    tokens.push_back(submission.token);
    if (tokens.size() < 3) return Error{ErrorCode::retry_later, "the service is busy"};
    return std::nullopt;
  };
  CHECK(batch.run(cluster).all_done());
  CHECK(tokens.size() == 3);
  CHECK(std::count(tokens.begin(), tokens.end(), tokens[0]) == 3);
  CHECK(batch.observer.was_told("the service is busy"));
  CHECK(batch.fold().submissions().size() == 1);
}

TEST_CASE("after an unclear answer the distributor is asked what became of the submission") {
  DrivenBatch batch(plain_tasks(2));
  FakeCluster cluster;
  cluster.refuse = [](const Submission&) -> std::optional<Error> {
    return Error{ErrorCode::gave_up, "no answer in time"};
  };
  SECTION("it never took effect: the tasks may be submitted again, by a resume") {
    const BatchResult result = batch.run(cluster);
    REQUIRE(result.trouble);
    CHECK(result.trouble->message == "no answer in time");
    CHECK(result.unknown == 0);
    CHECK(batch.states() == "ww");
  }
  SECTION("not known: nothing is submitted twice") {
    cluster.reconcile_answer = [](const std::string&) { return Reconciliation{}; };
    const BatchResult result = batch.run(cluster);
    CHECK(result.unknown == 2);
    CHECK(batch.states() == "qq");
  }
  CHECK(records_of<EndedRecord>(batch).at(0).reason == "stopped: no answer in time");
}

TEST_CASE("a passing fault is told once and waited for, and one that stays ends the run") {
  DrivenBatch batch(plain_tasks(2));
  FakeCluster cluster(1);
  cluster.behaviour = [](const FakeTask& task) { return task.step == 0 ? fake_goes_on() : FakeRun{}; };
  int faults = 0;
  SECTION("it passes") {
    cluster.event_fault = [&]() -> std::optional<Error> {
      if (++faults == 1) return Error{ErrorCode::retry_later, "no space left"};
      return std::nullopt;
    };
    bool is_finished = false;
    batch.observer.on_progress = [&](const BatchProgress& progress) {
      if (faults < 2 || progress.running == 0 || is_finished) return;
      is_finished = true;
      cluster.finish(0);
    };
    CHECK(batch.run(cluster).all_done());
    CHECK(std::count_if(batch.observer.notices.begin(), batch.observer.notices.end(),
                        [](const auto& text) { return text.find("no space left") == 0; }) == 1);
  }
  SECTION("it stays") {
    batch.settings.trouble_patience = std::chrono::milliseconds(100);
    cluster.behaviour = nullptr;
    cluster.limits.max_queued = 1;
    cluster.refuse = [&](const Submission& submission) -> std::optional<Error> {
      if (submission.number == 1) return std::nullopt;
      return Error{ErrorCode::retry_later, "full"};
    };
    cluster.event_fault = [] { return std::optional<Error>(Error{ErrorCode::retry_later, "no space left"}); };
    const BatchResult result = batch.run(cluster);
    REQUIRE(result.trouble);
    CHECK(result.trouble->message == "no space left");
    CHECK(batch.fold().ended());
  }
}

TEST_CASE("a distributor that breaks ends the run in words, and what ran is in the ledger") {
  DrivenBatch batch(plain_tasks(3));
  FakeCluster cluster(1);
  cluster.behaviour = [](const FakeTask&) { return fake_goes_on(); };
  int asked = 0;
  cluster.event_fault = [&]() -> std::optional<Error> {
    if (++asked < 3) return std::nullopt;
    return Error{ErrorCode::gave_up, "the worker cannot be started"};
  };
  batch.observer.on_progress = [&](const BatchProgress&) {
    if (asked == 4) cluster.lose_everything();
  };
  const BatchResult result = batch.run(cluster);
  REQUIRE(result.trouble);
  CHECK(result.trouble->message == "the worker cannot be started");
  CHECK(batch.states() == "rqq");
}

TEST_CASE("a batch that another driver has taken is left without a word in its ledger") {
  DrivenBatch batch(plain_tasks(2));
  batch.settings.fence_interval = std::chrono::milliseconds(20);
  FakeCluster cluster(1);
  cluster.behaviour = [](const FakeTask&) { return fake_goes_on(); };
  bool is_taken = false;
  batch.observer.on_progress = [&](const BatchProgress& progress) {
    if (progress.running == 0 || is_taken) return;
    is_taken = true;
    const std::string epochs = batch.directory().path() + "/epochs/";
    auto json = nlohmann::json::parse(read_file(epochs + "1").value());
    json["epoch"] = 2;
    REQUIRE(write_file_durably(epochs + "2", json.dump()));
  };
  const BatchResult result = batch.run(cluster);
  REQUIRE(result.trouble);
  CHECK(result.trouble->message.find("has taken the batch over") != std::string::npos);
  CHECK(records_of<EndedRecord>(batch).empty());
}

TEST_CASE("a batch that was removed is left, even if no task of it ends") {
  DrivenBatch batch(plain_tasks(2));
  batch.settings.fence_interval = std::chrono::milliseconds(20);
  FakeCluster cluster(1);
  cluster.outlives_stop = true;  // it writes nothing where nothing is
  cluster.behaviour = [](const FakeTask&) { return fake_goes_on(); };
  batch.observer.on_progress = [&](const BatchProgress& progress) {
    if (progress.running > 0) std::filesystem::remove_all(batch.directory().path());
  };
  const BatchResult result = batch.run(cluster);
  REQUIRE(result.trouble);
  CHECK(result.trouble->code == ErrorCode::gone);
  CHECK(result.trouble->message.find("was removed while tasks ran") != std::string::npos);
}

}  // namespace allot::test
