// SPDX-License-Identifier: MIT
// allot-element: its arguments, what it asks its scheduler, and one that no driver looks after.
#include <signal.h>
#include <sys/stat.h>

#include <filesystem>

#include "tests/support/contract_rendezvous.h"
#include "tests/unit/worker_node/element_batch.h"

using namespace allot;
using Catch::Matchers::ContainsSubstring;
using contract::Rendezvous;
using test::ElementBatch;
using test::ProgramOutcome;
using test::RunningProgram;

namespace {

// Of a task that says where it is.
const char* const kHere = "$ALLOT_ARRAY_STEP_ID $$";

void check_status(const ProgramOutcome& outcome, int wanted) {
  INFO(outcome.err);
  CHECK(outcome.signal == 0);
  CHECK(outcome.exit_status == wanted);
}

}  // namespace

TEST_CASE("arguments that no job script of this version has are refused in words") {
  const ElementBatch batch({"true"});
  const auto refused = [&batch](const std::vector<std::string>& arguments) {
    test::ProgramOptions options = batch.element({});
    options.argv.resize(1);
    options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
    const ProgramOutcome outcome = test::run_program(options);
    INFO(outcome.err);
    CHECK(outcome.exit_status == 2);
    return outcome.err;
  };
  const std::string here = "batch=" + batch.path();
  CHECK_THAT(refused({}), ContainsSubstring("batch= is missing"));
  CHECK_THAT(refused({here}), ContainsSubstring("submission= is missing"));
  CHECK_THAT(refused({"submission=7", "batch=relative"}),
             ContainsSubstring("'batch=relative': expected an absolute path"));
  for (const char* argument : {"submission=8",
                               "speed=1",
                               "slots",
                               "",
                               "=",
                               "slots=",
                               "slots=0",
                               "slots=65",
                               "slots=-1",
                               "slots=+1",
                               "slots=1 ",
                               "slots=1x",
                               "pack=0",
                               "pack=4294967296",
                               "element=-1",
                               "element=99999999999999999999",
                               "restart=65536",
                               "try=x",
                               "try=-1",
                               "node=a/b",
                               "node=..",
                               "node=a b",
                               "cgroup=yes",
                               "shell=sh",
                               "kill_grace_ms=-1",
                               "kill_grace_ms=9223372036854775807",
                               "commit_ms=1.5",
                               "--help"}) {
    INFO(argument);
    CHECK_THAT(refused({here, "submission=7", argument}), ContainsSubstring("'" + std::string(argument) + "'"));
  }
  CHECK_THAT(refused({here, "submission=0"}), ContainsSubstring("a number from 1 on"));
  CHECK(batch.sessions().empty());
}

TEST_CASE("an element that is alone says what became of its steps and fails where some are not done") {
  const ElementBatch batch({"true", "exit 3", "kill -9 $$", "true", "true"});
  const ProgramOutcome some = batch.run({"pack=4", "slots=2", "alone=yes"});
  check_status(some, 1);
  CHECK_THAT(some.err, ContainsSubstring("allot worker (share 0): 4 tasks: 2 done, 2 not\n"));
  const ProgramOutcome all = batch.run({"pack=4", "element=1", "alone=yes"});
  check_status(all, 0);
  CHECK_THAT(all.err, ContainsSubstring("allot worker (share 1): 1 task: 1 done\n"));
  // Begun again: what has ended has ended, and still not all of it is done.
  const ProgramOutcome again = batch.run({"pack=4", "restart=1", "alone=yes"});
  check_status(again, 1);
  CHECK_THAT(again.err, ContainsSubstring("4 tasks: 2 done, 2 not (2 of them done before the job was started again)"));
  check_status(batch.run({"pack=4", "element=1", "restart=1", "alone=yes"}), 0);
  CHECK(batch.sessions().size() == 3);
}

TEST_CASE("an element that is alone runs nothing that another one runs") {
  Rendezvous meet;
  meet.make_gates(1);
  const ElementBatch batch({meet.arrive(kHere) + "; " + meet.wait_at("0"), "true"});
  RunningProgram element(batch.element({"pack=2", "alone=yes"}));
  meet.next_arrival("the task");
  const ProgramOutcome other = batch.run({"pack=1", "element=1", "alone=yes"});
  check_status(other, 1);
  CHECK_THAT(other.err, ContainsSubstring("another worker node runs some of the steps 1 of"));
  meet.open_gate("0");
  check_status(element.finish(), 0);
  CHECK(batch.fold().count(TaskState::done) == 2);
  CHECK(batch.sessions().size() == 1);
}

TEST_CASE("an element that is ended asks the scheduler why and believes what it says") {
  const auto [script, wanted] = GENERATE(table<std::string, ExitClass>({
      {"[ \"$1 $2\" = '--why 77' ] && echo killed", ExitClass::killed},
      {"echo node_failed", ExitClass::node_failed},
      {"echo nonsense", ExitClass::preempted},
      {"exit 1", ExitClass::preempted},
      {"echo killed; exec >&-; read line < \"$0.never\"", ExitClass::killed},
  }));
  INFO(script);
  Rendezvous meet;
  meet.make_gates(1);  // nobody opens it
  const ElementBatch batch({meet.arrive(kHere) + "; trap '' TERM; " + meet.wait_at("0")});
  const std::string why = batch.directory() + "/why";
  REQUIRE(::mkfifo((why + ".never").c_str(), 0600) == 0);
  test::put_file(why, "#!/bin/sh\n" + script + "\n");
  REQUIRE(::chmod(why.c_str(), 0700) == 0);
  RunningProgram element(batch.element({"kill_grace_ms=0", "why=" + why, "job=77"}));
  meet.next_arrival("the step");
  element.send_signal(SIGTERM);
  check_status(element.finish(), 0);
  CHECK(batch.detail(0).exit_info.exit_class == wanted);
}

TEST_CASE("an element that its own driver has ended does not ask why") {
  Rendezvous meet;
  meet.make_gates(1);  // nobody opens it
  const ElementBatch batch({meet.arrive(kHere) + "; trap '' TERM; " + meet.wait_at("0")});
  const std::string why = batch.directory() + "/why";
  test::put_file(why, "#!/bin/sh\n: >\"$0.asked\"; echo killed\n");
  REQUIRE(::chmod(why.c_str(), 0700) == 0);
  RunningProgram element(batch.element({"kill_grace_ms=0", "why=" + why, "job=77"}));
  meet.next_arrival("the step");
  StopRequest by_driver;
  by_driver.is_preemption = true;
  REQUIRE(append_stop_requests(batch.path(), ElementBatch::kSubmission, {by_driver}));
  element.send_signal(SIGUSR2);  // nothing is to be ended for it
  element.send_signal(SIGTERM);
  check_status(element.finish(), 0);
  CHECK(batch.detail(0).exit_info.exit_class == ExitClass::preempted);
  CHECK_FALSE(std::filesystem::exists(why + ".asked"));
}
