// SPDX-License-Identifier: MIT
// Batches that are left to the driver in the background later, and what is said of those that wait for it.
#include <signal.h>

#include "ledger/record_file.h"
#include "tests/integration/background_cli.h"
#include "tests/support/catch.h"

namespace allot::test {

namespace {

using Json = nlohmann::json;

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// Runs these lines until the first of them has written to the gate "ready", and kills the driver then. The batch lies
// in the home; its id.
std::string cut_short(const Cli& cli, const std::string& lines) {
  cli.make_gate("ready");
  ProgramOptions options = cli.options({"run", "-j", "1", "-"});
  options.input = lines;
  RunningProgram run(options);
  REQUIRE(read_file(cli.path("ready")).value() == "x\n");
  run.send_signal(SIGKILL);
  CHECK(run.finish().signal == SIGKILL);
  return Json::parse(cli.must(0, {"list", "--json"}).out)["id"];
}

std::string path_of(const Cli& cli, const std::string& id) {
  return cli.state_home() + "/allot/batches/" + id;
}

// As allot submit does at its end.
void record_hand_over(const Cli& cli, const std::string& id) {
  auto records = RecordWriter::open(path_of(cli, id) + "/records/driver-1");
  REQUIRE(records);
  REQUIRE(records->append(EndedRecord{"handed over to the background driver", 1}));
}

std::vector<std::string> to_background(const std::string& verb, const std::vector<std::string>& more) {
  std::vector<std::string> words = {verb, "--background", "--driver-idle", "300ms"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

// One of its two tasks runs until it is cancelled with the other; the batch's id.
std::string cancelled_while_running(BackgroundCli& cli) {
  cli.make_gate("ready");
  cli.make_gate("gate");
  const std::string id = cli.submit({"--max-running", "1", "-"}, "echo x > ready; cat gate\necho 1 >> effects\n");
  CHECK(read_file(cli.path("ready")).value() == "x\n");
  cli.must(0, {"cancel", id});
  CHECK(cli.run({"wait", id}).exit_status == 1);
  return id;
}

// Left to the background with one task at a time, whose driver is told to leave when one of these lines has written to
// the gate "ready"; the batch's id.
std::string told_to_leave(BackgroundCli& cli, const std::string& lines) {
  cli.make_gate("ready");
  const std::string id = cli.submit({"--max-running", "1", "-"}, lines);
  CHECK(read_file(cli.path("ready")).value() == "x\n");
  const auto pid = cli.driver();
  REQUIRE(pid);
  REQUIRE(::kill(*pid, SIGTERM) == 0);
  CHECK(BackgroundCli::wait_for_end(*pid));
  return id;
}

}  // namespace

TEST_CASE("resume --background: comes back at once, and what still runs is adopted") {
  BackgroundCli cli;
  cli.make_gate("gate");
  const std::string id = cut_short(cli, "echo x > ready; cat gate; echo 0 >> effects\necho 1 >> effects\n");
  const auto outcome = cli.must(0, to_background("resume", {id}));
  CHECK(has(outcome.out, "next:  allot wait " + id));
  CHECK(cli.must(2, to_background("resume", {id})).err.find("process ") != std::string::npos);
  cli.release("gate");
  cli.must(0, {"wait", id});
  const std::string effects = read_file(cli.path("effects")).value();
  CHECK((effects == "0\n1\n" || effects == "1\n0\n"));
  for (const auto& task : cli.tasks(id)) CHECK(task["attempt"] == 1);
}

TEST_CASE("resume --background: what was cancelled runs again, since the user asks for it") {
  BackgroundCli cli;
  const std::string id = cancelled_while_running(cli);
  CHECK(cli.must(0, to_background("resume", {"-q", id})).out.empty());
  CHECK(read_file(cli.path("ready")).value() == "x\n");
  cli.release("gate");
  cli.must(0, {"wait", id});
  CHECK(read_file(cli.path("effects")).value() == "1\n");
  CHECK(cli.tasks(id).at(0)["attempt"] == 2);
}

TEST_CASE("retry --background: failed tasks run again, and with them what waited for them") {
  BackgroundCli cli;
  cli.write("tasks",
            "{\"name\": \"a\", \"command\": \"test -e mended || exit 3\"}\n"
            "{\"command\": \"echo b >> effects\", \"after\": \"a\"}\n{\"command\": \"exit 4\"}\n");
  cli.must(1, {"run", "--batch-dir", "b", "tasks"});
  CHECK(has(cli.must(0, to_background("retry", {"--class", "timed_out", "./b"})).err, "nothing is run again"));
  CHECK(cli.status("./b")["driver"]["epoch"] == 1);
  cli.write("mended", "");
  const auto outcome = cli.must(0, to_background("retry", {"--steps", "0", "./b"}));
  CHECK(has(outcome.err, "the background driver runs 1 failed task again"));
  cli.must(1, {"wait", "./b"});
  const auto tasks = cli.tasks("./b");
  CHECK(tasks[0]["attempt"] == 2);
  CHECK(tasks[0]["state"] == "done");
  CHECK(tasks[1]["state"] == "done");
  CHECK(tasks[2]["attempt"] == 1);
}

TEST_CASE("retry --background: a cancelled task is not cancelled any more") {
  BackgroundCli cli;
  const std::string id = cancelled_while_running(cli);
  cli.must(0, to_background("retry", {"--steps", "1", id}));
  cli.must(1, {"wait", id});
  CHECK(cli.tasks(id)[0]["exit_class"] == "killed");
  CHECK(cli.tasks(id)[1]["state"] == "done");
}

TEST_CASE("what only a driver of its own could do does not go with --background") {
  const Cli cli;
  cli.must(0, {"run", "--batch-dir", "b", "--", "true"});
  for (const char* verb : {"resume", "retry"}) {
    CHECK(has(cli.must(2, {verb, "--background", "-j", "2", "./b"}).err, "--slots"));
    CHECK(has(cli.must(2, {verb, "--background", "--json", "./b"}).err, "--json"));
    CHECK(has(cli.must(2, {verb, "--driver-idle", "1s", "./b"}).err, "--background"));
  }
  CHECK(has(cli.must(2, {"resume", "--background", "--driver-idle", "soon", "./b"}).err, "--driver-idle"));
  CHECK(has(cli.must(2, {"submit", "--driver-idle", "soon", "--", "true"}).err, "--driver-idle"));
  CHECK(cli.status("./b")["driver"]["epoch"] == 1);
}

TEST_CASE("a batch that waits for the background driver says so, and what to do where none lives") {
  BackgroundCli cli;
  cli.make_gate("gate");
  const std::string id = cut_short(cli, "echo x > ready; cat gate\necho 1 >> effects\n");
  record_hand_over(cli, id);
  cli.put_into_queue(id, path_of(cli, id));
  const std::string waits =
      "it waits for the background driver, and none lives: the next allot submit starts one, "
      "and so does allot resume --background " +
      id + "; allot resume " + id + " finishes it here";
  CHECK(has(cli.must(0, {"status", id}).out, "  " + waits + "\n"));
  CHECK(cli.status(id)["driver"]["state"] == "waiting");
  CHECK(cli.status(id)["driver"]["background_pid"].is_null());
  CHECK(has(cli.must(0, {"status", id, "--why", "1"}).out, waits));
  CHECK(has(cli.must(0, {"explain", id}).out, waits));
  CHECK(has(cli.must(0, {"list"}).out, " waiting "));
  CHECK(Json::parse(cli.must(0, {"list", "--json", "--state", "waiting"}).out)["id"] == id);
  CHECK(has(cli.must(124, {"wait", "--timeout", "20ms", id}).err, waits));
  const auto json = Json::parse(cli.must(124, {"wait", "--timeout", "0", "--json", id}).out);
  CHECK(json["driver"]["state"] == "waiting");
  const auto word = cli.must(0, {"status", "--snakemake", id});
  CHECK(word.out == "running\n");
  CHECK(has(word.err, waits));

  RunningProgram wait(cli.options({"wait", id}));
  wait.wait_for_err("none lives");
  const std::string other = cli.submit({"--", "true"});
  cli.release("gate");
  CHECK(wait.finish().exit_status == 0);
  cli.must(0, {"wait", other});
}

TEST_CASE("a batch whose turn has not come names the driver that it waits for, and can be handed to it again") {
  BackgroundCli cli;
  cli.make_gate("gate");
  cli.make_gate("other");
  const std::string id = cut_short(cli, "echo x > ready; cat gate\necho 1 >> effects\n");
  const std::string busy = cli.submit({"--", "cat", "other"});
  const bool is_handed_over = GENERATE(true, false);
  CAPTURE(is_handed_over);
  if (is_handed_over) record_hand_over(cli, id);
  cli.put_into_queue(id, path_of(cli, id));
  const auto pid = cli.driver();
  REQUIRE(pid);
  const std::string waits =
      "it waits for the background driver (process " + std::to_string(*pid) + ") to begin with it";
  CHECK(has(cli.must(0, {"status", id}).out, waits));
  CHECK(cli.status(id)["driver"]["state"] == "waiting");
  CHECK(cli.status(id)["driver"]["background_pid"] == *pid);
  CHECK(cli.must(0, {"status", "--snakemake", id}).out == "running\n");
  CHECK_FALSE(has(cli.must(124, {"wait", "--timeout", "20ms", id}).err, "none lives"));
  cli.must(1, {"remove", id});
  cli.must(0, to_background("resume", {id}));
  cli.release("gate");
  cli.must(0, {"wait", id});
  CHECK(cli.status(id)["driver"]["pid"] == *pid);
  cli.release("other");
  cli.must(0, {"wait", busy});
}

TEST_CASE("a batch of a killed background driver is for the next one, and one that it has dropped for nobody") {
  BackgroundCli cli;
  cli.make_gate("ready");
  cli.make_gate("gate");
  const std::string id = cli.submit({"-"}, "echo x > ready; cat gate\n");
  CHECK(read_file(cli.path("ready")).value() == "x\n");
  const auto pid = cli.driver();
  REQUIRE(pid);
  REQUIRE(::kill(*pid, SIGKILL) == 0);
  CHECK(BackgroundCli::wait_for_end(*pid));
  const std::string next =
      "is gone; the next background driver goes on with it, or allot resume " + id + " finishes it here";
  CHECK(has(cli.must(0, {"status", id}).out, next));
  CHECK(cli.status(id)["driver"]["state"] == "gone");
  CHECK(has(cli.must(1, {"wait", id}).err, "the next background driver goes on with it"));
  const auto word = cli.must(0, {"status", "--snakemake", id});
  CHECK(word.out == "running\n");
  CHECK(has(word.err, next));
  cli.must(0, to_background("resume", {id}));
  cli.release("gate");
  cli.must(0, {"wait", id});
  CHECK(cli.tasks(id).at(0)["attempt"] == 1);
}

TEST_CASE("a batch that could not be put into the queue was not handed over, and nobody drives it") {
  const Cli cli;
  cli.make_gate("gate");
  const std::string id = cut_short(cli, "echo x > ready; cat gate\n");
  cli.write("../state/allot/background", "in the way");
  const std::string next = "allot resume " + id + " finishes it\n";
  const std::string err = cli.must(3, to_background("resume", {id})).err;
  CHECK(has(err, "batches cannot be left to the background"));
  CHECK(has(err, "nobody drives the batch, and nothing is lost: " + next));
  CHECK(has(cli.must(0, {"status", id}).out, "  its driver has left before the end; " + next));
  CHECK(cli.status(id)["driver"]["state"] == "left");
  const std::string waited = cli.must(1, {"wait", id}).err;
  CHECK(has(waited, "(not handed over: "));
  CHECK(has(waited, next));
  CHECK_FALSE(has(waited, "dropped"));
  cli.release("gate");
  cli.must(0, {"resume", "-q", id});
}

TEST_CASE("what a driver has ended because it was told to leave waits for the next one, and has not failed") {
  BackgroundCli cli;
  cli.make_gate("gate");
  // The first one fails by itself, the last one never starts.
  const std::string id = told_to_leave(cli, "exit 3\necho x > ready; cat gate\ntrue\n");
  CHECK(cli.queue() == std::vector<std::string>{id});
  const std::string waits = "it waits for the background driver, and none lives: the next allot submit starts one";
  const std::string text = cli.must(0, {"status", id}).out;
  CHECK(has(text, waits));
  CHECK(has(text, "3 tasks: 2 waiting 1 failed\n"));
  CHECK(cli.status(id)["driver"]["state"] == "waiting");
  CHECK(cli.status(id)["by_class"]["killed"] == 0);
  CHECK(cli.tasks(id)[1]["state"] == "waiting");
  CHECK(has(cli.must(0, {"status", id, "--why", "1"}).out, waits));
  CHECK(has(cli.must(0, {"explain", id}).out, "steps 1 to 2: as for the batch, " + waits));
  const auto listed = Json::parse(cli.must(0, {"list", "--json", "--state", "waiting"}).out);
  CHECK(listed["unfinished"] == 2);
  CHECK(listed["failed"] == 1);
  const auto word = cli.must(0, {"status", "--snakemake", id});
  CHECK(word.out == "running\n");
  CHECK(has(word.err, waits));
  CHECK(has(cli.must(0, {"hold", id, "--steps", "2"}).err, "1 task held"));
  cli.must(0, {"release", id});

  RunningProgram wait(cli.options({"wait", "--json", id}));
  wait.wait_for_err("none lives");
  const std::string other = cli.submit({"--", "true"});
  CHECK(read_file(cli.path("ready")).value() == "x\n");
  cli.release("gate");
  const auto ended = wait.finish();
  CHECK(ended.exit_status == 1);
  CHECK(Json::parse(ended.out)["done"] == 2);
  CHECK(Json::parse(ended.out)["failed"] == 1);
  CHECK(cli.tasks(id)[0]["attempt"] == 1);
  CHECK(cli.must(0, {"status", "--snakemake", id}).out == "failed\n");
  cli.must(0, {"wait", other});
}

TEST_CASE("what is cancelled while it waits for the next background driver is run again by none") {
  BackgroundCli cli;
  cli.make_gate("gate");
  const std::string id = told_to_leave(cli, "echo x > ready; cat gate\necho x >> effects\n");
  CHECK(has(cli.must(0, {"cancel", id}).out, "0 ended, 2 not started any more, 0 had ended before"));
  CHECK(cli.must(0, {"status", "--snakemake", id}).out == "failed\n");
  CHECK(has(cli.must(0, {"status", id}).out, "2 tasks: 2 failed\n"));
  CHECK(Json::parse(cli.must(1, {"wait", "--json", id}).out)["outcome"] == "not_done");
  const std::string other = cli.submit({"--", "true"});
  cli.must(0, {"wait", other});
  const auto pid = cli.driver();
  if (pid) CHECK(BackgroundCli::wait_for_end(*pid));
  CHECK(cli.queue().empty());
  CHECK_FALSE(std::filesystem::exists(cli.path("effects")));
  for (const auto& task : cli.tasks(id)) CHECK(task["exit_class"] == "killed");
}

TEST_CASE("a part of what waits for the next background driver is cancelled, and the rest goes on") {
  BackgroundCli cli;
  cli.make_gate("gate");
  const std::string id = told_to_leave(cli, "echo x > ready; cat gate\necho x >> effects\n");
  cli.must(0, {"cancel", id, "--steps", "0"});
  CHECK(cli.must(0, {"status", "--snakemake", id}).out == "running\n");
  cli.must(0, {"wait", cli.submit({"--", "true"})});
  CHECK(Json::parse(cli.must(1, {"wait", "--json", id}).out)["done"] == 1);
  CHECK(read_file(cli.path("effects")).value() == "x\n");
  CHECK(cli.tasks(id)[0]["exit_class"] == "killed");
}

TEST_CASE("a batch that was handed over and is not in the queue any more is waited for by nobody") {
  BackgroundCli cli;
  cli.make_gate("gate");
  const std::string id = cut_short(cli, "echo x > ready; cat gate\n");
  record_hand_over(cli, id);
  const std::string text = cli.must(0, {"status", id}).out;
  CHECK(has(text, "its driver has left before the end; the background driver has dropped it ("));
  CHECK(has(text, "/driver.log may say why); allot resume " + id + " finishes it\n"));
  CHECK(cli.status(id)["driver"]["state"] == "left");
  CHECK(has(cli.must(1, {"wait", id}).err, "the background driver has dropped it"));
  cli.release("gate");
}

}  // namespace allot::test
