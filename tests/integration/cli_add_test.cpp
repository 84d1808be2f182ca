// SPDX-License-Identifier: MIT
// `allot add`: a task that adds tasks to its own batch.
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "tests/integration/cli_fixture.h"
#include "tests/support/catch.h"

namespace allot::test {

namespace {

// The tests' tasks call the program that is tested.
std::string allot() {
  return built_program("allot");
}

std::vector<std::string> lines_of(const Cli& cli, const std::string& file) {
  std::istringstream text(read_file(cli.path(file)).value());
  std::vector<std::string> lines;
  for (std::string line; std::getline(text, line);) lines.push_back(line);
  return lines;
}

}  // namespace

TEST_CASE("a task splits its work and comes back when it is done and holds no slot meanwhile") {
  const Cli cli;
  const std::string cluster = GENERATE("multiprocess", "sequential");
  cli.write("mine.toml", "plugin = \"" + cluster + "\"\n");
  cli.write("split.sh", "if [ $ALLOT_ROUND = 0 ]; then exec " + allot() +
                            " add --again -- sh -c 'echo $1 >> parts' sh {} ::: a b c; fi\n"
                            "echo round $ALLOT_ROUND attempt $ALLOT_ATTEMPT; sort parts\n");
  // The one that is to run after it waits for its last round.
  std::vector<std::string> options = {"run", "-c", "./mine.toml", "--batch-dir", "b", "--json", "-"};
  const auto outcome = cli.must(0, options,
                                "{\"command\": \"sh split.sh\", \"name\": \"split\"}\n"
                                "{\"command\": \"cat parts | wc -l\", \"after\": \"split\"}\n");
  const auto json = nlohmann::json::parse(outcome.out);
  CHECK(json["tasks"] == 5);
  CHECK(json["done"] == 5);
  CHECK(cli.output("./b", "0") == "round 1 attempt 2\na\nb\nc\n");
  CHECK(cli.output("./b", "1") == "3\n");
  const auto why = nlohmann::json::parse(cli.must(0, {"status", "./b", "--json", "--why", "2"}).out);
  CHECK(why["added_by"] == 0);
  CHECK(cli.must(0, {"status", "./b", "--why", "2"}).out.find("  added by step 0\n") != std::string::npos);
  CHECK(cli.status("./b")["damage"].empty());
  CHECK(std::filesystem::is_empty(cli.path("b/additions")));
}

TEST_CASE("the steps are told and added tasks begin in the directory of who added them") {
  const Cli cli;
  cli.write("more", "echo more\n");
  cli.must(0, {"run", "--batch-dir", "b", "-"},
           "mkdir sub; cd sub; " + allot() + " add --parsable --array 2 -- pwd > steps; " + allot() +
               " add ../more > told\n");
  CHECK(read_file(cli.path("sub/steps")).value() == "1-2\n");
  CHECK(read_file(cli.path("sub/told")).value() == "1 task added: step 3\n");
  CHECK(cli.output("./b", "2") == cli.path("sub") + "\n");
  CHECK(cli.output("./b", "3") == "more\n");
}

TEST_CASE("a task that has added tasks says for which it waits") {
  const Cli cli;
  cli.make_gate("gate");
  ProgramOptions options = cli.options({"run", "-j", "2", "--batch-dir", "b", "-"});
  options.input = "[ $ALLOT_ROUND != 0 ] || " + allot() + " add --again -- sh -c 'echo x > ready; cat gate'\n";
  cli.make_gate("ready");
  RunningProgram run(options);
  CHECK(read_file(cli.path("ready")).value() == "x\n");
  const auto waits = [&] { return cli.must(0, {"status", "./b", "--why", "0"}).out; };
  while (waits().find("waiting") == std::string::npos) continue;
  CHECK(waits().find("it runs again when the 1 task that it has added has ended (1 left)") != std::string::npos);
  CHECK(cli.must(0, {"explain", "./b"}).out.find("it waits for the end of step 1") != std::string::npos);
  cli.release("gate");
  CHECK(run.finish().exit_status == 0);
}

TEST_CASE("after the driver was killed the next one answers and nothing is added twice") {
  const char* const point = GENERATE("driver_added_rows:1", "driver_added:1");
  const Cli cli;
  ProgramOptions options = cli.options({"run", "--batch-dir", "b", "-"});
  options.environment.emplace_back("ALLOT_FAULT", point);
  options.environment.emplace_back("ALLOT_FAULT_ROLE", "allot");
  options.environment.emplace_back("ALLOT_FAULT_FLAG", cli.path("fired"));
  options.input = "[ $ALLOT_ROUND != 0 ] || " + allot() + " add --again -- sh -c 'echo $1 >> parts' sh {} ::: a b c\n";
  RunningProgram run(options);
  CHECK(run.finish().signal == SIGKILL);
  const auto resumed = cli.must(0, {"resume", "--json", "./b"});
  CHECK(nlohmann::json::parse(resumed.out)["done"] == 4);
  auto parts = lines_of(cli, "parts");
  std::sort(parts.begin(), parts.end());
  CHECK(parts == std::vector<std::string>{"a", "b", "c"});
  CHECK(cli.status("./b")["damage"].empty());
}

TEST_CASE("what cannot be added is refused and nothing of it is in the batch") {
  const Cli cli;
  const auto outside = cli.must(2, {"add", "--", "true"});
  CHECK(outside.err.find("allot add is for tasks that run") != std::string::npos);
  cli.write("cycle",
            "{\"command\": \"true\", \"name\": \"a\", \"after\": \"b\"}\n"
            "{\"command\": \"true\", \"name\": \"b\", \"after\": \"a\"}\n");
  cli.write("empty", "");
  cli.must(0, {"run", "--batch-dir", "b", "-"},
           allot() + " add cycle 2> cycle.err; echo $? > status\n" +                        //
               allot() + " add empty 2> empty.err; echo $? >> status2\n" +                  //
               allot() + " add --again=maybe -- true 2> again.err; echo $? >> status3\n" +  //
               allot() + " add 2> none.err; echo $? >> status4\n");
  for (const char* status : {"status", "status2", "status3", "status4"})
    CHECK(read_file(cli.path(status)).value() == "2\n");
  CHECK(read_file(cli.path("cycle.err")).value().find("cycle") != std::string::npos);
  CHECK(read_file(cli.path("empty.err")).value().find("empty: holds no tasks") != std::string::npos);
  CHECK(read_file(cli.path("again.err")).value().find("--again: must be ok or any, and is \"maybe\"") !=
        std::string::npos);
  CHECK(read_file(cli.path("none.err")).value().find("nothing to run") != std::string::npos);
  CHECK(cli.status("./b")["tasks"] == 4);
}

TEST_CASE("a driver that does not answer in time has added nothing") {
  const Cli cli;
  cli.make_gate("ready");
  cli.make_gate("gate");
  ProgramOptions options = cli.options({"run", "--batch-dir", "b", "-"});
  options.input =
      "echo x > ready; cat gate; " + allot() + " add --wait 100ms -- true 2> err; echo $? > status; echo x > over\n";
  cli.make_gate("over");
  RunningProgram run(options);
  CHECK(read_file(cli.path("ready")).value() == "x\n");
  run.send_signal(SIGSTOP);
  cli.release("gate");
  CHECK(read_file(cli.path("over")).value() == "x\n");
  run.send_signal(SIGCONT);
  CHECK(run.finish().exit_status == 0);
  CHECK(read_file(cli.path("status")).value() == "3\n");
  CHECK(read_file(cli.path("err")).value().find("no driver has taken the tasks in 100ms; nothing was added") !=
        std::string::npos);
  CHECK(cli.status("./b")["tasks"] == 1);
}

}  // namespace allot::test
