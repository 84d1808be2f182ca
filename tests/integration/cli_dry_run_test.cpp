// SPDX-License-Identifier: MIT
// allot run --dry-run: what would be submitted, and nothing of it done.
#include <signal.h>

#include <algorithm>
#include <filesystem>

#include "tests/integration/cli_fixture.h"
#include "tests/support/catch.h"

namespace allot::test {

namespace {

using Catch::Matchers::ContainsSubstring;
using Json = nlohmann::json;

constexpr char kTasks[] =
    "{\"name\": \"a\", \"command\": \"touch ran\"}\n"
    "{\"name\": \"b\", \"command\": [\"echo\", \"b c\"], \"resources\": {\"cores\": 1, \"memory\": \"64M\"}, "
    "\"timeout\": \"90s\"}\n"
    "\n"
    "{\"command\": \"true\", \"resources\": {\"cores\": 4000}}\n"
    "{\"command\": \"true\", \"after\": [\"a\", {\"task\": 1, \"when\": \"any\"}]}\n";

// Everything below the work directory and the home of batches.
std::vector<std::string> files(const Cli& cli) {
  std::vector<std::string> found;
  for (const auto& root : {cli.work(), cli.state_home()}) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace

TEST_CASE("a dry run shows arrays and resources and what is refused or waits and leaves nothing") {
  const Cli cli;
  cli.write("tasks", kTasks);
  const auto before = files(cli);
  const auto outcome = cli.must(1, {"run", "--dry-run", "--batch-dir", "batch", "tasks"});
  CHECK_THAT(outcome.out, ContainsSubstring("array 1: 1 task, step 0, queue default\n  step 0: touch ran\n"));
  CHECK_THAT(outcome.out,
             ContainsSubstring("array 2: 1 task, step 1, queue default, 1 core, memory 64M, runtime 1m30s\n"
                               "  step 1: echo 'b c'\n"));
  CHECK_THAT(outcome.out, ContainsSubstring("4000 cores\n  would be refused: queue default of cluster multiprocess: "));
  CHECK_THAT(outcome.out, ContainsSubstring("after other tasks: 1 task, step 3, queue default\n"
                                            "  step 3: true  [after 0, 1 (any)]\n"));
  CHECK_THAT(outcome.out,
             ContainsSubstring("4 tasks: 3 at once, in 3 arrays; 1 after other tasks; 1 would be refused\n"));
  CHECK_THAT(outcome.err, ContainsSubstring("1 blank line skipped"));
  CHECK(files(cli) == before);
  // The reason is the one that the run gives.
  cli.must(1, {"run", "-q", "--batch-dir", "batch", "tasks"});
  const std::string reason = cli.tasks("./batch").at(2)["text"];
  CHECK_THAT(outcome.out, ContainsSubstring("would be refused: " + reason));
}

TEST_CASE("a dry run shows what does not start before its time") {
  const Cli cli;
  cli.write("tasks",
            "{\"command\": \"true\"}\n{\"command\": \"later\", \"begin\": \"2190-01-31T20:00Z\"}\n"
            "{\"command\": \"both\", \"begin\": \"2190-01-31T20:00Z\", \"after\": 0}\n"
            "{\"command\": \"past\", \"begin\": \"2001-09-09T01:46:40Z\"}\n");
  const std::string text = cli.must(0, {"run", "--dry-run", "tasks"}).out;
  const std::string time = "2190-01-31T20:00:00.000000Z";
  CHECK_THAT(text, ContainsSubstring("not before " + time + ": 1 task, step 1, queue default\n  step 1: later\n"));
  CHECK_THAT(text, ContainsSubstring("  step 2: both  [after 0, not before " + time + "]\n"));
  CHECK_THAT(text,
             ContainsSubstring("4 tasks: 2 at once, in 1 array; 1 at a time of their own; 1 after other tasks\n"));
  const auto json = Json::parse(cli.must(0, {"run", "--dry-run", "--json", "tasks"}).out);
  CHECK(json["at_begin"] == 1);
  CHECK(json["at_once"] == 2);
  CHECK(json["submissions"][0]["commands"][0]["begin"].is_null());
  CHECK(json["submissions"][0]["commands"][1]["begin"] == "2001-09-09T01:46:40.000000Z");
  CHECK(json["submissions"][1]["when"] == "at_begin");
  CHECK(json["submissions"][1]["commands"][0]["begin"] == time);
  CHECK(json["submissions"][2]["when"] == "after_others");
  CHECK(json["submissions"][2]["commands"][0]["begin"] == time);
}

TEST_CASE("a dry run as JSON says the same") {
  const Cli cli;
  cli.write("tasks", kTasks);
  const Json json = Json::parse(cli.must(1, {"run", "--dry-run", "--json", "-q", "tasks"}).out);
  CHECK(json["tasks"] == 4);
  CHECK(json["at_once"] == 3);
  CHECK(json["after_others"] == 1);
  CHECK(json["refused"] == 1);
  REQUIRE(json["submissions"].size() == 4);
  const Json& second = json["submissions"][1];
  CHECK(second["queue"] == "default");
  CHECK(second["resources"]["memory_bytes"] == 64 << 20);
  CHECK(second["resources"]["runtime_seconds"] == 90);
  CHECK(second["resources"]["gpus"].is_null());
  CHECK(second["refusal"].is_null());
  CHECK(second["commands"][0]["source_line"] == 2);
  CHECK(json["submissions"][2]["refusal"].is_string());
  CHECK(json["submissions"][3]["commands"][0]["after"] ==
        Json::parse(R"([{"step": 0, "when": "ok"}, {"step": 1, "when": "any"}])"));
  const Json empty = Json::parse(cli.must(0, {"run", "--dry-run", "--json", "--allow-empty", "-"}).out);
  CHECK(empty["tasks"] == 0);
  CHECK(empty["submissions"].empty());
}

TEST_CASE("a dry run splits by max_running and shows all with --tasks") {
  const Cli cli;
  cli.write("few.toml", "plugin = \"multiprocess\"\nmax_running = 4\n");
  const auto outcome = cli.must(0, {"run", "--dry-run", "-c", "./few.toml", "--array", "10", "--", "echo", "{#}"});
  CHECK_THAT(outcome.out, ContainsSubstring("array 1: 4 tasks, steps 0-3, queue default\n"));
  CHECK_THAT(outcome.out, ContainsSubstring("  step 2: echo 2\n  ... and 1 more\n"));
  CHECK_THAT(outcome.out, ContainsSubstring("when there is room: 6 tasks, steps 4-9"));
  CHECK_THAT(outcome.out,
             ContainsSubstring("10 tasks: 4 at once, in 1 array; 6 when there is room; 4 at a time (max_running)\n"));
  const auto all =
      cli.must(0, {"run", "--dry-run", "--tasks", "-c", "./few.toml", "--array", "10", "--", "echo", "{#}"});
  for (int step = 0; step < 10; ++step) {
    CHECK_THAT(all.out, ContainsSubstring("step " + std::to_string(step) + ": echo " + std::to_string(step) + "\n"));
  }
  const auto own = Json::parse(cli.must(0, {"run", "--dry-run", "--json", "-c", "./few.toml", "--max-running", "7",
                                            "--array", "10", "--", "true"})
                                   .out);
  CHECK(own["max_running"] == 7);
  CHECK(own["at_once"] == 7);
  const auto ordered = cli.must(0, {"run", "--dry-run", "-"},
                                "{\"command\": \"a\", \"name\": \"n\", \"max_parallel\": 1}\n"
                                "{\"command\": \"b\", \"name\": \"n\", \"max_parallel\": 1}\n"
                                "{\"command\": \"c\", \"priority\": 2}\n");
  CHECK_THAT(ordered.out, ContainsSubstring("array 1: 1 task, step 2, queue default, priority 2\n"));
  const auto sum = Json::parse(cli.must(0, {"run", "--dry-run", "--json", "--priority", "-7", "-"},
                                        "{\"command\": \"a\"}\n{\"command\": \"b\", \"priority\": 2}\n")
                                   .out);
  CHECK(sum["submissions"][0]["priority"] == -5);
  CHECK(sum["submissions"][1]["priority"] == -7);
  CHECK_THAT(cli.must(2, {"run", "--priority", "4000000000", "--", "true"}).err,
             ContainsSubstring("--priority: must be -2147483648 to 2147483647"));
  CHECK_THAT(ordered.out, ContainsSubstring("array 2: 1 task, step 0, queue default, 1 at a time of name n\n"));
  CHECK_THAT(ordered.out, ContainsSubstring("when there is room: 1 task, step 1, queue default"));
  CHECK_THAT(cli.must(0, {"run", "--dry-run", "--", "echo", "x"}).out, ContainsSubstring("no array: step 0, queue"));
  CHECK(cli.must(0, {"run", "--dry-run", "-q", "--", "echo", "x"}).out.empty());
  const auto bytes = Json::parse(cli.must(0, {"run", "--dry-run", "--json", "--", "echo", "\xff"}).out);
  CHECK(bytes["submissions"][0]["commands"][0]["command_base64"] == "ZWNobyAn/yc=");
}

TEST_CASE("a dry run says when it would begin") {
  const Cli cli;
  const auto text = [&](const char* time) {
    return cli.must(0, {"run", "--dry-run", "--begin", time, "--array", "2", "--", "true"}).out;
  };
  CHECK_THAT(
      text("2099-01-31T20:00Z"),
      ContainsSubstring("nothing is started\nbegin: 2099-01-31T20:00:00.000000Z; nothing is submitted before\n"));
  CHECK_THAT(text("2001-01-31T20:00Z"),
             ContainsSubstring("begin: 2001-01-31T20:00:00.000000Z; that has passed, so at once\n"));
  CHECK(cli.must(0, {"run", "--dry-run", "--", "true"}).out.find("begin: ") == std::string::npos);
  const auto begin = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"run", "--dry-run", "--json"});
    return Json::parse(cli.must(0, more).out).at("begin");
  };
  CHECK(begin({"--begin", "2099-01-31T20:00:30Z", "--", "true"}) == "2099-01-31T20:00:30.000000Z");
  CHECK(begin({"--begin", "10m", "--", "true"}).is_string());
  CHECK(begin({"--begin", "2099-01-31T20:00Z", "--allow-empty", "-"}) == "2099-01-31T20:00:00.000000Z");
  CHECK(begin({"--", "true"}).is_null());
  CHECK_THAT(cli.must(2, {"run", "--dry-run", "--begin", "soon", "--", "true"}).err, ContainsSubstring("--begin"));
}

