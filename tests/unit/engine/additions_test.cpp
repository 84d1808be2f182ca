// SPDX-License-Identifier: MIT
// Tasks that a task adds to its own batch, and its further run.
#include <atomic>
#include <fstream>
#include <future>

#include "engine/addition.h"
#include "engine/delimited_reader.h"
#include "engine/task_source.h"
#include "protocol/distributor_id.h"
#include "tests/support/catch.h"
#include "tests/unit/engine/driven_batch.h"

namespace allot::test {

using Catch::Matchers::ContainsSubstring;

namespace {

// Asks from within the run of `step`, as allot add does.
std::string ask(const DrivenBatch& batch, FakeCluster& cluster, std::uint64_t step, std::uint64_t count, bool again,
                DependencyKind when = DependencyKind::after_ok, const std::string& name = {}) {
  AdditionRequest request;
  request.token = new_id_base().value();
  request.parent = cluster.id_of_running(step);
  request.name = name;
  request.cwd = batch.directory().info().cwd;
  request.again = again;
  request.when = when;
  auto source = make_command_source({"true"}, count, true);
  REQUIRE(post_addition(batch.directory(), request, *source));
  return request.token;
}

AdditionAnswer answer_of(const DrivenBatch& batch, const std::string& token) {
  const auto answer = find_answer(batch.directory(), token);
  if (!answer) FAIL(answer.error().message);
  REQUIRE(*answer);
  return **answer;
}

bool is_answered(const DrivenBatch& batch, const std::string& token) {
  const auto answer = find_answer(batch.directory(), token);
  return !answer || *answer;
}

constexpr auto kOneRuns = [](const BatchProgress& progress) { return progress.running == 1; };

}  // namespace

TEST_CASE("tasks that a running task adds run at once and are recorded") {
  DrivenBatch batch(plain_tasks(1), GENERATE(false, true));
  FakeCluster cluster;
  cluster.behaviour = [](const FakeTask& task) { return task.step == 0 ? fake_goes_on() : FakeRun{}; };
  std::string token;
  batch.when(kOneRuns, [&](BatchRun& run) {
    token = ask(batch, cluster, 0, 3, false);
    run.ask_for_additions();
  });
  batch.when([](const BatchProgress& progress) { return progress.done == 3; },
             [&](BatchRun&) {
               const AdditionAnswer answer = answer_of(batch, token);
               CHECK(answer.first_step == 1);
               CHECK(answer.count == 3);
               cluster.finish(0);
             });
  const BatchResult result = batch.run(cluster);
  CHECK(result.progress.total == 4);
  CHECK(batch.states() == "dddd");
  CHECK(batch.fold().additions().size() == 1);
  CHECK(cluster.runs_of(0).size() == 1);
  CHECK(is_answered(batch, token) == false);  // with the batch all of it is over
}

TEST_CASE("a task that has added tasks with again waits for them and runs in another round") {
  DrivenBatch batch(tasks_after({{}, {{0, DependencyKind::after_ok}}}));
  FakeCluster cluster(1);
  std::vector<std::uint32_t> rounds;
  cluster.behaviour = [&](const FakeTask& task) {
    if (task.step == 0) rounds.push_back(task.round);
    return task.step == 0 && task.round < 2 ? fake_goes_on() : FakeRun{};
  };
  for (const std::uint64_t round : {0, 1}) {
    batch.when(
        [&, round](const BatchProgress& progress) { return progress.running == 1 && progress.done == 2 * round; },
        [&](BatchRun& run) {
          ask(batch, cluster, 0, 2, true);
          run.ask_for_additions();
        });
    batch.when([&, round](const BatchProgress& progress) { return progress.total == 2 + 2 * (round + 1); },
               [&, round](BatchRun&) {
                 CHECK(cluster.runs_of(2 + 2 * round).empty());  // there is one slot, and the parent has it
                 cluster.finish(0);
               });
  }
  CHECK(batch.run(cluster).progress.done == 6);
  CHECK(batch.states() == "dddddd");
  CHECK(rounds == std::vector<std::uint32_t>{0, 1, 2});
  CHECK(batch.fold().task(0).attempts == 3);
  CHECK(batch.fold().damage().empty());
  // What is to run after it waits for its last round.
  CHECK(cluster.runs_of(1).front() > cluster.runs_of(0).back());
}

TEST_CASE("whether a task runs again when what it added failed is its own choice") {
  const DependencyKind when = GENERATE(DependencyKind::after_ok, DependencyKind::after_any);
  DrivenBatch batch(plain_tasks(1));
  FakeCluster cluster;
  cluster.behaviour = [&](const FakeTask& task) {
    if (task.step == 0) return task.round == 0 ? fake_goes_on() : FakeRun{};
    return task.step == 2 ? fake_end(ExitClass::error, 1) : FakeRun{};
  };
  batch.when(kOneRuns, [&](BatchRun& run) {
    ask(batch, cluster, 0, 2, true, when);
    run.ask_for_additions();
  });
  // Their end before its own or after it must not matter.
  const bool ends_first = GENERATE(false, true);
  batch.when(
      [&](const BatchProgress& progress) { return progress.total == 3 && (!ends_first || progress.ended() == 2); },
      [&](BatchRun&) { cluster.finish(0); });
  const BatchResult result = batch.run(cluster);
  CHECK(batch.states() == (when == DependencyKind::after_ok ? "adf" : "ddf"));
  CHECK(result.progress.abandoned == (when == DependencyKind::after_ok ? 1u : 0u));
  CHECK(cluster.runs_of(0).size() == (when == DependencyKind::after_ok ? 1u : 2u));

  // What failed is run again, with it what was abandoned.
  if (when != DependencyKind::after_ok) return;
  cluster.behaviour = {};
  batch.request.run_again = TaskSelection{};
  batch.request.leave_others = true;
  CHECK(batch.resume(cluster).progress.done == 3);
  CHECK(batch.states() == "ddd");
  CHECK(cluster.runs_of(0).size() == 2);
}

TEST_CASE("a driver that takes over knows what was added and for what a task waits") {
  DrivenBatch batch(plain_tasks(2));
  FakeCluster cluster(1);
  cluster.outlives_stop = true;
  cluster.behaviour = [&](const FakeTask& task) {
    return task.step < 2 && task.round == 0 ? fake_goes_on() : FakeRun{};
  };
  std::atomic<bool> is_gone = false;
  cluster.event_fault = [&]() -> std::optional<Error> {
    if (is_gone) return Error{ErrorCode::gone, "the test ends this driver"};
    return std::nullopt;
  };
  const bool ends_before = GENERATE(false, true);
  batch.when(kOneRuns, [&](BatchRun& run) {
    ask(batch, cluster, 0, 2, true);
    run.ask_for_additions();
  });
  batch.when([](const BatchProgress& progress) { return progress.total == 4; },
             [&](BatchRun&) {
               if (ends_before) cluster.finish(0);
               is_gone = true;
             });
  batch.run(cluster);
  CHECK(batch.states()[0] == (ends_before ? 'w' : 'r'));
  is_gone = false;
  batch.when([&](const BatchProgress& progress) { return progress.running == 1; },
             [&](BatchRun&) { cluster.finish(ends_before ? 1 : 0); });
  batch.when([&](const BatchProgress& progress) { return progress.running == 1 && cluster.runs_of(1).size() == 1; },
             [&](BatchRun&) {
               if (!ends_before) cluster.finish(1);
             });
  CHECK(batch.resume(cluster).progress.done == 4);
  CHECK(batch.states() == "dddd");
  CHECK(cluster.runs_of(0).size() == 2);
}

TEST_CASE("what was added once is not added again by a further run of the task") {
  DrivenBatch batch(plain_tasks(1));
  batch.settings.retry.rules = parse_retry_rules("error=1").value();
  FakeCluster cluster;
  cluster.behaviour = [](const FakeTask& task) {
    return task.step == 0 && task.round == 0 ? fake_goes_on() : FakeRun{};
  };
  std::vector<std::string> tokens;
  const auto add = [&](BatchRun& run) {
    tokens.push_back(ask(batch, cluster, 0, 2, true, DependencyKind::after_ok, "parts"));
    run.ask_for_additions();
  };
  batch.when(kOneRuns, add);
  batch.when([&](const BatchProgress& progress) { return progress.done == 2; },
             [&](BatchRun&) { cluster.finish(0, fake_end(ExitClass::error, 9)); });
  batch.when(
      [&](const BatchProgress& progress) { return progress.running == 1 && batch.observer.failures.size() == 1; }, add);
  batch.when([&](const BatchProgress&) { return tokens.size() == 2 && is_answered(batch, tokens[1]); },
             [&](BatchRun&) {
               CHECK(answer_of(batch, tokens[1]).was_there);
               CHECK(answer_of(batch, tokens[1]).first_step == 1);
               cluster.finish(0);
             });
  CHECK(batch.run(cluster).progress.done == 3);
  CHECK(cluster.runs_of(0).size() == 3);
  CHECK(batch.fold().size() == 3);
}

TEST_CASE("a request of a run that is not under way is refused and adds nothing") {
  DrivenBatch batch(plain_tasks(2));
  FakeCluster cluster;
  cluster.behaviour = [](const FakeTask&) { return fake_goes_on(); };
  std::string parent, token;
  batch.when([](const BatchProgress& progress) { return progress.running == 2; },
             [&](BatchRun&) {
               parent = cluster.id_of_running(0);
               cluster.finish(0);
             });
  batch.when([](const BatchProgress& progress) { return progress.done == 1; },
             [&](BatchRun& run) {
               AdditionRequest request;
               request.token = token = new_id_base().value();
               request.parent = parent;
               auto source = make_command_source({"true"}, 1, true);
               REQUIRE(post_addition(batch.directory(), request, *source));
               run.ask_for_additions();
             });
  batch.when([&](const BatchProgress&) { return !token.empty() && is_answered(batch, token); },
             [&](BatchRun&) {
               const auto answer = find_answer(batch.directory(), token);
               REQUIRE_FALSE(answer);
               CHECK_THAT(answer.error().message, ContainsSubstring("is no run of this batch that is under way"));
               cluster.finish(1);
             });
  CHECK(batch.run(cluster).progress.total == 2);
  CHECK(batch.fold().size() == 2);
}

TEST_CASE("a request whose tasks cannot be read is refused and the batch goes on") {
  DrivenBatch batch(plain_tasks(1));
  FakeCluster cluster;
  cluster.behaviour = [](const FakeTask&) { return fake_goes_on(); };
  const bool is_no_table = GENERATE(false, true);
  std::string token;
  batch.when(kOneRuns, [&](BatchRun& run) {
    token = ask(batch, cluster, 0, 2, false);
    const std::string path = addition_data_path(batch.directory(), token);
    std::string bytes = read_file(path).value();
    bytes[is_no_table ? 0 : bytes.size() - 1] ^= 1;
    REQUIRE(write_file_durably(path, bytes));
    run.ask_for_additions();
  });
  batch.when([&](const BatchProgress&) { return !token.empty() && is_answered(batch, token); },
             [&](BatchRun&) {
               const auto answer = find_answer(batch.directory(), token);
               REQUIRE_FALSE(answer);
               CHECK_THAT(answer.error().message, ContainsSubstring(token + ".data: "));
               cluster.finish(0);
             });
  const BatchResult result = batch.run(cluster);
  CHECK(result.progress.done == 1);
  CHECK_FALSE(result.trouble);
  CHECK(batch.fold().size() == 1);
}

TEST_CASE("a task that is cancelled while it waits for what it added has been killed") {
  DrivenBatch batch(plain_tasks(1));
  FakeCluster cluster(1);
  cluster.behaviour = [](const FakeTask& task) { return task.round == 0 ? fake_goes_on() : FakeRun{}; };
  batch.when(kOneRuns, [&](BatchRun& run) {
    ask(batch, cluster, 0, 1, true);
    run.ask_for_additions();
  });
  batch.when([](const BatchProgress& progress) { return progress.total == 2; }, [&](BatchRun&) { cluster.finish(0); });
  batch.when([&](const BatchProgress& progress) { return progress.running == 1 && cluster.runs_of(1).size() == 1; },
             [&](BatchRun& run) {
               TaskSelection selection;
               selection.steps = StepRanges(0, 1);
               CHECK(run.cancel(selection, std::chrono::milliseconds(0)).withdrawn == 1);
               cluster.finish(1);
             });
  batch.run(cluster);
  CHECK(batch.states() == "fd");
  CHECK(batch.fold().task(0).exit_class == ExitClass::killed);
  CHECK(batch.fold().task(0).attempts == 1);
}

TEST_CASE("a task that is being cancelled adds no more tasks") {
  DrivenBatch batch(plain_tasks(1));
  FakeCluster cluster(1);
  cluster.behaviour = [](const FakeTask&) { return fake_goes_on(); };
  std::string token;
  std::optional<Error> refusal;
  std::promise<void> answered;
  batch.when(kOneRuns, [&](BatchRun& run) {
    token = ask(batch, cluster, 0, 1, false);
    run.cancel({}, std::chrono::milliseconds(0));
    run.ask_for_additions();
  });
  batch.when([&](const BatchProgress&) { return !token.empty() && is_answered(batch, token); },
             [&](BatchRun&) {
               if (const auto answer = find_answer(batch.directory(), token); !answer) refusal = answer.error();
               answered.set_value();
             });
  // It lives until it has its answer.
  cluster.before_termination = [&, has_answer = answered.get_future().share()](const std::vector<std::string>&) {
    has_answer.wait_for(std::chrono::seconds(30));
  };
  batch.run(cluster);
  REQUIRE(refusal);
  CHECK_THAT(refusal->message, ContainsSubstring("step 0 is being cancelled"));
  CHECK(batch.fold().size() == 1);
  CHECK(batch.states() == "f");
}

TEST_CASE("what a held task adds is held until it is released, too") {
  DrivenBatch batch(plain_tasks(1));
  FakeCluster cluster(2);
  cluster.behaviour = [](const FakeTask& task) { return task.step == 0 ? fake_goes_on() : FakeRun{}; };
  batch.when(kOneRuns, [&](BatchRun& run) {
    run.hold({});
    ask(batch, cluster, 0, 2, false);
    run.ask_for_additions();
  });
  batch.when([](const BatchProgress& progress) { return progress.total == 3; }, [&](BatchRun&) { cluster.finish(0); });
  batch.when([](const BatchProgress& progress) { return progress.done == 1; },
             [&](BatchRun& run) {
               CHECK(run.explain(2).find("held") != std::string::npos);
               CHECK(cluster.runs_of(1).empty());
               CHECK(batch.fold().held() == 2);
               CHECK(run.release({}) >= 2);
             });
  batch.run(cluster);
  CHECK(batch.states() == "ddd");
}

TEST_CASE("dependencies among added tasks count and cannot reach beyond them") {
  DrivenBatch batch(plain_tasks(1));
  FakeCluster cluster;
  cluster.behaviour = [](const FakeTask& task) { return task.step == 0 ? fake_goes_on() : FakeRun{}; };
  batch.when(kOneRuns, [&](BatchRun& run) {
    AdditionRequest request;
    request.token = new_id_base().value();
    request.parent = cluster.id_of_running(0);
    TempDirectory directory;
    const std::string path = directory / "tasks";
    std::ofstream(path) << R"({"command": "true", "name": "last", "after": ["first"]}
{"command": "true", "name": "first"})";
    auto reader = DelimitedReader::open(path, '\n', -1);
    REQUIRE(reader);
    auto source = make_line_source(std::move(*reader), LineFormat::detect, "/");
    REQUIRE(source);
    REQUIRE(post_addition(batch.directory(), request, **source));
    run.ask_for_additions();
  });
  batch.when([](const BatchProgress& progress) { return progress.done == 2; }, [&](BatchRun&) { cluster.finish(0); });
  CHECK(batch.run(cluster).progress.done == 3);
  CHECK(cluster.runs_of(1).front() > cluster.runs_of(2).front());
}

}  // namespace allot::test
