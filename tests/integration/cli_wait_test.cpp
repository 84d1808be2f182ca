// SPDX-License-Identifier: MIT
// `allot wait`.
#include <signal.h>

#include <filesystem>
#include <sstream>

#include "ledger/batch_directory.h"
#include "ledger/record_file.h"
#include "tests/integration/cli_fixture.h"
#include "tests/support/catch.h"

namespace allot::test {

namespace {

// A batch whose only task has begun and ends when the gate is opened.
struct Gated {
  explicit Gated(const Cli& cli, const std::string& end = "") {
    cli.make_gate("ready");
    cli.make_gate("gate");
    ProgramOptions options = cli.options({"run", "--batch-dir", "b", "-"});
    options.input = "echo x > ready; cat gate" + end + "\n";
    run = std::make_unique<RunningProgram>(options);
    if (read_file(cli.path("ready")).value() != "x\n") throw std::runtime_error("the task has not begun");
  }
  std::unique_ptr<RunningProgram> run;
};

// What a driver of another host, or one that is yet to come, does to the ledger.
void record_end(const std::string& batch, std::uint64_t epoch, const std::string& reason) {
  auto records = RecordWriter::open(batch + "/records/driver-" + std::to_string(epoch));
  REQUIRE(records);
  REQUIRE(records->append(EndedRecord{reason, 1}));
}

}  // namespace

TEST_CASE("wait: for what has ended there is no waiting") {
  const Cli cli;
  cli.must(0, {"run", "--batch-dir", "good", "--array", "3", "--", "true"});
  cli.must(1, {"run", "--batch-dir", "bad", "-"}, "true\nexit 4\n");
  CHECK(cli.must(0, {"wait", "./good"}).out == cli.path("good") + ": 3 tasks: 3 done\n");
  CHECK(cli.must(0, {"wait", "-q", "./good"}).out.empty());
  CHECK(cli.must(1, {"wait", "-q", "./good", "./bad"}).out == cli.path("bad") + ": 2 tasks: 1 done, 1 failed\n");
  const auto json = nlohmann::json::parse(cli.must(1, {"wait", "--json", "./bad"}).out);
  CHECK(json["batch"] == cli.path("bad"));
  CHECK(json["outcome"] == "not_done");
  CHECK(json["failed"] == 1);
  CHECK(json["unfinished"] == 0);
  CHECK(json["driver"]["state"] == "left");
  CHECK(json["text"].is_null());
  CHECK(cli.must(2, {"wait", "./good", "./none"}).out.empty());
  cli.must(2, {"wait"});
  cli.must(2, {"wait", "--timeout", "soon", "./good"});
}

TEST_CASE("wait: until the end, told when it comes") {
  const Cli cli;
  Gated gated(cli);
  cli.must(0, {"run", "--batch-dir", "other", "--", "true"});
  RunningProgram wait(cli.options({"wait", "--json", "./b", "./other"}));
  wait.wait_for_out("/other\"");
  CHECK(wait.out().find("/b\"") == std::string::npos);
  cli.release("gate");
  const auto outcome = wait.finish();
  INFO(outcome.out << outcome.err);
  CHECK(outcome.exit_status == 0);
  std::istringstream lines(outcome.out);
  std::string line;
  std::getline(lines, line);
  std::getline(lines, line);
  CHECK(nlohmann::json::parse(line)["batch"] == cli.path("b"));
  CHECK(nlohmann::json::parse(line)["outcome"] == "done");
  CHECK(gated.run->finish().exit_status == 0);
}

TEST_CASE("wait: a time that is over has a status of its own") {
  const Cli cli;
  Gated gated(cli);
  cli.must(1, {"run", "--batch-dir", "bad", "--", "false"});
  const auto outcome = cli.must(124, {"wait", "--timeout", "50ms", "./b", "./bad"});
  CHECK(outcome.err.find(cli.path("b") + ": has not ended after 50ms") != std::string::npos);
  const auto json = nlohmann::json::parse(cli.must(124, {"wait", "--timeout", "0", "--json", "./b"}).out);
  CHECK(json["outcome"] == "timeout");
  CHECK(json["done"].is_null());
  CHECK(json["driver"]["state"] == "alive");
  cli.release("gate");
  CHECK(gated.run->finish().exit_status == 0);
}

TEST_CASE("wait: a driver that is gone without a word") {
  const Cli cli;
  Gated gated(cli);
  RunningProgram wait(cli.options({"wait", "./b", "./b"}));
  gated.run->send_signal(SIGKILL);
  CHECK(gated.run->finish().signal == SIGKILL);
  const auto outcome = wait.finish();
  CHECK(outcome.exit_status == 1);
  CHECK(outcome.err.find("is gone, and 1 task has not ended; allot resume " + cli.path("b") + " finishes it") !=
        std::string::npos);
  cli.release("gate");
}

TEST_CASE("wait: a driver of another host is followed by its records") {
  const Cli cli;
  cli.must(0, {"run", "--batch-dir", "b", "--", "true"});
  auto batch = BatchDirectory::open(cli.path("b"));
  REQUIRE(batch);
  REQUIRE(batch->claim());
  // As from another host: its pid says nothing here.
  const std::string claim = read_file(cli.path("b/epochs/2")).value();
  auto json = nlohmann::json::parse(claim);
  json["host"] = "far-away";
  cli.write("b/epochs/2", json.dump());
  CHECK(nlohmann::json::parse(cli.must(124, {"wait", "--timeout", "0", "--json", "./b"}).out)["driver"]["state"] ==
        "elsewhere");
  RunningProgram wait(cli.options({"wait", "./b"}));
  record_end(cli.path("b"), 2, "all tasks ended");
  CHECK(wait.finish().exit_status == 0);
}

TEST_CASE("wait: a batch that is not there any more") {
  const Cli cli;
  Gated gated(cli);
  RunningProgram wait(cli.options({"wait", "--json", "./b", "./b"}));
  std::filesystem::rename(cli.path("b"), cli.path("c"));
  gated.run->send_signal(SIGKILL);  // so that it is looked at
  const auto outcome = wait.finish();
  // It may have been renamed before it was opened.
  CHECK(outcome.exit_status == 2);
  cli.release("gate");
  CHECK(gated.run->finish().signal == SIGKILL);
}

}  // namespace allot::test
