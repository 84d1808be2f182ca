// SPDX-License-Identifier: MIT
// `allot remove`.
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "ledger/record_file.h"
#include "tests/integration/cli_fixture.h"
#include "tests/support/catch.h"

namespace allot::test {

namespace {

bool is_there(const std::string& path) {
  return std::filesystem::exists(path);
}

std::string id_of(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

// Rewrites the time of a driver's end, which nobody can wait for.
void age(const std::string& batch) {
  auto records = RecordWriter::open(batch + "/records/driver-1");
  REQUIRE(records);
  REQUIRE(records->append(EndedRecord{"all tasks ended", 1'000'000'000}));
}

}  // namespace

TEST_CASE("remove: each is judged by itself") {
  const Cli cli;
  const std::string first = batch_of(cli.must(0, {"run", "--", "true"}));
  cli.must(1, {"run", "--batch-dir", "b", "--", "false"});
  cli.make_gate("ready");
  cli.make_gate("gate");
  ProgramOptions options = cli.options({"run", "--batch-dir", "busy", "-"});
  options.input = "echo x > ready; cat gate\n";
  RunningProgram run(options);
  CHECK(read_file(cli.path("ready")).value() == "x\n");
  std::filesystem::create_directory(cli.path("none"));
  std::ofstream(cli.path("none/file")) << "x";

  const auto tried = cli.must(0, {"remove", "--dry-run", id_of(first), "b"});
  CHECK(tried.out.find("would remove " + first + ": ") != std::string::npos);
  CHECK(is_there(first + "/batch.json"));
  const auto outcome = cli.must(1, {"remove", id_of(first).substr(0, 11), "busy", "./none", "b"});
  CHECK(outcome.out.find("removed " + first + ": ") != std::string::npos);
  CHECK(outcome.err.find("is driven by process " + std::to_string(run.pid())) != std::string::npos);
  CHECK(outcome.err.find(cli.path("none") + ": is no batch") != std::string::npos);
  CHECK_FALSE(is_there(first));
  CHECK_FALSE(is_there(cli.path("b")));
  CHECK(is_there(cli.path("none/file")));
  cli.must(1, {"remove", id_of(first)});

  // Its driver is gone, but not who runs its task.
  run.send_signal(SIGKILL);
  CHECK(run.finish().signal == SIGKILL);
  const auto guarded = cli.must(1, {"remove", "--json", "busy"});
  const auto json = nlohmann::json::parse(guarded.out);
  CHECK(json["removed"] == false);
  CHECK(json["error"].get<std::string>().find("is in use: ") != std::string::npos);
  CHECK(is_there(cli.path("busy/batch.json")));
  RunningProgram resume(cli.options({"resume", "./busy"}));
  resume.wait_for_err("resumed: ");
  cli.release("gate");
  CHECK(resume.finish().exit_status == 0);
  const auto removed = nlohmann::json::parse(cli.must(0, {"remove", "--json", "busy"}).out);
  CHECK(removed["removed"] == true);
  CHECK(removed["files"] > 5);
  CHECK(removed["left"].empty());
  CHECK_FALSE(is_there(cli.path("busy")));
}

TEST_CASE("remove: what else lies in the directory stays there") {
  const Cli cli;
  cli.must(0, {"run", "--batch-dir", "b", "--", "true"});
  cli.write("b/notes", "mine");
  const auto outcome = cli.must(0, {"remove", "./b"});
  CHECK(outcome.err.find("is left there: " + cli.path("b/notes")) != std::string::npos);
  CHECK(read_file(cli.path("b/notes")).value() == "mine");
  CHECK_FALSE(is_there(cli.path("b/records")));
}

TEST_CASE("remove: what was cut short is listed and ended and cannot be resumed") {
  const Cli cli;
  const std::string batch = batch_of(cli.must(1, {"run", "--", "false"}));
  std::filesystem::rename(batch + "/batch.json", batch + "/removing.json");
  std::filesystem::rename(batch + "/epochs", batch + "/removing.epochs");
  cli.must(2, {"resume", id_of(batch)});
  cli.must(2, {"status", id_of(batch)});
  CHECK(cli.must(0, {"list"}).out.find("allot remove " + id_of(batch) + " ends it") != std::string::npos);
  cli.must(0, {"remove", id_of(batch)});
  CHECK_FALSE(is_there(batch));
  // By a name in the current directory, too.
  cli.must(1, {"run", "--batch-dir", "b", "--", "false"});
  std::filesystem::rename(cli.path("b/batch.json"), cli.path("b/removing.json"));
  cli.must(0, {"remove", "b"});
  CHECK_FALSE(is_there(cli.path("b")));
}

TEST_CASE("remove --older-than: only what has ended long ago") {
  const Cli cli;
  const std::string old_done = batch_of(cli.must(0, {"run", "--", "true"}));
  const std::string old_failed = batch_of(cli.must(1, {"run", "--", "false"}));
  const std::string young = batch_of(cli.must(0, {"run", "--", "true"}));
  const std::string cut = batch_of(cli.must(0, {"run", "--array", "3", "--", "true"}));
  for (const auto& batch : {old_done, old_failed, cut}) age(batch);
  for (const auto& entry : std::filesystem::directory_iterator(cut + "/records")) {
    if (entry.path().filename().string().find("driver") == std::string::npos) std::filesystem::remove(entry.path());
  }
  std::filesystem::remove_all(cut + "/output");
  CHECK(cli.must(0, {"remove", "--older-than", "7d", "-n"}).out.find(old_done) != std::string::npos);
  const auto outcome = cli.must(0, {"remove", "--older-than", "7d"});
  CHECK_FALSE(is_there(old_done));
  CHECK_FALSE(is_there(old_failed));
  CHECK(is_there(young));
  CHECK(is_there(cut));
  CHECK(outcome.out.find(young) == std::string::npos);
  cli.must(0, {"remove", "--older-than", "7d"});
  cli.must(2, {"remove"});
  cli.must(2, {"remove", "--older-than", "7d", id_of(young)});
  cli.must(2, {"remove", "--older-than", "long"});
  // One that cannot be read stops nothing, and is told.
  age(young);
  cli.write("../state/allot/batches/" + id_of(cut) + "/batch.json", "{");
  const auto told = cli.must(1, {"remove", "--older-than", "7d"});
  CHECK(told.err.find(cut + "/batch.json") != std::string::npos);
  CHECK_FALSE(is_there(young));
}

TEST_CASE("remove: a driver of another host that has not left is not overruled") {
  const Cli cli;
  cli.must(0, {"run", "--batch-dir", "b", "--", "true"});
  auto json = nlohmann::json::parse(read_file(cli.path("b/epochs/1")).value());
  json["epoch"] = 2;
  json["host"] = "far-away";
  cli.write("b/epochs/2", json.dump());
  const auto outcome = cli.must(1, {"remove", "./b"});
  CHECK(outcome.err.find(" on far-away, and from here it cannot be seen") != std::string::npos);
  CHECK(is_there(cli.path("b/batch.json")));
}

}  // namespace allot::test
