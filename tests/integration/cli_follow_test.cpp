// SPDX-License-Identifier: MIT
// `allot output --follow`.
#include <signal.h>

#include <algorithm>

#include "tests/integration/cli_fixture.h"
#include "tests/support/catch.h"

namespace allot::test {

namespace {

ProgramOptions gated(const Cli& cli, const std::string& cluster, const std::string& input) {
  cli.make_gate("ready");
  cli.make_gate("gate");
  ProgramOptions options = cli.options({"run", "-c", cluster, "--batch-dir", "b", "-"});
  options.input = input;
  return options;
}

}  // namespace

TEST_CASE("output --follow: what a task prints comes as it prints it and nothing of its neighbours") {
  const Cli cli;
  // One slot: their outputs lie behind each other in one file.
  RunningProgram run(
      gated(cli, "sequential", "echo before\necho first; echo x > ready; cat gate; echo second\necho behind\n"));
  CHECK(read_file(cli.path("ready")).value() == "x\n");
  RunningProgram follow(cli.options({"output", "--follow", "./b", "1"}));
  follow.wait_for_out("first\n");
  RunningProgram waits(cli.options({"output", "-f", "./b", "2"}));
  // When it looks again, the next task's output lies behind that of this one.
  follow.send_signal(SIGSTOP);
  cli.release("gate");
  CHECK(run.finish().exit_status == 0);
  follow.send_signal(SIGCONT);
  const auto outcome = follow.finish();
  INFO(outcome.err);
  CHECK(outcome.exit_status == 0);
  CHECK(outcome.out == "first\nsecond\n");
  CHECK(waits.finish().out == "behind\n");
  // What has ended is printed as without it.
  CHECK(cli.must(0, {"output", "--follow", "./b", "0"}).out == "before\n");
}

TEST_CASE("output --follow: stderr and much output through many slots") {
  const Cli cli;
  RunningProgram run(
      gated(cli, "multiprocess", "echo err >&2; echo x > ready; cat gate; head -c 5000000 /dev/zero | tr '\\0' y\n"));
  CHECK(read_file(cli.path("ready")).value() == "x\n");
  RunningProgram err(cli.options({"output", "--follow", "--stderr", "./b", "0"}));
  err.wait_for_out("err\n");
  RunningProgram follow(cli.options({"output", "--follow", "./b", "0"}));
  cli.release("gate");
  const auto outcome = follow.finish();
  CHECK(outcome.exit_status == 0);
  CHECK(outcome.out == std::string(5'000'000, 'y'));
  CHECK(err.finish().out == "err\n");
  CHECK(run.finish().exit_status == 0);
}

TEST_CASE("output --follow: behind a run whose guard was killed nothing is mixed up") {
  const Cli cli;
  // The guard is the parent of the shell; it is killed in the first run.
  RunningProgram run(
      gated(cli, "sequential",
            "{\"command\": \"echo run $ALLOT_ATTEMPT; if test $ALLOT_ATTEMPT = 1; then sleep 0.3; kill "
            "-9 $PPID; sleep 100; fi; echo x > ready; cat gate; echo end\", \"retry\": {\"lost\": 1}}\n"));
  CHECK(read_file(cli.path("ready")).value() == "x\n");
  RunningProgram follow(cli.options({"output", "--follow", "./b", "0"}));
  follow.wait_for_err("it is printed at its end");
  cli.release("gate");
  const auto outcome = follow.finish();
  INFO(outcome.err);
  CHECK(outcome.exit_status == 0);
  CHECK(outcome.out == "run 2\nend\n");
  CHECK(run.finish().exit_status == 0);
}

TEST_CASE("output --follow: goes on with the next run until the task has ended for good") {
  const Cli cli;
  cli.make_gate("end");
  // The other task keeps the driver there.
  RunningProgram run(
      gated(cli, "multiprocess",
            "{\"command\": \"echo run $ALLOT_ATTEMPT; echo x > ready; cat gate; exit 1\", \"retry\": {\"error\": 1}}\n"
            "{\"command\": \"cat end\"}\n"));
  CHECK(read_file(cli.path("ready")).value() == "x\n");
  RunningProgram follow(cli.options({"output", "--follow", "./b", "0"}));
  follow.wait_for_out("run 1\n");
  cli.release("gate");
  CHECK(read_file(cli.path("ready")).value() == "x\n");
  follow.wait_for_err("step 0 runs again (run 2)");
  follow.wait_for_out("run 2\n");
  cli.release("gate");
  const auto outcome = follow.finish();
  INFO(outcome.err);
  CHECK(outcome.exit_status == 0);
  CHECK(outcome.out == "run 1\nrun 2\n");
  CHECK(cli.tasks("./b").at(1)["state"] == "running");
  // One that has failed for good is over, though its driver is there; its last run is what it printed.
  CHECK(cli.must(0, {"output", "--follow", "./b", "0"}).out == "run 2\n");
  cli.release("end");
  CHECK(run.finish().exit_status == 1);
}

TEST_CASE("output --follow: runs that come and go between two looks are not left out") {
  const Cli cli;
  RunningProgram run(
      gated(cli, "sequential",
            "{\"command\": \"echo run $ALLOT_ATTEMPT; test $ALLOT_ATTEMPT != 1 || { echo x > ready; cat gate; }; test "
            "$ALLOT_ATTEMPT = 4\", \"retry\": {\"error\": 5}}\n"));
  CHECK(read_file(cli.path("ready")).value() == "x\n");
  RunningProgram follow(cli.options({"output", "--follow", "./b", "0"}));
  follow.wait_for_out("run 1\n");
  follow.send_signal(SIGSTOP);
  cli.release("gate");
  CHECK(run.finish().exit_status == 0);
  follow.send_signal(SIGCONT);
  const auto outcome = follow.finish();
  INFO(outcome.err);
  CHECK(outcome.exit_status == 0);
  CHECK(outcome.out == "run 1\nrun 2\nrun 3\nrun 4\n");
  for (const char* number : {"2", "3", "4"}) {
    CHECK(outcome.err.find("step 0 runs again (run " + std::string(number) + ")") != std::string::npos);
  }
}

TEST_CASE("output --follow: a run that is lost while it is followed is told and the next one follows") {
  const Cli cli;
  RunningProgram run(gated(
      cli, "sequential",
      "{\"command\": \"echo run $ALLOT_ATTEMPT; echo x > ready; cat gate; if test $ALLOT_ATTEMPT = 1; then kill -9 "
      "$PPID; sleep 100; fi\", \"retry\": {\"lost\": 1}}\n"));
  CHECK(read_file(cli.path("ready")).value() == "x\n");
  RunningProgram follow(cli.options({"output", "--follow", "./b", "0"}));
  follow.wait_for_out("run 1\n");
  cli.release("gate");
  CHECK(read_file(cli.path("ready")).value() == "x\n");
  const std::size_t lost = follow.wait_for_err("of step 0 ends here");
  follow.wait_for_err("step 0 runs again (run 2)", lost);
  cli.release("gate");
  const auto outcome = follow.finish();
  INFO(outcome.err);
  CHECK(outcome.exit_status == 0);
  CHECK(outcome.out == "run 1\nrun 2\n");
  CHECK(run.finish().exit_status == 0);
}

TEST_CASE("output --follow: what cannot be followed is told") {
  const Cli cli;
  RunningProgram run(
      gated(cli, "sequential",
            "{\"command\": \"echo x > ready; cat gate\", \"stdout\": \"own\"}\n{\"command\": \"true\"}\n"));
  CHECK(read_file(cli.path("ready")).value() == "x\n");
  CHECK(cli.must(1, {"output", "--follow", "./b", "0"}).err.find("it is written to " + cli.path("own")) !=
        std::string::npos);
  cli.must(2, {"output", "--follow", "./b"});
  cli.must(2, {"output", "--follow", "./b", "0-1"});
  cli.must(2, {"output", "--follow", "./b", "7"});
  cli.must(2, {"output", "--follow", "--json", "./b", "0"});
  run.send_signal(SIGKILL);
  CHECK(run.finish().signal == SIGKILL);
  CHECK(cli.must(1, {"output", "--follow", "./b", "1"}).err.find("nobody drives the batch") != std::string::npos);
}

}  // namespace allot::test
