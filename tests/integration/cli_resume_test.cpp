// SPDX-License-Identifier: MIT
// `allot resume` after a driver was killed, and when there is nothing to do.
#include <signal.h>

#include <algorithm>
#include <filesystem>

#include "tests/integration/cli_fixture.h"
#include "tests/support/catch.h"

namespace allot::test {

TEST_CASE("a killed driver's batch is finished: what ran to its end is not run again") {
  const Cli cli;
  cli.make_gate("ready");
  cli.make_gate("gate");
  std::string lines;
  for (int i = 0; i < 5; ++i) lines += "echo " + std::to_string(i) + " >> effects\n";
  lines += "echo 5 >> effects; echo x > ready; cat gate\n";
  for (int i = 6; i < 20; ++i) lines += "echo " + std::to_string(i) + " >> effects\n";
  ProgramOptions options = cli.options({"run", "-j", "1", "--batch-dir", "b", "-"});
  options.input = lines;
  {
    RunningProgram run(options);
    CHECK(read_file(cli.path("ready")).value() == "x\n");
    run.send_signal(SIGKILL);
    CHECK(run.finish().signal == SIGKILL);
  }
  CHECK(cli.status("./b")["driver"]["state"] == "gone");
  CHECK(cli.must(0, {"status", "./b"}).out.find("is gone; allot resume " + cli.path("b") + " finishes it") !=
        std::string::npos);

  RunningProgram resume(cli.options({"resume", "-j", "1", "--json", "./b"}));
  resume.wait_for_err("resumed: ");
  cli.release("gate");  // the task still waits there: its worker node was adopted
  const auto outcome = resume.finish();
  INFO(outcome.err);
  CHECK(outcome.exit_status == 0);
  const auto json = nlohmann::json::parse(outcome.out);
  CHECK(json["done"] == 20);
  std::istringstream effects(read_file(cli.path("effects")).value());
  std::vector<int> runs(20);
  for (int step = 0; effects >> step;) ++runs.at(static_cast<std::size_t>(step));
  const auto tasks = cli.tasks("./b");
  for (std::size_t step = 0; step < 20; ++step) {
    INFO("step " << step);
    CHECK(tasks[step]["state"] == "done");
    CHECK(tasks[step]["attempt"] == 1);
    CHECK(runs[step] == 1);
  }
  CHECK(cli.status("./b")["damage"].empty());
}

TEST_CASE("a batch that is driven is not taken over, and the holder is named") {
  const Cli cli;
  cli.make_gate("ready");
  cli.make_gate("gate");
  ProgramOptions options = cli.options({"run", "--batch-dir", "b", "-"});
  options.input = "echo x > ready; cat gate\n";
  RunningProgram run(options);
  CHECK(read_file(cli.path("ready")).value() == "x\n");
  const auto refused = cli.must(2, {"resume", "./b"});
  CHECK(refused.err.find("process " + std::to_string(run.pid())) != std::string::npos);
  cli.release("gate");
  CHECK(run.finish().exit_status == 0);
}

TEST_CASE("resuming a batch that has ended does nothing, with the exit status of its tasks") {
  const Cli cli;
  cli.must(1, {"run", "--batch-dir", "b", "-"}, "echo once >> effects\necho failed >> effects; exit 1\n");
  const auto outcome = cli.must(1, {"resume", "--json", "./b"});
  const auto json = nlohmann::json::parse(outcome.out);
  CHECK(json["done"] == 1);
  CHECK(json["failed"] == 1);
  const auto effects = read_file(cli.path("effects")).value();
  CHECK(std::count(effects.begin(), effects.end(), '\n') == 2);
  // The summary is that of the whole batch.
  const auto told = cli.must(1, {"resume", "./b"});
  CHECK(told.out.find("failures:\n  step 1: ") != std::string::npos);
  CHECK(told.out.find("slowest:") != std::string::npos);
}

TEST_CASE("resume uses the batch's cluster, by whatever way it was named") {
  const Cli cli;
  cli.write("mine.toml", "plugin = \"sequential\"\n");
  cli.must(0, {"run", "-c", "./mine.toml", "--batch-dir", "b", "--", "true"});
  CHECK(cli.status("./b")["cluster"] == cli.path("mine.toml"));
  cli.must(0, {"resume", "./b"});
}

TEST_CASE("a batch whose table lost tasks is never told to be done") {
  const Cli cli;
  cli.must(0, {"run", "--batch-dir", "b", "--array", "30", "--", "echo", "x"});
  const std::string index = cli.path("b/tasks.index");
  for (const std::uint64_t left : {20u, 0u}) {
    INFO(left << " tasks left");
    std::filesystem::resize_file(index, left * 8);
    const auto resume = cli.must(3, {"resume", "--json", "./b"});
    CHECK(resume.out.empty());
    CHECK(resume.err.find(index + ": damaged: it names the rows of " + std::to_string(left) +
                          " tasks, and the batch has 30") != std::string::npos);
    const auto status = cli.must(3, {"status", "./b"});
    CHECK(status.out.find("damage: tasks.index: damaged") != std::string::npos);
    CHECK(status.err.find("of the batch's 30 tasks are missing") != std::string::npos);
    const auto output = cli.must(1, {"output", "./b"});
    CHECK(output.out.size() == 2 * left);
    CHECK(output.err.find("the steps from " + std::to_string(left) + " to 29 are missing") != std::string::npos);
  }
}

TEST_CASE("a batch whose environment was damaged is not resumed") {
  const Cli cli;
  cli.must(0, {"run", "--batch-dir", "b", "--", "true"});
  std::filesystem::resize_file(cli.path("b/environment"), 100);
  const auto resume = cli.must(3, {"resume", "./b"});
  CHECK(resume.err.find(cli.path("b/environment") + ": damaged (it holds 84 bytes of ") != std::string::npos);
}

}  // namespace allot::test
