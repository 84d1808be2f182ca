// SPDX-License-Identifier: MIT
// Commands that cannot be started: launch_failed with the reason, never a guessed exit 127.
#include <sys/stat.h>
#include <unistd.h>

#include "tests/contract/session.h"
#include "tests/support/catch.h"

namespace allot::contract {

namespace {

void check_launch_failed(const ExitInfo& info, const std::string& named, const std::string& reason) {
  INFO(describe(info) << ": " << info.text);
  CHECK(info.exit_class == ExitClass::launch_failed);
  CHECK_FALSE(info.exit_code.has_value());
  CHECK_FALSE(info.signal.has_value());
  CHECK(info.text.find(named) != std::string::npos);
  CHECK(info.text.find(reason) != std::string::npos);
}

ExitInfo run_task(const TaskSpec& task) {
  Batch batch;
  const auto step = batch.add(task);
  Session session;
  ExitInfo info = session.run_one(batch.single(step));
  // The same in the records, and the slot goes on.
  CHECK(batch.fold().task(step).exit_class == info.exit_class);
  CHECK(session.run_one(batch.single_line("true")).is_done());
  return info;
}

TaskSpec argv_task(std::vector<std::string> argv) {
  TaskSpec task;
  task.argv = std::move(argv);
  return task;
}

}  // namespace

TEST_CASE("a missing program cannot be launched", "[launch]") {
  check_launch_failed(run_task(argv_task({"no-such-program-anywhere", "x"})), "no-such-program-anywhere", "PATH");
  check_launch_failed(run_task(argv_task({"/no/such/path"})), "/no/such/path", "No such file");
}

TEST_CASE("a file without permission to run cannot be launched", "[launch]") {
  TempDir dir;
  write_text(dir / "plain", "#!/bin/sh\nexit 0\n", 0644);
  check_launch_failed(run_task(argv_task({dir / "plain"})), "plain", "Permission denied");
}

TEST_CASE("a script whose interpreter is missing cannot be launched", "[launch]") {
  TempDir dir;
  write_text(dir / "script", "#!/no/such/interpreter\n", 0755);
  check_launch_failed(run_task(argv_task({dir / "script"})), "script", "No such file");
}

TEST_CASE("a directory cannot be launched", "[launch]") {
  TempDir dir;
  check_launch_failed(run_task(argv_task({dir.path()})), dir.path(), "Permission denied");
}

TEST_CASE("a missing working directory fails the launch", "[launch]") {
  TaskSpec task = argv_task({"true"});
  task.cwd = "/no/such/directory";
  check_launch_failed(run_task(task), "/no/such/directory", "No such file");
}

TEST_CASE("a missing stdin file fails the launch", "[launch]") {
  TaskSpec task = argv_task({"cat"});
  task.stdin_path = "/no/such/input";
  check_launch_failed(run_task(task), "/no/such/input", "No such file");
}

TEST_CASE("an output file that cannot be made fails the launch", "[launch]") {
  TempDir dir;
  write_text(dir / "file", "");
  TaskSpec task = argv_task({"true"});
  // Below a regular file: that refuses root as well.
  task.stdout_path = dir / "file/output";
  check_launch_failed(run_task(task), "file/output", "Not a directory");
  task.stdout_path.clear();
  task.stderr_path = dir / "missing/output";
  check_launch_failed(run_task(task), "missing/output", "No such file");
}

TEST_CASE("a shell line that names a missing program is what its shell says", "[launch]") {
  // Here the shell ran, and its own exit status and message are the truth.
  TaskSpec task;
  task.shell_line = "no-such-program-anywhere; exit $?";
  const ExitInfo info = run_task(task);
  CHECK(info.exit_class == ExitClass::error);
  CHECK(info.exit_code == 127);
  CHECK(info.text.find("no-such-program-anywhere") != std::string::npos);
}

TEST_CASE("a program is looked for in PATH at the start of each task", "[launch]") {
  ClusterOptions options;
  options.slots = 1;
  Batch batch;
  Session session(options);
  const std::string first = batch.cwd() + "/first", second = batch.cwd() + "/second";
  for (const std::string& directory : {first, second}) REQUIRE(::mkdir(directory.c_str(), 0700) == 0);
  const auto put = [](const std::string& directory, const char* word) {
    write_text(directory + "/tool", "#!/bin/sh\necho " + std::string(word) + "\n");
    REQUIRE(::chmod((directory + "/tool").c_str(), 0700) == 0);
  };
  const auto run = [&](bool as_line) {
    TaskSpec task;
    if (as_line) {
      task.shell_line = "tool";
    } else {
      task.argv = {"tool"};
    }
    task.env = {{"PATH", first + ":" + second + ":/usr/bin:/bin"}};
    const std::uint64_t step = batch.add(task);
    CHECK(session.run_one(batch.single(step)).is_done());
    return batch.output(step);
  };
  for (const bool as_line : {true, false}) {
    put(second, "later");
    CHECK(run(as_line) == "later\n");
    put(first, "earlier");
    CHECK(run(as_line) == "earlier\n");
    REQUIRE(::unlink((first + "/tool").c_str()) == 0);
    CHECK(run(as_line) == "later\n");
  }
}

TEST_CASE("arguments reach the program byte for byte", "[launch]") {
  const std::vector<std::string> odd = {"a b",       "",         "'", "\"", "$(echo no)", "*",
                                        "new\nline", "\xff\xfe", "é", "-n", "\\"};
  Batch batch;
  std::vector<std::string> argv = {"printf", "%s\\0"};
  argv.insert(argv.end(), odd.begin(), odd.end());
  const auto step = batch.add_argv(argv);
  Session session;
  CHECK(session.run_one(batch.single(step)).is_done());
  std::string expected;
  for (const auto& argument : odd) expected += argument + '\0';
  CHECK(batch.output(step) == expected);
}

TEST_CASE("cwd and stdin are those of the task", "[launch]") {
  TempDir dir;
  write_text(dir / "input", "line of input\n");
  Batch batch;
  TaskSpec task;
  task.shell_line = "pwd -P; cat";
  task.cwd = dir.path();
  task.stdin_path = dir / "input";
  const auto with = batch.add(task);
  const auto without = batch.add_line("pwd -P; cat; readlink /proc/self/fd/0");
  Session session;
  session.run(batch.array(0, 2));
  CHECK(batch.output(with) == dir.path() + "\nline of input\n");
  CHECK(batch.output(without) == batch.cwd() + "\n/dev/null\n");
}

}  // namespace allot::contract