TEST_CASE("a dry run of many lines prints a summary") {
  const Cli cli;
  std::string lines, different;
  for (int i = 0; i < 200'000; ++i) lines += "echo " + std::to_string(i) + "\n";
  for (int i = 0; i < 20'000; ++i) {
    different += "{\"command\": \"true\", \"resources\": {\"memory\": " + std::to_string(1'000'000 + i) + "}}\n";
  }
  const auto same = cli.must(0, {"run", "--dry-run", "-"}, lines);
  CHECK(same.out.size() < 2000);
  CHECK_THAT(same.out, ContainsSubstring("... and 199997 more\n") && ContainsSubstring("200000 tasks: 200000 at once"));
  const auto groups = cli.must(0, {"run", "--dry-run", "-"}, different);
  CHECK(groups.out.size() < 5000);
  CHECK_THAT(groups.out, ContainsSubstring("... and 19980 more groups and arrays\n"));
  const auto json = Json::parse(cli.must(0, {"run", "--dry-run", "--json", "-"}, different).out);
  CHECK(json["submissions"].size() == 20);
  CHECK(json["submissions_not_shown"] == 19'980);
  const auto all = Json::parse(cli.must(0, {"run", "--dry-run", "--json", "--tasks", "-"}, lines).out);
  CHECK(all["submissions"][0]["commands"].size() == 200'000);
}

TEST_CASE("a signal ends a dry run and nothing is left of it") {
  for (const int signal : {SIGINT, SIGTERM, SIGKILL}) {
    const Cli cli;
    std::filesystem::create_directory(cli.path("tmp"));
    ProgramOptions options = cli.options({"run", "--dry-run", "-"});
    options.environment.emplace_back("ALLOT_LOG", "debug");
    options.environment.emplace_back("TMPDIR", cli.path("tmp"));
    options.keep_input_open = true;
    options.input = "touch ran\n";
    RunningProgram run(options);
    run.wait_for_err("reading tasks");
    run.send_signal(signal);
    const auto outcome = run.finish();
    CHECK(outcome.out.empty());
    if (signal == SIGKILL) {
      CHECK(outcome.signal == SIGKILL);
    } else {
      CHECK(outcome.exit_status == 128 + signal);
    }
    CHECK(files(cli) == std::vector<std::string>{cli.path("tmp")});
  }
}

}  // namespace allot::test
