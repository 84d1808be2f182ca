// SPDX-License-Identifier: MIT
// allot-element as a job script starts it, without a scheduler.
#include "worker_node/element.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "process/identity.h"
#include "tests/support/contract_rendezvous.h"
#include "tests/unit/worker_node/element_batch.h"

using namespace allot;
using Catch::Matchers::ContainsSubstring;
using contract::Rendezvous;
using contract::split_words;
using test::ElementBatch;
using test::ProgramOutcome;
using test::RunningProgram;
using States = std::vector<std::string>;

namespace {

// What every task of these tests that says where it is says: "STEP PID".
const char* const kHere = "$ALLOT_ARRAY_STEP_ID $$";

pid_t pid_of(const std::string& arrival) {
  return static_cast<pid_t>(std::stol(split_words(arrival).at(1)));
}

void check_status(const ProgramOutcome& outcome, int wanted) {
  INFO(outcome.err);
  CHECK(outcome.signal == 0);
  CHECK(outcome.exit_status == wanted);
}

// The guard of a task, which is its parent.
pid_t guard_of(pid_t task) {
  return ancestors_of(task).front();
}

void wait_until_gone(pid_t pid) {
  const Fd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!process) return;
  pollfd wait = {process.get(), POLLIN, 0};
  REQUIRE(::poll(&wait, 1, 60'000) == 1);
}

}  // namespace

TEST_CASE("an element runs the steps at its positions and no others") {
  StepRanges steps(0, 2);
  steps.append(5);
  steps.append_range(7, 2);  // 0 1 | 5 7 | 8
  const ElementBatch batch(std::vector<std::string>(10, "echo $ALLOT_ARRAY_STEP_ID"), steps);
  check_status(batch.run({"pack=2", "element=1"}), 0);
  CHECK(batch.states() ==
        States{"queued", "queued", "waiting", "waiting", "waiting", "done", "waiting", "done", "queued", "waiting"});
  check_status(batch.run({"element=2", "pack=2"}), 0);
  CHECK(batch.state(8) == "done");
  CHECK(batch.output(5) == "5\n");
  CHECK(batch.output(8) == "8\n");
  const ProgramOutcome beyond = batch.run({"pack=2", "element=3"});
  check_status(beyond, 2);
  CHECK_THAT(beyond.err, ContainsSubstring("no element 3 of submission 7: it has 5 steps, in packs of 2"));
  check_status(batch.run({"pack=4294967295", "element=4294967295"}), 2);
  check_status(batch.run({"pack=2"}), 0);
  CHECK(batch.fold().count(TaskState::done) == 5);
}

TEST_CASE("whatever becomes of the tasks an element that did its work has done its work") {
  const ElementBatch batch({"exit 3", "kill -9 $$", "/no/such/program", "true"});
  check_status(batch.run({"pack=4"}), 0);
  CHECK(batch.state(0) == "error (3)");
  CHECK(batch.state(1) == "signaled (9, SIGKILL)");
  CHECK(batch.detail(2).exit_info.exit_class != ExitClass::done);
  CHECK(batch.state(3) == "done");
}

TEST_CASE("an element runs as many steps at once as it has slots") {
  Rendezvous meet;
  meet.make_gates(3);
  // Each waits until both of the others have come.
  std::vector<std::string> lines;
  for (int i = 0; i < 3; ++i) lines.push_back(meet.arrive(kHere) + "; " + meet.wait_at(std::to_string(i)));
  const ElementBatch batch(lines);
  RunningProgram element(batch.element({"pack=3", "slots=3"}));
  for (int i = 0; i < 3; ++i) meet.next_arrival("a task");
  for (int i = 0; i < 3; ++i) meet.open_gate(std::to_string(i));
  check_status(element.finish(), 0);
  CHECK(batch.fold().count(TaskState::done) == 3);
}

TEST_CASE("an element runs no more steps at once than it has slots") {
  const ElementBatch batch(std::vector<std::string>(40, "mkdir \"$D\" && rmdir \"$D\""));
  // One directory for all: two at once, and one of them fails.
  REQUIRE(write_environment(batch.batch().environment_path(),
                            {{"PATH", "/usr/bin:/bin"}, {"D", batch.directory() + "/d"}}));
  check_status(batch.run({"pack=40", "slots=1"}), 0);
  CHECK(batch.fold().count(TaskState::done) == 40);
}

TEST_CASE("more steps than the queue holds are all run once") {
  const std::uint64_t count = kQueueCapacity + 200;
  const ElementBatch batch(std::vector<std::string>(count, "/no/such/program"));  // a run that costs no process
  check_status(batch.run({"pack=" + std::to_string(count), "slots=2"}), 0);
  const Fold fold = batch.fold();
  CHECK(fold.count(TaskState::failed) == count);
  for (std::uint64_t step = 0; step < count; ++step) REQUIRE(fold.task(step).attempts == 1);
}

TEST_CASE("the slots of an element are called by the node of the scheduler and used again") {
  const ElementBatch batch({"true", "true", "true", "true"});
  check_status(batch.run({"pack=2", "slots=2", "node=n7"}), 0);
  check_status(batch.run({"pack=2", "slots=2", "node=n7", "element=1"}), 0);
  const Fold fold = batch.fold();
  CHECK(fold.record_files() == States{"n7-0", "n7-1", "driver-1"});
  CHECK(batch.detail(0).node == "n7");
  CHECK(batch.detail(3).usage.node == "n7");
  for (const OpenedRecord& session : batch.sessions()) {
    CHECK(session.host == host_name());
    CHECK(session.node == "n7");
  }
  for (const char* name : {"n7-0", "n7-1"}) {
    const Fd file = open_regular(batch.batch().record_path(name), O_RDONLY);
    CHECK(find_closed_end(file.get()));
  }
  CHECK(std::filesystem::is_empty(batch.directory() + "/run/allot"));
}

TEST_CASE("elements of one batch on one node do not share slots") {
  Rendezvous meet;
  meet.make_gates(2);
  const ElementBatch batch(std::vector<std::string>(2, meet.array_element()));
  RunningProgram first(batch.element({"element=0"}));
  RunningProgram second(batch.element({"element=1"}));
  meet.next_arrival("one");
  meet.next_arrival("the other");
  meet.open_gate("0");
  meet.open_gate("1");
  check_status(first.finish(), 0);
  check_status(second.finish(), 0);
  CHECK(batch.fold().record_files().size() == 3);
  CHECK(batch.states() == States{"done", "done"});
}

// ---- the fence

TEST_CASE("an element of a try that is void runs nothing") {
  const ElementBatch batch({"true"});
  REQUIRE(write_fence(batch.path(), ElementBatch::kSubmission, 2));
  const ProgramOutcome outcome = batch.run({"try=1"});
  check_status(outcome, 0);
  CHECK_THAT(outcome.err, ContainsSubstring("this is try 1 of the submission, and those before try 2 are void"));
  CHECK(batch.states() == States{"queued"});
  CHECK(batch.sessions().empty());
  check_status(batch.run({"try=2"}), 0);
  CHECK(batch.states() == States{"done"});
}

TEST_CASE("a fence that comes while an element runs ends nothing and holds for what is published later") {
  Rendezvous meet;
  meet.make_gates(1);
  const ElementBatch batch({meet.arrive(kHere) + "; " + meet.wait_at("0"), "true"});
  // The guard dies with the second step claimed and not begun: it is to be published again, and is not.
  RunningProgram element(
      batch.element({"pack=2", "try=1"}, {{"ALLOT_FAULT", "guard_claimed:2"}, {"ALLOT_FAULT_ROLE", "allot-guard"}}));
  meet.next_arrival("the first step");
  REQUIRE(write_fence(batch.path(), ElementBatch::kSubmission, 2));
  meet.open_gate("0");
  const ProgramOutcome outcome = element.finish();
  check_status(outcome, 0);
  CHECK_THAT(outcome.err, ContainsSubstring("nothing more is started"));
  CHECK(batch.states() == States{"done", "queued"});
}

TEST_CASE("an element that cannot tell whether it is wanted runs nothing and says so") {
  const ElementBatch batch({"true"});
  REQUIRE(write_fence(batch.path(), ElementBatch::kSubmission, 2));
  test::put_file(fence_path(batch.path(), ElementBatch::kSubmission), "?");
  const ProgramOutcome outcome = batch.run({"try=5"});
  check_status(outcome, 1);
  CHECK_THAT(outcome.err, ContainsSubstring("7.fence: damaged"));
  CHECK(batch.states() == States{"queued"});
}

// ---- native restarts

TEST_CASE("a requeued element runs what has not ended and nothing twice") {
  ElementBatch batch(std::vector<std::string>(8, "echo $ALLOT_ATTEMPT"));
  const auto key = [](std::uint32_t step, std::uint16_t restart) {
    return RunKey{step, ElementBatch::kSubmission, restart};
  };
  const auto finished = [&key](std::uint32_t step, std::uint16_t restart, ExitClass exit_class) {
    FinishedRecord record;
    record.key = key(step, restart);
    record.exit_info.exit_class = exit_class;
    return record;
  };
  batch.add("n1-0", OpenedRecord{"another-host", "boot", 1, 2, 3, 4, "", 5, "n1"});
  for (const std::uint32_t step : {0u, 1u, 2u}) batch.add("n1-0", StartedRecord{key(step, 0), 1, 1});
  batch.add("n1-0", finished(0, 0, ExitClass::done));
  batch.add("n1-0", finished(1, 0, ExitClass::error));
  batch.add("n1-1", OpenedRecord{"another-host", "boot", 1, 2, 3, 4, "", 5, "n1"});
  batch.add("n1-1", StartedRecord{key(2, 1), 1, 1});
  batch.add("n1-1", StartedRecord{key(3, 1), 1, 1});
  batch.add("n1-1", finished(3, 1, ExitClass::done));
  batch.add("driver-1", VerdictRecord{key(4, 0), false, {ExitClass::lost, {}, {}, "gone"}, 5});
  batch.add("driver-1", WithdrawnRecord{ElementBatch::kSubmission, StepRanges(5, 1), "cancelled", 6});
  batch.add("driver-1", WithdrawnRecord{ElementBatch::kSubmission - 1, StepRanges(6, 1), "of another one", 6});

  check_status(batch.run({"pack=7", "restart=2"}), 0);
  const Fold fold = batch.fold();
  CHECK(batch.states() == States{"done", "error", "done", "done", "lost", "failed", "done", "queued"});
  CHECK(fold.task(2).restart == 2);
  CHECK(fold.task(2).attempts == 3);
  CHECK(batch.output(2) == "3\n");
  CHECK(batch.output(6) == "1\n");
  CHECK(fold.task(0).attempts == 1);
  // And once more: now all have ended.
  check_status(batch.run({"pack=7", "restart=3"}), 0);
  CHECK(batch.fold().task(2).restart == 2);
}

TEST_CASE("a requeued element that cannot read what has ended runs nothing") {
  ElementBatch batch({"true", "true"});
  batch.add("n1-0", OpenedRecord{"another-host", "boot", 1, 2, 3, 4, "", 5, "n1"});
  batch.add("n1-0", StartedRecord{{0, ElementBatch::kSubmission, 0}, 1, 1});
  const std::string path = batch.batch().record_path("n1-0");
  std::string bytes = *read_file(path);
  bytes[20] = static_cast<char>(bytes[20] ^ 1);
  test::put_file(path, bytes);
  const ProgramOutcome outcome = batch.run({"pack=2", "restart=1"});
  check_status(outcome, 1);
  CHECK_THAT(outcome.err, ContainsSubstring("n1-0: a part of it cannot be read"));
}

// ---- requests to stop

TEST_CASE("one step that runs and one that waits are stopped and their neighbours are not") {
  Rendezvous meet;
  meet.make_gates(2);
  const ElementBatch batch({meet.array_element(), meet.array_element(), "true", "echo end"});
  RunningProgram element(batch.element({"pack=4", "slots=2", "commit_ms=1"}));
  const auto one = contract::next_element(meet), other = contract::next_element(meet);
  REQUIRE(append_stop_requests(batch.path(), ElementBatch::kSubmission, {{false, 1, 2, 0}}));
  element.send_signal(SIGUSR2);
  // Step 2 is taken out before step 1 is stopped.
  wait_until_gone((one.array_step == 1 ? one : other).process.pid);
  meet.open_gate("0");
  check_status(element.finish(), 0);
  CHECK(batch.state(0) == "done");
  CHECK(batch.detail(1).exit_info.exit_class == ExitClass::killed);
  CHECK(batch.detail(1).exit_info.signal == SIGKILL);
  CHECK(batch.detail(1).exit_info.text == "ended on request");
  CHECK(batch.detail(2).exit_info.exit_class == ExitClass::killed);
  CHECK(batch.detail(2).exit_info.text == "removed before it started");
  CHECK(batch.output(3) == "end\n");
}

TEST_CASE("requests of before an element began are obeyed when it begins") {
  const ElementBatch batch({"true", "true", "true", "true"});
  REQUIRE(append_stop_requests(batch.path(), ElementBatch::kSubmission, {{false, 1, 1, 0}, {false, 2, 9, 0}}));
  test::put_file(stop_requests_path(batch.path(), ElementBatch::kSubmission),
                 *read_file(stop_requests_path(batch.path(), ElementBatch::kSubmission)) + "nonsense\n0-0 5");
  const ProgramOutcome outcome = batch.run({"pack=3"});
  check_status(outcome, 0);
  CHECK_THAT(outcome.err, ContainsSubstring("7.stop: 1 lines are no requests"));
  CHECK(batch.states() == States{"done", "killed", "killed", "queued"});
}

TEST_CASE("an element finds requests by itself where nobody tells it") {
  Rendezvous meet;
  const ElementBatch batch({meet.arrive(kHere) + "; sleep 1000"});
  RunningProgram element(batch.element({"requests_ms=10"}));
  meet.next_arrival("the step");
  REQUIRE(append_stop_requests(batch.path(), ElementBatch::kSubmission, {{false, 0, 0, 60'000}}));
  check_status(element.finish(), 0);
  CHECK(batch.detail(0).exit_info.exit_class == ExitClass::killed);
  CHECK(batch.detail(0).exit_info.signal == SIGTERM);
}

TEST_CASE("a request for all ends what runs and starts nothing more") {
  Rendezvous meet;
  meet.make_gates(1);
  const ElementBatch batch({meet.array_element(), "true"});
  RunningProgram element(batch.element({"pack=2"}));
  meet.next_arrival("the step");
  REQUIRE(append_stop_requests(batch.path(), ElementBatch::kSubmission, {{true, 0, 0, 0}}));
  element.send_signal(SIGUSR2);
  check_status(element.finish(), 0);
  CHECK(batch.state(0) == "killed");
  CHECK(batch.state(1) == "queued");
}

// ---- the scheduler's signals

TEST_CASE("SIGTERM ends what runs for the reason that an element knows and leaves the rest queued") {
  const auto [arguments, asked, wanted] = GENERATE(table<std::vector<std::string>, bool, ExitClass>({
      {{}, false, ExitClass::preempted},
      {{"allocation_ms=600000"}, false, ExitClass::preempted},
      {{"allocation_ms=1"}, false, ExitClass::timed_out},
      {{"allocation_ms=1"}, true, ExitClass::killed},
  }));
  const int signal = GENERATE(SIGTERM, SIGINT, SIGHUP);
  Rendezvous meet;
  const ElementBatch batch({meet.arrive(kHere) + "; trap '' TERM; sleep 1000", "true"});
  std::vector<std::string> all = arguments;
  all.insert(all.end(), {"pack=2", "kill_grace_ms=0"});
  RunningProgram element(batch.element(all));
  meet.next_arrival("the step");
  if (asked) REQUIRE(append_stop_requests(batch.path(), ElementBatch::kSubmission, {{true, 0, 0, 0}}));
  element.send_signal(signal);
  check_status(element.finish(), 0);
  const ExitInfo end = batch.detail(0).exit_info;
  CHECK(end.exit_class == wanted);
  CHECK(end.signal == SIGKILL);
  CHECK(end.text == "the scheduler sent SIGTERM");
  CHECK(batch.state(1) == "queued");
}

TEST_CASE("a step that was asked for by name is killed when SIGTERM comes and its neighbour is not") {
  Rendezvous meet;
  meet.make_gates(2);
  const ElementBatch batch({meet.array_element(), meet.array_element()});
  RunningProgram element(batch.element({"pack=2", "slots=2", "kill_grace_ms=0"}));
  meet.next_arrival("one");
  meet.next_arrival("the other");
  REQUIRE(append_stop_requests(batch.path(), ElementBatch::kSubmission, {{false, 1, 1, 0}}));
  element.send_signal(SIGTERM);
  check_status(element.finish(), 0);
  CHECK(batch.detail(0).exit_info.exit_class == ExitClass::preempted);
  CHECK(batch.detail(1).exit_info.exit_class == ExitClass::killed);
}

TEST_CASE("a task that the scheduler's SIGTERM ends before the element has heard of it is preempted") {
  Rendezvous meet;
  meet.make_gates(1);
  const ElementBatch batch({meet.arrive(kHere) + "; " + meet.wait_at("0")});
  RunningProgram element(batch.element({}));
  const pid_t task = pid_of(meet.next_arrival("the step"));
  const pid_t guard = guard_of(task);
  REQUIRE(guard != element.pid());
  // One after the other, as a scheduler does, and the element last of all, when the task is long gone.
  REQUIRE(::kill(guard, SIGTERM) == 0);
  REQUIRE(::kill(task, SIGTERM) == 0);
  wait_until_gone(task);
  element.send_signal(SIGTERM);
  check_status(element.finish(), 0);
  const ExitInfo end = batch.detail(0).exit_info;
  CHECK(end.exit_class == ExitClass::preempted);
  CHECK(end.signal == SIGTERM);
  CHECK(end.text == "the scheduler sent SIGTERM");
}

TEST_CASE("a task that somebody else ends with SIGTERM was signaled") {
  const ElementBatch batch({"kill $$", "exit 143", "true"});
  check_status(batch.run({"pack=3"}), 0);
  CHECK(batch.states() == States{"signaled (15, SIGTERM)", "error (143)", "done"});
}

TEST_CASE("a task that the scheduler has sent SIGTERM gets no second one") {
  Rendezvous meet;
  meet.make_gates(1);
  // It counts them, and ends when it is let on. Whoever stops it sends SIGCONT, too, behind the SIGTERM if there is
  // one.
  const ElementBatch batch({"n=0; trap 'n=$((n + 1)); " + meet.arrive("term") + "' TERM; trap '" +
                            meet.arrive("stopped") + "' CONT; " + meet.arrive(kHere) + "; until " + meet.wait_at("0") +
                            "; do :; done; echo $n"});
  RunningProgram element(batch.element({"kill_grace_ms=60000", "term_grace_ms=60000"}));
  const pid_t task = pid_of(meet.next_arrival("the step"));
  REQUIRE(::kill(guard_of(task), SIGTERM) == 0);
  REQUIRE(::kill(task, SIGTERM) == 0);
  CHECK(meet.next_arrival("the scheduler's signal") == "term");
  element.send_signal(SIGTERM);
  CHECK(meet.next_arrival("its guard") == "stopped");
  meet.open_gate("0");
  check_status(element.finish(), 0);
  CHECK(batch.output(0) == "1\n");
  CHECK(batch.detail(0).exit_info.exit_class == ExitClass::preempted);
}

TEST_CASE("SIGUSR1 lets what runs go on and starts nothing more") {
  Rendezvous meet;
  meet.make_gates(1);
  const ElementBatch batch({meet.array_element(), "true"});
  RunningProgram element(batch.element({"pack=2"}));
  meet.next_arrival("the step");
  element.send_signal(SIGUSR1);
  // A request that comes after the signal is read after it: when its trouble is told, the signal has been heard.
  test::put_file(stop_requests_path(batch.path(), ElementBatch::kSubmission), "nonsense\n");
  element.send_signal(SIGUSR2);
  element.wait_for_err("are no requests");
  meet.open_gate("0");
  check_status(element.finish(), 0);
  CHECK(batch.states() == States{"done", "queued"});
}

// ---- deaths

TEST_CASE("the run of a guard that is killed is lost and another guard goes on") {
  Rendezvous meet;
  meet.make_gates(1);
  const ElementBatch batch({meet.array_element(), "true", "true"});
  RunningProgram element(batch.element({"pack=3"}));
  const pid_t task = pid_of(meet.next_arrival("the step"));
  REQUIRE(::kill(guard_of(task), SIGKILL) == 0);
  check_status(element.finish(), 0);
  CHECK(batch.states() == States{"lost", "done", "done"});
  CHECK_THAT(batch.detail(0).exit_info.text, ContainsSubstring("its guard ended: signaled (9, SIGKILL)"));
  CHECK_FALSE(process_start_ticks(task));
}

TEST_CASE("a guard that dies again and again is given up and what never started stays queued") {
  const ElementBatch batch({"true", "true"});
  const ProgramOutcome outcome =
      batch.run({"pack=2"}, {{"ALLOT_FAULT", "guard_claimed:1"}, {"ALLOT_FAULT_ROLE", "allot-guard"}});
  check_status(outcome, 1);
  CHECK_THAT(outcome.err, ContainsSubstring("is given up: its guard ended 5 times in a row"));
  CHECK(batch.states() == States{"queued", "queued"});
}

TEST_CASE("the tasks of an element that is killed are ended and recorded by its guards") {
  Rendezvous meet;
  meet.make_gates(2);
  const ElementBatch batch({meet.array_element(), meet.array_element(), "true"});
  RunningProgram element(batch.element({"pack=3", "slots=2"}));
  const pid_t one = pid_of(meet.next_arrival("one"));
  const pid_t other = pid_of(meet.next_arrival("the other"));
  element.send_signal(SIGKILL);
  const ProgramOutcome outcome = element.finish();  // its stderr ends when the guards are gone, too
  CHECK(outcome.signal == SIGKILL);
  CHECK(batch.states() == States{"node_failed", "node_failed", "queued"});
  CHECK_FALSE(process_start_ticks(one));
  CHECK_FALSE(process_start_ticks(other));
  // Requeued, it runs what is left.
  check_status(batch.run({"pack=3", "restart=1"}), 0);
  CHECK(batch.state(2) == "done");
}

TEST_CASE("an element that is killed at any of its boundaries runs to the end when it is requeued") {
  const std::string fault = GENERATE("element_before_publish:1", "element_published:1", "element_before_removed:1",
                                     "element_after_removed:1", "node_before_sync:1", "node_after_sync:1");
  INFO(fault);
  const ElementBatch batch(std::vector<std::string>(4, "true"));
  REQUIRE(append_stop_requests(batch.path(), ElementBatch::kSubmission, {{false, 2, 2, 0}}));
  const ProgramOutcome killed = batch.run({"pack=4"}, {{"ALLOT_FAULT", fault}, {"ALLOT_FAULT_ROLE", "allot-element"}});
  CHECK(killed.signal == SIGKILL);
  check_status(batch.run({"pack=4", "restart=1"}), 0);
  const Fold fold = batch.fold();
  CHECK(batch.state(2) == "killed");
  for (const std::uint64_t step : {0u, 1u, 3u}) {
    const ExitClass end = batch.detail(step).exit_info.exit_class;
    CHECK((end == ExitClass::done || end == ExitClass::node_failed));
    CHECK(fold.task(step).attempts == 1);
  }
}

// ---- what it is started with

TEST_CASE("a task of an element has descriptors and dispositions as if nobody had started it") {
  const ElementBatch batch(
      {"ls /proc/self/fd | wc -w; grep -E '^Sig(Blk|Ign)' /proc/self/status | cut -f 2 | sort -u"});
  check_status(batch.run({}), 0);
  CHECK(batch.output(0) == "4\n0000000000000000\n");
}

TEST_CASE("what a task used begins where it would under another worker node") {
  const ElementBatch batch({"/bin/true"});
  check_status(batch.run({}), 0);
  const auto peak = batch.detail(0).usage.max_rss_bytes;
  REQUIRE(peak);
#ifdef ALLOT_SANITIZED  // whose run time an element has as well
  CHECK(*peak < 64u << 20);
#else
  CHECK(*peak < 4u << 20);
#endif
}

TEST_CASE("an element without a submission that can be read runs nothing") {
  const ElementBatch batch({"true"});
  const std::string path = submission_file_path(batch.path(), ElementBatch::kSubmission);
  const std::string whole = *read_file(path);
  test::put_file(path, whole.substr(0, whole.size() - 1));
  ProgramOutcome outcome = batch.run({});
  check_status(outcome, 1);
  CHECK_THAT(outcome.err, ContainsSubstring("submissions/7: damaged"));
  std::filesystem::remove(path);
  outcome = batch.run({});
  check_status(outcome, 1);
  CHECK_THAT(outcome.err, ContainsSubstring("submissions/7: there is no such submission"));
  CHECK(batch.sessions().empty());
}

TEST_CASE("a batch of a newer format and what is no batch are refused in words") {
  const ElementBatch batch({"true"});
  const std::string path = batch.path() + "/batch.json";
  std::string text = *read_file(path);
  const std::string format = "\"format\": " + std::to_string(kBatchFormat);
  REQUIRE(text.find(format) != std::string::npos);
  text.replace(text.find(format), format.size(), "\"format\": 1000");
  test::put_file(path, text);
  ProgramOutcome outcome = batch.run({});
  check_status(outcome, 1);
  CHECK_THAT(outcome.err, ContainsSubstring("the batch has format 1000"));
  std::filesystem::remove(path);
  outcome = batch.run({});
  check_status(outcome, 1);
  CHECK_THAT(outcome.err, ContainsSubstring("there is no batch"));
}
