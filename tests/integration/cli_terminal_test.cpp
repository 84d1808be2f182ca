// SPDX-License-Identifier: MIT
// On a terminal: the progress bar, and Ctrl-C once and twice.
#include <signal.h>

#include <algorithm>

#include "tests/integration/cli_fixture.h"
#include "tests/support/catch.h"

namespace allot::test {

namespace {

ProgramOptions on_terminal(const Cli& cli, const std::vector<std::string>& arguments) {
  ProgramOptions options = cli.options(arguments);
  options.on_terminal = true;
  options.environment.emplace_back("TERM", "xterm");
  return options;
}

// The states of the bar, each as it was drawn.
std::vector<std::string> bars_of(const std::string& screen) {
  std::vector<std::string> bars;
  std::size_t at = 0;
  while ((at = screen.find('\r', at)) != std::string::npos) {
    const std::size_t end = screen.find("\x1b[K", ++at);
    if (end == std::string::npos) break;
    if (end > at && screen[at] != '\n') bars.push_back(screen.substr(at, end - at));
  }
  return bars;
}

}  // namespace

TEST_CASE("a bar shows what is done, failed and running, and goes away at the end") {
  const Cli cli;
  cli.make_gate("gate");
  cli.write("lines", "exit 2\ntrue\ncat gate\n");
  ProgramOptions options = on_terminal(cli, {"run", "-j", "1", "--batch-dir", "b", "lines"});
  options.columns = 100;
  RunningProgram run(options);
  run.wait_for_err("1/3 done, 1 failed, 1 running");
  cli.release("gate");
  const auto outcome = run.finish();
  CHECK(outcome.exit_status == 1);
  const auto bars = bars_of(outcome.err);
  REQUIRE_FALSE(bars.empty());
  for (const auto& bar : bars) {
    CHECK(bar.size() < 100);
    CHECK(bar.front() == '[');
  }
  CHECK(std::any_of(bars.begin(), bars.end(), [](const auto& bar) { return bar.find(" 66% ") != std::string::npos; }));
  CHECK(outcome.err.find("allot: step 0: error (2): exit 2") != std::string::npos);
  CHECK(outcome.err.substr(outcome.err.size() - 4) == "\r\x1b[K");
  CHECK(outcome.out.find("3 tasks: 2 done, 1 failed") == 0);
}

TEST_CASE("a narrow terminal gets no more than fits") {
  const Cli cli;
  ProgramOptions options = on_terminal(cli, {"run", "--array", "50", "--batch-dir", "b", "--", "true"});
  options.columns = 30;
  const auto outcome = run_program(options);
  CHECK(outcome.exit_status == 0);
  for (const auto& bar : bars_of(outcome.err)) CHECK(bar.size() < 30);
}

TEST_CASE("the bar is redrawn ten times a second at most") {
  const Cli cli;
  const auto begin = std::chrono::steady_clock::now();
  const auto outcome = run_program(on_terminal(cli, {"run", "--array", "2000", "--batch-dir", "b", "--", "true"}));
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  CHECK(outcome.exit_status == 0);
  CHECK(bars_of(outcome.err).size() <= 10 * seconds + 3);
}

TEST_CASE("without a terminal there is no bar, and a short run says nothing") {
  const Cli cli;
  const auto outcome = cli.must(0, {"run", "--array", "100", "--", "true"});
  CHECK(outcome.err.empty());
  ProgramOptions options = on_terminal(cli, {"run", "--quiet", "--", "true"});
  CHECK(run_program(options).err.empty());
  options = on_terminal(cli, {"run", "--", "true"});
  options.environment.back().second = "dumb";
  CHECK(run_program(options).err.find('\r') == std::string::npos);
}

TEST_CASE("Ctrl-C ends running tasks by TERM, takes out queued ones, and says how to go on") {
  const Cli cli;
  cli.make_gate("ready");
  cli.write("lines",
            "test ! -e again || exit 0; trap 'echo ended by TERM; exit 1' TERM; echo x > ready; while :; do sleep "
            "0.05; done\n"
            "touch never-1\ntouch never-2\n");
  RunningProgram run(on_terminal(cli, {"run", "-j", "1", "--batch-dir", "b", "lines"}));
  CHECK(read_file(cli.path("ready")).value() == "x\n");
  run.write_input("\x03");
  const auto outcome = run.finish();
  CHECK(outcome.exit_status == 128 + SIGINT);
  CHECK(outcome.err.find("allot: cancelling: ") != std::string::npos);
  CHECK(outcome.out.find("3 tasks: 0 done, 3 failed") == 0);
  CHECK(outcome.out.find("cancelled") != std::string::npos);
  CHECK(outcome.out.find("allot resume " + cli.path("b")) != std::string::npos);
  CHECK(cli.output("./b", "0") == "ended by TERM\n");
  const auto tasks = cli.tasks("./b");
  for (const auto& task : tasks) CHECK(task["exit_class"] == "killed");
  CHECK(tasks[1]["attempt"] == 0);

  cli.write("again", "");
  const auto resumed = cli.must(0, {"resume", "./b"});
  CHECK(resumed.out.find("3 tasks: 3 done") == 0);
}

TEST_CASE("a second Ctrl-C kills a task that does not heed the first") {
  const Cli cli;
  cli.make_gate("ready");
  cli.make_gate("deaf");
  // The trap tells that TERM has come; with a grace of an hour only the second request can end the task.
  cli.write("lines", "trap 'echo x > deaf' TERM; echo x > ready; while :; do sleep 0.05; done\n");
  RunningProgram run(on_terminal(cli, {"run", "--grace", "1h", "--batch-dir", "b", "lines"}));
  CHECK(read_file(cli.path("ready")).value() == "x\n");
  run.write_input("\x03");
  CHECK(read_file(cli.path("deaf")).value() == "x\n");
  run.write_input("\x03");
  const auto outcome = run.finish();
  CHECK(outcome.exit_status == 128 + SIGINT);
  const auto tasks = cli.tasks("./b");
  CHECK(tasks[0]["exit_class"] == "killed");
  CHECK(tasks[0]["signal"] == SIGKILL);
}

TEST_CASE("SIGTERM and SIGHUP cancel as Ctrl-C does, and an ignored SIGHUP is ignored") {
  const Cli cli;
  cli.make_gate("ready");
  for (const int signal : {SIGTERM, SIGHUP}) {
    const std::string batch = "b" + std::to_string(signal);
    ProgramOptions options = cli.options({"run", "--json", "--batch-dir", batch, "-"});
    options.input = "echo x > ready; exec sleep 1000\n";
    RunningProgram run(options);
    CHECK(read_file(cli.path("ready")).value() == "x\n");
    run.send_signal(signal);
    const auto outcome = run.finish();
    CHECK(outcome.exit_status == 128 + signal);
    CHECK(nlohmann::json::parse(outcome.out)["by_class"]["killed"] == 1);
  }
  cli.make_gate("gate");
  ProgramOptions options = cli.options({"run", "--batch-dir", "hup", "-"});
  options.argv.insert(options.argv.begin(), "nohup");
  options.input = "echo x > ready; cat gate\n";
  RunningProgram run(options);
  CHECK(read_file(cli.path("ready")).value() == "x\n");
  run.send_signal(SIGHUP);
  cli.release("gate");
  CHECK(run.finish().exit_status == 0);
}

TEST_CASE("a signal while the input is read leaves nothing behind") {
  const Cli cli;
  ProgramOptions options = cli.options({"run", "--batch-dir", "b", "-"});
  options.environment.emplace_back("ALLOT_LOG", "debug");
  options.keep_input_open = true;
  options.input = "touch ran\n";
  RunningProgram run(options);
  run.wait_for_err("reading tasks");
  run.send_signal(SIGINT);
  const auto outcome = run.finish();
  CHECK(outcome.exit_status == 128 + SIGINT);
  CHECK(cli.run({"status", "./b"}).exit_status == 2);
  CHECK_FALSE(read_file(cli.path("ran")));
}

}  // namespace allot::test
