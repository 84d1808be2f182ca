// SPDX-License-Identifier: MIT
// What a plugin owes before anything is started.
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <set>

#include "tests/contract/session.h"
#include "tests/support/catch.h"

extern char** environ;

namespace allot::contract {

TEST_CASE("a plugin says who it is and documents its parameters", "[plugin]") {
  Plugin& plugin = *harness().plugin;
  CHECK(plugin.name() == harness().traits.name);
  CHECK_FALSE(std::string(plugin.description()).empty());
  CHECK(std::string(plugin.description()).find('\n') == std::string::npos);
  std::set<std::string> names;
  for (const auto& spec : plugin.parameter_specs()) {
    INFO("parameter " << spec.name);
    CHECK(names.insert(spec.name).second);
    CHECK_FALSE(spec.documentation.empty());
  }
}

TEST_CASE("a plugin's probe finds the environment that the suite runs in", "[plugin]") {
  const auto before = std::chrono::steady_clock::now();
  const ProbeResult probe = harness().plugin->probe(make_config());
  CHECK(std::chrono::steady_clock::now() - before < bound(std::chrono::seconds(5)));
  INFO(probe.text);
  CHECK(probe.usable);
  CHECK_FALSE(probe.text.empty());
}

TEST_CASE("a distributor knows its cluster and its worker node before start", "[plugin]") {
  const auto distributor = make_distributor();
  CHECK(distributor->cluster_name() == "contract");
  const std::string program = distributor->worker_node_entry_point();
  INFO(program);
  REQUIRE(program.size() > 1);
  CHECK(program[0] == '/');
  CHECK(::access(program.c_str(), X_OK) == 0);
  CHECK(distributor->limits().max_array_length >= 1);
  CHECK(distributor->limits().max_array_length <= kMaxArrayStep + 1);
}

TEST_CASE("before start every call but the descriptions answers gone", "[plugin][lifecycle]") {
  Batch batch;
  const Submission submission = batch.single_line("true");
  const auto distributor = make_distributor();
  CHECK(must_fail(distributor->submit(submission)).code == ErrorCode::gone);
  CHECK(must_fail(distributor->submit_to_batch_distributor("true", "n", {})).code == ErrorCode::gone);
  CHECK(must_fail(distributor->submit_array_to_batch_distributor("true", "n", {}, 1)).code == ErrorCode::gone);
  CHECK(must_fail(distributor->terminate_task_instances({"0123456789ab"})).code == ErrorCode::gone);
  CHECK(must_fail(distributor->hold({"0123456789ab"})).code == ErrorCode::gone);
  CHECK(must_fail(distributor->release({"0123456789ab"})).code == ErrorCode::gone);
  CHECK(batch.fold().task(0).attempts == 0);
}

TEST_CASE("the worker node command runs the steps of a batch by hand", "[plugin]") {
  Batch batch;
  const auto first = batch.add_line("echo by hand $ALLOT_TASK_NAME");
  const auto untouched = batch.add_line("echo not asked for > never");
  const auto second = batch.add_line("exit 3");
  StepRanges steps(first, 1);
  steps.append(second);
  const auto distributor = make_distributor();
  // A user's own job script does with it what a driver does before it submits.
  record_intent(batch.submission(steps, true));
  const auto command = must(distributor->build_worker_node_command(batch.path(), steps));
  REQUIRE_FALSE(command.empty());
  CHECK(command[0] == distributor->worker_node_entry_point());

  std::vector<char*> argv;
  for (const auto& argument : command) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  pid_t pid = 0;
  REQUIRE(::posix_spawn(&pid, argv[0], nullptr, nullptr, argv.data(), environ) == 0);
  int status = 0;
  REQUIRE(::waitpid(pid, &status, 0) == pid);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);  // that of the worker node, which never stands in for the tasks'

  const Fold fold = batch.fold();
  REQUIRE(fold.task(first).state == TaskState::done);
  CHECK(fold.task(second).state == TaskState::failed);
  CHECK(fold.task(second).exit_class == ExitClass::error);
  CHECK(fold.task(second).number == 3);
  CHECK(fold.task(untouched).attempts == 0);
  CHECK_FALSE(exists(batch.cwd() + "/never"));
  CHECK(batch.output(first).substr(0, 7) == "by hand");
}

TEST_CASE("steps that are run by hand are not run by hand a second time at once", "[plugin]") {
  Rendezvous rendezvous;
  rendezvous.make_gate("gate");
  Batch batch;
  batch.add_line(rendezvous.arrive("first") + "; " + rendezvous.wait_at("gate"));
  batch.add_line("echo ran >> ran");
  const auto distributor = make_distributor();
  record_intent(batch.submission(StepRanges(0, 2), true));
  const auto start = [&](const StepRanges& steps) {
    const auto command = must(distributor->build_worker_node_command(batch.path(), steps));
    std::vector<char*> argv;
    for (const auto& argument : command) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    pid_t pid = 0;
    REQUIRE(::posix_spawn(&pid, argv[0], nullptr, nullptr, argv.data(), environ) == 0);
    return pid;
  };
  const auto status_of = [](pid_t pid) {
    int status = 0;
    REQUIRE(::waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  };
  // One slot: the second step waits behind the first one, and nothing is recorded of it yet.
  const pid_t one = start(StepRanges(0, 2));
  CHECK(rendezvous.next_arrival("the first step") == "first");
  const int refused = status_of(start(StepRanges(1, 1)));
  rendezvous.open_gate("gate");
  CHECK(refused == 1);
  CHECK(status_of(one) == 0);
  CHECK(read_lines(batch.cwd() + "/ran").size() == 1);
  CHECK(batch.fold().task(1).state == TaskState::done);
}

}  // namespace allot::contract
