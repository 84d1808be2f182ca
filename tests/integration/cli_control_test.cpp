// SPDX-License-Identifier: MIT
// `allot cancel`, `retry`, `hold`, `release`, `throttle` and `explain`, with a driver and without one.
#include <signal.h>

#include <algorithm>
#include <filesystem>

#include "process/fd.h"
#include "tests/integration/cli_fixture.h"
#include "tests/support/catch.h"

namespace allot::test {

namespace {

std::string state_of(const Cli& cli, std::size_t step) {
  const auto task = cli.tasks("./b").at(step);
  return task["state"].get<std::string>() +
         (task["exit_class"].is_null() ? "" : " " + task["exit_class"].get<std::string>());
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// A batch of five tasks, one at a time; the first one says that it runs and waits for its gate.
ProgramOptions gated(const Cli& cli, const std::vector<std::string>& more = {}) {
  cli.make_gate("ready");
  cli.make_gate("gate");
  std::vector<std::string> arguments = {"run", "-j", "1", "--batch-dir", "b", "-"};
  arguments.insert(arguments.end() - 1, more.begin(), more.end());
  ProgramOptions options = cli.options(arguments);
  options.input =
      "echo x > ready; cat gate\necho 1 >> effects\necho 2 >> effects\necho 3 >> effects\necho 4 >> effects\n";
  return options;
}

}  // namespace

TEST_CASE("some tasks of a running batch are cancelled: they are gone when the command is back, the rest goes on") {
  const Cli cli;
  RunningProgram run(gated(cli));
  read_file(cli.path("ready")).value();
  const auto told = cli.must(0, {"cancel", "./b", "--steps", "0,2-3"});
  CHECK(has(told.out, "3 ended, 0 not started any more, 0 had ended before"));
  const auto outcome = run.finish();
  CHECK(outcome.exit_status == 1);
  CHECK(read_file(cli.path("effects")).value() == "1\n4\n");
  CHECK(state_of(cli, 0) == "failed killed");
  CHECK(state_of(cli, 2) == "failed killed");
  CHECK(state_of(cli, 4) == "done done");
  CHECK(cli.status("./b")["driver"]["state"] == "left");
  const auto again = cli.must(0, {"cancel", "./b"});
  CHECK(has(again.out, "5 had ended before"));
}

TEST_CASE("cancelling does not need the tasks' consent: after the grace they are killed, with all they have started") {
  const Cli cli;
  cli.make_gate("ready");
  ProgramOptions options = cli.options({"run", "--batch-dir", "b", "-"});
  options.input = "trap '' TERM; sleep 1000 & echo $! > child; echo x > ready; wait; wait\n";
  RunningProgram run(options);
  read_file(cli.path("ready")).value();
  const auto child = read_file(cli.path("child")).value();
  cli.must(0, {"cancel", "./b", "--grace", "50ms"});
  CHECK_FALSE(std::filesystem::exists("/proc/" + child.substr(0, child.size() - 1)));
  CHECK(run.finish().exit_status == 1);
}

TEST_CASE("a batch whose driver was killed is cancelled all the same, and nothing of it is started for that") {
  const Cli cli;
  {
    RunningProgram run(gated(cli));
    read_file(cli.path("ready")).value();
    run.send_signal(SIGKILL);
    run.finish();
  }
  const auto told = cli.must(0, {"cancel", "./b", "--json"});
  const auto json = nlohmann::json::parse(told.out);
  CHECK(json["ended"].get<int>() + json["withdrawn"].get<int>() == 5);
  CHECK(json["left"] == 0);
  for (std::size_t step = 0; step < 5; ++step) CHECK(state_of(cli, step) == "failed killed");
  CHECK_FALSE(std::filesystem::exists(cli.path("effects")));
  // The user may change his mind.
  RunningProgram resume(cli.options({"resume", "./b"}));
  read_file(cli.path("ready")).value();
  cli.release("gate");
  CHECK(resume.finish().exit_status == 0);
}

TEST_CASE("several batches are cancelled at once, and what is wrong with one of them does not save the others") {
  const Cli cli;
  RunningProgram run(gated(cli));
  read_file(cli.path("ready")).value();
  const auto outcome = cli.run({"cancel", "./nothing-here", "./b"});
  CHECK(outcome.exit_status == 2);
  CHECK(has(outcome.err, "nothing-here"));
  CHECK(has(outcome.out, "5 ended"));
  CHECK(run.finish().exit_status == 1);
}

TEST_CASE("held tasks do not start, the batch says why, and it ends when they are released") {
  const Cli cli;
  RunningProgram run(gated(cli));
  read_file(cli.path("ready")).value();
  CHECK(has(cli.must(0, {"hold", "./b", "--steps", "1-4"}).err, "4 tasks held"));
  CHECK(cli.status("./b")["held"] == 4);
  CHECK(has(cli.must(0, {"status", "./b"}).out, "(4 held)"));
  cli.release("gate");
  CHECK(cli.must(0, {"explain", "./b", "--steps", "2"}).out == "step 2: held; it waits for a release\n");
  CHECK_FALSE(std::filesystem::exists(cli.path("effects")));
  CHECK(has(cli.must(0, {"release", "./b"}).err, "4 tasks released"));
  CHECK(run.finish().exit_status == 0);
  CHECK(read_file(cli.path("effects")).value() == "1\n2\n3\n4\n");
}

TEST_CASE("holds and throttles of a batch that nobody drives count when it is resumed") {
  const Cli cli;
  {
    RunningProgram run(gated(cli));
    read_file(cli.path("ready")).value();
    run.send_signal(SIGKILL);
    run.finish();
  }
  CHECK(has(cli.must(0, {"hold", "./b"}).err, "4 tasks held"));
  CHECK(has(cli.must(0, {"explain", "./b", "--steps", "3"}).out, "nobody drives the batch"));
  cli.must(0, {"throttle", "./b", "1"});
  CHECK(cli.run({"throttle", "./b", "0"}).exit_status == 2);
  RunningProgram resume(cli.options({"resume", "-j", "4", "./b"}));
  resume.wait_for_err("resumed: ");
  CHECK_THAT(cli.must(0, {"explain", "./b", "--steps", "3"}).out, Catch::Contains("held"));
  CHECK_FALSE(std::filesystem::exists(cli.path("effects")));
  cli.must(0, {"release", "./b"});
  cli.must(0, {"throttle", "./b", "none"});
  cli.release("gate");  // the task still waits there: its worker node was adopted
  CHECK(resume.finish().exit_status == 0);
}

TEST_CASE("retry runs what failed and what was abandoned because of it, and nothing else") {
  const Cli cli;
  const std::string lines = R"({"command": "echo a >> effects; test -e mended", "name": "a"})"
                            "\n"
                            R"({"command": "echo b >> effects", "after": "a"})"
                            "\n"
                            R"({"command": "echo c >> effects"})"
                            "\n"
                            R"({"command": "echo d >> effects; kill -9 $$"})"
                            "\n";
  cli.must(1, {"run", "-j", "1", "--batch-dir", "b", "-"}, lines);
  CHECK(state_of(cli, 1) == "abandoned");
  CHECK(cli.run({"retry", "./b"}).exit_status == 2);
  CHECK(has(cli.run({"retry", "--class", "broken", "./b"}).err, "must be one of error, signaled"));
  cli.write("mended", "");
  const auto told = cli.must(1, {"retry", "--class", "error", "./b"});
  CHECK(has(told.err, "1 to run again"));
  CHECK(state_of(cli, 0) == "done done");
  CHECK(state_of(cli, 1) == "done done");
  CHECK(state_of(cli, 3) == "failed signaled");
  CHECK(read_file(cli.path("effects")).value() == "a\nc\nd\na\nb\n");
  cli.must(1, {"retry", "--failed", "./b"});
  CHECK(read_file(cli.path("effects")).value() == "a\nc\nd\na\nb\nd\n");
  CHECK(cli.tasks("./b")[3]["attempt"] == 2);
  CHECK(cli.status("./b")["damage"].empty());
}

TEST_CASE("a driver that runs is asked to run failed tasks again") {
  const Cli cli;
  cli.make_gate("gate");
  cli.make_gate("failing");
  ProgramOptions options = cli.options({"run", "-j", "2", "--batch-dir", "b", "-"});
  options.input = "cat gate\ncat failing; test -e mended\n";
  RunningProgram run(options);
  cli.release("failing");
  run.wait_for_err("step 1: error (1)");
  cli.write("mended", "");
  CHECK(has(cli.must(0, {"retry", "--failed", "./b"}).err, "its driver runs 1 failed task of the batch again"));
  cli.release("failing");
  cli.release("gate");
  CHECK(run.finish().exit_status == 0);
  CHECK(cli.tasks("./b")[1]["attempt"] == 2);
}

TEST_CASE("nothing starts before its time, and the batch says so") {
  const Cli cli;
  RunningProgram run(cli.options({"run", "--begin", "1h", "--batch-dir", "b", "--", "true"}));
  // As soon as it is driven it can be asked.
  std::string told;
  for (int i = 0; i < 500 && !has(told, "to begin at"); ++i) told = cli.run({"explain", "./b"}).out;
  CHECK(has(told, "step 0: the batch is to begin at "));
  cli.must(0, {"cancel", "./b"});
  CHECK(run.finish().exit_status == 1);
  CHECK(cli.tasks("./b").at(0)["attempt"] == 0);
  const auto soon = cli.tasks(batch_of(cli.must(0, {"run", "--begin", "200ms", "--", "true"}))).at(0);
  CHECK(soon["state"] == "done");
  CHECK(has(cli.must(2, {"run", "--begin", "tomorrow", "--", "true"}).err, "--begin"));
}

TEST_CASE("a task that does not start before its time is told apart from the others, and cancelled like them") {
  const Cli cli;
  cli.write("tasks",
            "{\"command\": \"true\"}\n{\"command\": \"true\", \"begin\": \"1h\"}\n"
            "{\"command\": \"true\", \"begin\": \"2001-09-09T01:46:40Z\"}\n");
  RunningProgram run(cli.options({"run", "--batch-dir", "b", "tasks"}));
  std::string told;
  for (int i = 0; i < 500 && !has(told, "not to start before"); ++i) told = cli.run({"explain", "./b"}).out;
  CHECK(has(told, "step 1: it is not to start before "));
  CHECK(has(cli.must(0, {"status", "./b", "--why", "1"}).out, "not started: it is not to start before "));
  const auto why = nlohmann::json::parse(cli.must(0, {"status", "./b", "--json", "--why", "1"}).out);
  CHECK(has(why["waits"], why["begin"].get<std::string>()));
  CHECK(nlohmann::json::parse(cli.must(0, {"status", "./b", "--json", "--why", "2"}).out)["begin"] ==
        "2001-09-09T01:46:40.000000Z");
  cli.must(0, {"cancel", "./b", "--steps", "1"});
  CHECK(run.finish().exit_status == 1);
  CHECK(cli.tasks("./b")[1]["exit_class"] == "killed");
  CHECK(cli.tasks("./b")[2]["exit_class"] == "done");
  CHECK(has(cli.must(2, {"run", "-"}, "{\"command\": \"true\", \"begin\": \"soon\"}\n").err,
            "standard input:1: begin: neither a time"));
}

TEST_CASE("wrong requests are refused in words, and do nothing") {
  const Cli cli;
  RunningProgram run(gated(cli));
  read_file(cli.path("ready")).value();
  CHECK(has(cli.must(2, {"cancel", "./b", "--steps", "3-1"}).err, "--steps"));
  CHECK(has(cli.must(2, {"cancel", "./b", "--state", "done"}).err, "must be waiting, queued or running"));
  CHECK(has(cli.must(2, {"hold", "./b", "--steps", "x"}).err, "is not a step"));
  for (const char* verb : {"cancel", "hold", "release", "explain", "retry"}) {
    CHECK(has(cli.must(2, {verb, "./b", "--steps", ""}).err, "--steps"));  // an unset variable of a script
    CHECK(has(cli.must(2, {verb, "./b", "--steps", "99"}).err, "there is no step 99; the steps are 0 to "));
  }
  cli.release("gate");
  CHECK(run.finish().exit_status == 0);
}

}  // namespace allot::test
