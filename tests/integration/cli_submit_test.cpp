// SPDX-License-Identifier: MIT
// `allot submit` and the driver in the background.
#include <signal.h>

#include <filesystem>
#include <memory>

#include "process/fd.h"
#include "tests/integration/background_cli.h"
#include "tests/support/catch.h"

namespace allot::test {

TEST_CASE("a submitted batch runs in the background with the submitter's environment and directory") {
  BackgroundCli cli;
  const std::string id = cli.submit({"--", "sh", "-c", "echo \"$GREETING from $(pwd)\"; exit 3"});
  CHECK(cli.run({"wait", id}).exit_status == 1);
  const auto task = cli.tasks(id).at(0);
  CHECK(task["exit_code"] == 3);
  ProgramOptions options =
      cli.options({"submit", "--parsable", "--driver-idle", "300ms", "--", "sh", "-c", "echo $GREETING; pwd"});
  options.environment.emplace_back("GREETING", "hello");
  std::string second = run_program(options).out;
  second.pop_back();
  cli.must(0, {"wait", second});
  CHECK(cli.output(second, "0") == "hello\n" + cli.work() + "\n");
}

TEST_CASE("one driver has all batches, and leaves when it has none") {
  BackgroundCli cli;
  cli.make_gate("gate");
  const std::string waiting = cli.submit({"--", "cat", "gate"});
  std::vector<std::string> others;
  for (int i = 0; i < 5; ++i) others.push_back(cli.submit({"--array", "3", "--", "true"}));
  for (const auto& id : others) cli.must(0, {"wait", id});
  const auto pid = cli.driver();
  REQUIRE(pid);
  CHECK(cli.status(waiting)["driver"]["pid"] == *pid);
  for (const auto& id : others) CHECK(cli.status(id)["driver"]["pid"] == *pid);
  CHECK(cli.queue() == std::vector<std::string>{waiting});
  cli.release("gate");
  cli.must(0, {"wait", waiting});
  CHECK(BackgroundCli::wait_for_end(*pid));
  CHECK(cli.queue().empty());
}

TEST_CASE("what a killed driver had in the background, the next one goes on with, and nothing runs twice") {
  BackgroundCli cli;
  cli.make_gate("ready");
  cli.make_gate("gate");
  const std::string first = cli.submit({"-"}, "echo 0 >> effects; echo x > ready; cat gate\necho 1 >> effects\n");
  CHECK(read_file(cli.path("ready")).value() == "x\n");
  const auto pid = cli.driver();
  REQUIRE(pid);
  REQUIRE(::kill(*pid, SIGKILL) == 0);
  CHECK(BackgroundCli::wait_for_end(*pid));
  const std::string second = cli.submit({"--", "true"});
  cli.must(0, {"wait", second});
  cli.release("gate");  // the task still waits there: its worker node was adopted
  cli.must(0, {"wait", first});
  std::string effects = read_file(cli.path("effects")).value();
  CHECK((effects == "0\n1\n" || effects == "1\n0\n"));
  for (const auto& task : cli.tasks(first)) CHECK(task["attempt"] == 1);
}

TEST_CASE("a batch in the background is cancelled, and no driver runs it again by itself") {
  BackgroundCli cli;
  cli.make_gate("ready");
  cli.make_gate("gate");
  const std::string id = cli.submit({"--max-running", "1", "-"}, "echo x > ready; cat gate\necho never >> effects\n");
  CHECK(read_file(cli.path("ready")).value() == "x\n");
  cli.must(0, {"cancel", id});
  CHECK(cli.run({"wait", id}).exit_status == 1);
  const auto pid = cli.driver();
  if (pid) CHECK(BackgroundCli::wait_for_end(*pid));
  cli.must(0, {"wait", cli.submit({"--", "true"})});
  for (const auto& task : cli.tasks(id)) CHECK(task["exit_class"] == "killed");
}

TEST_CASE("a driver that is told to leave ends what runs, and the next one runs it again") {
  BackgroundCli cli;
  cli.make_gate("ready");
  cli.make_gate("gate");
  const std::string id = cli.submit({"-"}, "echo x > ready; cat gate\n");
  CHECK(read_file(cli.path("ready")).value() == "x\n");
  const auto pid = cli.driver();
  REQUIRE(pid);
  REQUIRE(::kill(*pid, SIGTERM) == 0);
  CHECK(BackgroundCli::wait_for_end(*pid));
  CHECK(cli.tasks(id).at(0)["state"] == "waiting");
  CHECK(cli.queue() == std::vector<std::string>{id});
  const std::string other = cli.submit({"--", "true"});
  CHECK(read_file(cli.path("ready")).value() == "x\n");
  cli.release("gate");
  cli.must(0, {"wait", id});
  CHECK(cli.tasks(id).at(0)["exit_class"] == "done");
}

TEST_CASE("of the batches in the background those of higher priority get slots and room first, also the later ones") {
  const std::string limit = GENERATE("max_running = 1\n", "[parameters]\nslots = 1\n");
  BackgroundCli cli;
  const std::string cluster = cli.write("one.toml", "plugin = \"multiprocess\"\n" + limit);
  cli.make_gate("ready");
  cli.make_gate("gate");
  const auto submit = [&](const std::string& priority, const std::string& line) {
    return cli.submit({"-c", cluster, "--priority", priority, "-"}, line + "\n" + line + "\n");
  };
  std::vector<std::string> ids = {cli.submit({"-c", cluster, "-"}, "echo x > ready; cat gate\n")};
  CHECK(read_file(cli.path("ready")).value() == "x\n");
  ids.push_back(submit("-1", "echo low >> effects"));
  ids.push_back(submit("0", "echo middle >> effects"));
  ids.push_back(submit("7", "echo high >> effects"));
  // Each is with the driver, or with the cluster, once that says what it waits for.
  const auto waits = [](const std::string& told) {
    const auto has = [&told](const char* part) { return told.find(part) != std::string::npos; };
    return has("max_running of the cluster") || has(" start first") || has(" core: ") || has("worker node");
  };
  for (std::size_t i = 1; i < ids.size(); ++i) {
    std::string told;
    for (int tries = 0; tries < 500 && !waits(told); ++tries) told = cli.run({"explain", ids[i]}).out;
    INFO(told);
    CHECK(waits(told));
  }
  cli.release("gate");
  for (const auto& id : ids) cli.must(0, {"wait", id});
  CHECK(read_file(cli.path("effects")).value() == "high\nhigh\nmiddle\nmiddle\nlow\nlow\n");
}

TEST_CASE("many submit at once, from the first moment on") {
  BackgroundCli cli;
  std::vector<std::unique_ptr<RunningProgram>> programs;
  for (int i = 0; i < 12; ++i) {
    programs.push_back(std::make_unique<RunningProgram>(
        cli.options({"submit", "--parsable", "--driver-idle", "4s", "--", "sh", "-c", "echo x >> effects"})));
  }
  for (auto& program : programs) {
    const auto outcome = program->finish();
    INFO(outcome.err);
    REQUIRE(outcome.exit_status == 0);
    cli.must(0, {"wait", outcome.out.substr(0, outcome.out.size() - 1)});
  }
  CHECK(read_file(cli.path("effects")).value().size() == 24);
  const std::string log = cli.log();
  INFO(log);
  CHECK(log.find(" begins") == log.rfind(" begins"));
}

TEST_CASE("submit: a signal ends the waiting for a driver that does not answer, and the batch stays in its queue") {
  const int signal = GENERATE(SIGINT, SIGTERM);
  BackgroundCli cli;
  std::string first = cli.must(0, {"submit", "--parsable", "--driver-idle", "5m", "--", "true"}).out;
  first.pop_back();
  cli.must(0, {"wait", first});
  const auto pid = cli.driver();
  REQUIRE(pid);
  REQUIRE(::kill(*pid, SIGSTOP) == 0);
  RunningProgram submit(cli.options({"submit", "--batch-dir", "b", "--", "sh", "-c", "echo x >> effects"}));
  // From then on it waits for the driver only.
  std::string told;
  for (int tries = 0; tries < 2000 && told.find("waits for the background driver") == std::string::npos; ++tries) {
    told = cli.run({"status", "./b"}).out;
  }
  submit.send_signal(signal);
  const auto outcome = submit.finish();
  CHECK(outcome.exit_status == 128 + signal);
  CHECK(outcome.out.empty());
  INFO(outcome.err);
  CHECK(outcome.err.find("interrupted: ") != std::string::npos);
  CHECK(outcome.err.find("is made and in the queue of the background") != std::string::npos);
  CHECK(outcome.err.find("(process " + std::to_string(*pid) + ") takes it up when it goes on") != std::string::npos);
  REQUIRE(::kill(*pid, SIGCONT) == 0);
  cli.must(0, {"wait", "./b"});
  CHECK(read_file(cli.path("effects")).value() == "x\n");
  ::kill(*pid, SIGTERM);
}

TEST_CASE("submit: without a place for the queue of the background no batch is made") {
  const Cli cli;
  const auto submit = [&cli](const std::vector<std::pair<std::string, std::string>>& environment) {
    ProgramOptions options = cli.options({"submit", "--batch-dir", "b", "--", "true"});
    options.environment = environment;
    options.unset.insert(options.unset.end(), {"XDG_STATE_HOME", "HOME"});
    const auto outcome = run_program(options);
    CHECK(outcome.exit_status == 2);
    CHECK(outcome.out.empty());
    CHECK_FALSE(std::filesystem::exists(cli.path("b")));
    return outcome.err;
  };
  CHECK(submit({}) ==
        "allot: neither XDG_STATE_HOME nor HOME is an absolute path, so there is no place for the queue of the "
        "background driver; set one of them\n");
  cli.write("file", "");
  const std::string err = submit({{"XDG_STATE_HOME", cli.path("file")}});
  CHECK(err.find(cli.path("file") + "/allot/background/") != std::string::npos);
  CHECK(err.find("batches cannot be left to the background") != std::string::npos);
}

TEST_CASE("a cluster that cannot be used is refused at once, and no batch is left behind") {
  const Cli cli;
  const auto outcome = cli.run({"submit", "-c", "no-such-cluster", "--", "true"});
  CHECK(outcome.exit_status == 2);
  CHECK_FALSE(std::filesystem::exists(cli.state_home() + "/allot/batches"));
}

}  // namespace allot::test
