// SPDX-License-Identifier: MIT
// `allot status`: one task with all its runs, filters, watching, and the word for snakemake.
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "ledger/record_file.h"
#include "tests/integration/cli_fixture.h"
#include "tests/support/catch.h"

namespace allot::test {

namespace {

nlohmann::json why(const Cli& cli, const std::string& batch, const std::string& step) {
  return nlohmann::json::parse(cli.must(0, {"status", batch, "--why", step, "--json"}).out);
}

ProgramOptions gated(const Cli& cli, const std::string& input) {
  cli.make_gate("ready");
  cli.make_gate("gate");
  ProgramOptions options = cli.options({"run", "-j", "1", "--batch-dir", "b", "-"});
  options.input = input;
  return options;
}

std::ptrdiff_t lines_of(const std::string& text) {
  return std::count(text.begin(), text.end(), '\n');
}

}  // namespace

TEST_CASE("status --why: every run of a task that ran again") {
  const Cli cli;
  cli.must(0, {"run", "--batch-dir", "b", "--retry", "error=2:10ms", "--cores", "1", "--", "sh", "-c",
               "echo run $ALLOT_ATTEMPT >&2; test $ALLOT_ATTEMPT = 3"});
  const auto json = why(cli, "./b", "0");
  CHECK(json["state"] == "done");
  CHECK(json["step"] == 0);
  CHECK(json["cwd"] == cli.work());
  CHECK(json["resources"]["cores"] == 1);
  CHECK(json["resources"]["memory_bytes"].is_null());
  CHECK(json["waits"].is_null());
  CHECK(json["after"].empty());
  REQUIRE(json["runs"].size() == 3);
  for (int i = 0; i < 3; ++i) {
    INFO(i);
    const auto& run = json["runs"][static_cast<std::size_t>(i)];
    CHECK(run["run"] == i + 1);
    CHECK(run["exit_class"] == (i < 2 ? "error" : "done"));
    CHECK(run["exit_code"] == (i < 2 ? 1 : 0));
    CHECK(run["node"].is_string());
    CHECK(run["submitted"] <= run["started"]);
    CHECK(run["started"] <= run["ended"]);
    CHECK(run["evidence"].size() == (i < 2 ? 2 : 1));
    if (i == 2) {
      CHECK(run["retry"].is_null());
      continue;
    }
    CHECK(run["text"] == "run " + std::to_string(i + 1) + "\n");
    CHECK(run["retry"]["because"] == "error");
    CHECK(run["retry"]["number"] == i + 1);
    CHECK(run["retry"]["not_before"] > run["ended"]);
    CHECK(run["distributor_id"] != json["distributor_id"]);
  }
  CHECK(json["runs"][2]["distributor_id"] == json["distributor_id"]);
  const auto text = cli.must(0, {"status", "./b", "--why", "0"}).out;
  CHECK(text.find(": done") != std::string::npos);
  CHECK(text.find("\n  run 2, ") != std::string::npos);
  CHECK(text.find("| run 2") != std::string::npos);
  CHECK(text.find("runs again after ") != std::string::npos);
  CHECK(text.find("no end recorded") == std::string::npos);
  CHECK(cli.must(2, {"status", "./b", "--why", "1"}).err.find("there is no step 1; the steps are 0 to 0") !=
        std::string::npos);
}

TEST_CASE("status --why: what a task waits for") {
  const Cli cli;
  {
    RunningProgram run(gated(cli,
                             "{\"command\": \"echo x > ready; cat gate; exit 1\", \"name\": \"first\"}\n"
                             "{\"command\": \"true\", \"after\": [{\"task\": \"first\", \"when\": \"any\"}]}\n"
                             "{\"command\": \"true\", \"after\": \"first\"}\n{\"command\": \"true\"}\n"));
    CHECK(read_file(cli.path("ready")).value() == "x\n");
    const auto running = why(cli, "./b", "0");
    CHECK(running["waits"].is_null());
    REQUIRE(running["runs"].size() == 1);
    CHECK(running["runs"][0]["ended"].is_null());
    CHECK(running["runs"][0]["exit_class"].is_null());
    const auto waiting = why(cli, "./b", "1");
    CHECK(waiting["waits"] == "it waits for 1 of the tasks that it is to run after");
    CHECK(waiting["after"] == nlohmann::json::parse(R"([{"step": 0, "when": "any", "state": "running"}])"));
    CHECK(waiting["runs"].empty());
    const auto queued = why(cli, "./b", "3");
    CHECK(queued["waits"].get<std::string>().find("it is with the cluster") == 0);
    REQUIRE(queued["runs"].size() == 1);
    CHECK(queued["runs"][0]["run"].is_null());
    CHECK(cli.must(0, {"status", "./b", "--why", "1"}).out.find("after step 0 (any), which is running\n") !=
          std::string::npos);
    cli.release("gate");
    CHECK(run.finish().exit_status == 1);
  }
  const auto abandoned = why(cli, "./b", "2");
  CHECK(abandoned["state"] == "abandoned");
  CHECK(abandoned["after"][0]["state"] == "failed");
  REQUIRE(abandoned["abandoned_because"].size() == 1);
  CHECK(abandoned["abandoned_because"][0].get<std::string>().find("because of step 0") != std::string::npos);
}

TEST_CASE("status --why: a run whose driver was killed") {
  const Cli cli;
  RunningProgram run(gated(cli, "echo x > ready; cat gate\ntrue\n"));
  CHECK(read_file(cli.path("ready")).value() == "x\n");
  run.send_signal(SIGKILL);
  CHECK(run.finish().signal == SIGKILL);
  const auto json = why(cli, "./b", "1");
  CHECK(json["waits"].get<std::string>().find("nobody drives the batch: allot resume " + cli.path("b")) !=
        std::string::npos);
  cli.release("gate");
}

TEST_CASE("status --tasks: only those asked for") {
  const Cli cli;
  cli.must(1, {"run", "--batch-dir", "b", "-"},
           "{\"command\": \"true\", \"name\": \"align a\"}\n{\"command\": \"exit 1\", \"name\": \"align b\"}\n"
           "{\"command\": \"kill -9 $$\", \"name\": \"sort a\"}\n{\"command\": \"exit 1\"}\n");
  const auto count = [&cli](std::vector<std::string> filter) {
    filter.insert(filter.begin(), {"status", "./b", "--tasks", "--json"});
    return lines_of(cli.must(0, filter).out);
  };
  CHECK(count({"--class", "error"}) == 2);
  CHECK(count({"--class", "error", "--class", "done"}) == 3);
  CHECK(count({"--state", "failed", "--class", "signaled"}) == 1);
  CHECK(count({"--name", "align"}) == 2);
  CHECK(count({"--name", "a", "--class", "error"}) == 1);
  CHECK(count({"--steps", "0-1,3"}) == 3);
  CHECK(count({"--steps", "0-1,3", "--class", "error"}) == 2);
  cli.must(2, {"status", "./b", "--class", "error"});
  cli.must(2, {"status", "./b", "--steps", "1"});
  cli.must(2, {"status", "./b", "--tasks", "--class", "wrong"});
  cli.must(2, {"status", "./b", "--tasks", "--steps", "3-1"});
  cli.must(2, {"status", "./b", "--tasks", "--steps", "2-4"});
  cli.must(2, {"status", "./b", "--tasks", "--why", "1"});
}

TEST_CASE("status --watch: until the end") {
  const Cli cli;
  RunningProgram run(gated(cli, "echo x > ready; cat gate\n"));
  CHECK(read_file(cli.path("ready")).value() == "x\n");
  RunningProgram watch(cli.options({"status", "./b", "--watch=0.02", "--json"}));
  const auto at = watch.wait_for_out("\"alive\"");
  watch.wait_for_out("\"alive\"", at);
  cli.release("gate");
  CHECK(run.finish().exit_status == 0);
  const auto outcome = watch.finish();
  CHECK(outcome.exit_status == 0);
  std::istringstream lines(outcome.out);
  std::string line, last;
  while (std::getline(lines, line)) last = line;
  CHECK(nlohmann::json::parse(last)["driver"]["state"] == "left");
  CHECK(nlohmann::json::parse(last)["states"]["done"] == 1);
  // What has ended is shown once, and a terminal's codes stay out of pipes.
  const auto once = cli.must(0, {"status", "--watch", "./b"}).out;
  CHECK(once == cli.must(0, {"status", "./b"}).out);
  cli.must(2, {"status", "--watch=0", "./b"});
  cli.must(2, {"status", "--watch=often", "./b"});
}

TEST_CASE("status --snakemake: one word") {
  const Cli cli;
  const auto word = [&cli](const std::string& batch) { return cli.must(0, {"status", "--snakemake", batch}).out; };
  cli.must(0, {"run", "--batch-dir", "good", "--", "true"});
  CHECK(word("./good") == "success\n");
  cli.must(1, {"run", "--batch-dir", "bad", "-"}, "true\nfalse\n");
  CHECK(word("./bad") == "failed\n");
  CHECK(cli.must(0, {"status", "--snakemake", "./bad"}).err ==
        "allot: " + cli.path("bad") + ": 1 of 2 tasks not done\n");
  {
    RunningProgram run(gated(cli, "echo x > ready; cat gate\n"));
    CHECK(read_file(cli.path("ready")).value() == "x\n");
    CHECK(word("./b") == "running\n");
    run.send_signal(SIGKILL);
    CHECK(run.finish().signal == SIGKILL);
  }
  const auto gone = cli.must(0, {"status", "--snakemake", "./b"});
  CHECK(gone.out == "failed\n");
  CHECK(gone.err.find("is gone; allot resume " + cli.path("b") + " finishes it") != std::string::npos);
  // Nobody waits for a batch that was handed over and is not in the background's queue.
  auto records = RecordWriter::open(cli.path("b/records/driver-1"));
  REQUIRE(records);
  REQUIRE(records->append(EndedRecord{"handed over to the background driver", 1}));
  const auto dropped = cli.must(0, {"status", "--snakemake", "./b"});
  CHECK(dropped.out == "failed\n");
  CHECK(dropped.err.find("handed over to the background driver") != std::string::npos);
  cli.release("gate");
  cli.must(2, {"status", "--snakemake", "./none"});
  cli.must(2, {"status", "--snakemake", "--json", "./good"});
  std::filesystem::resize_file(cli.path("good/tasks.index"), 0);
  CHECK(word("./good") == "failed\n");
}

}  // namespace allot::test
