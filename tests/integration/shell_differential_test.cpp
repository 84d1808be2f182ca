// SPDX-License-Identifier: MIT
// What is executed without a shell must be what the shell would have done: same bytes, same status.
#include <signal.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "tests/integration/shell_lines.h"
#include "tests/support/captured_run.h"
#include "tests/support/catch.h"
#include "worker_node/shell_line.h"

using namespace allot;
using namespace allot::test;
namespace fs = std::filesystem;

namespace {

const std::string kShell = "/bin/sh";

std::string value_of(const std::vector<std::string>& environment, const std::string& name, const char* otherwise) {
  std::string value = otherwise;
  for (const std::string& entry : environment) {
    if (entry.rfind(name + "=", 0) == 0) value = entry.substr(name.size() + 1);
  }
  return value;
}

// Follows the steps that shell_line.h asks of a caller. Nothing: the line is the shell's.
struct DirectRun {
  CapturedRun run;
  int launch_error = 0;  // errno; 0: it ran
};
std::optional<DirectRun> run_directly(const std::string& line, const std::string& cwd,
                                      std::vector<std::string> environment) {
  std::vector<std::string> argv;
  if (!split_plain_line(line, argv)) return std::nullopt;
  std::vector<char*> pointers;
  for (std::string& entry : environment) pointers.push_back(entry.data());
  static DashOrder order;
  if (!order.arrange(pointers)) return std::nullopt;
  DirectRun result;
  std::string file;
  result.launch_error = find_executable(argv[0], value_of(environment, "PATH", ""), cwd, file);
  if (result.launch_error == kUseShell) return std::nullopt;
  if (result.launch_error != 0) return result;
  result.run = run_captured(file, argv, pointers, cwd);
  if (!result.run.started()) {
    REQUIRE(result.run.failed == SpawnStage::exec);
    if (result.run.error == ENOEXEC || argv[0].find('/') == std::string::npos) return std::nullopt;
    result.launch_error = result.run.error;
    return result;
  }
  append_death_message(result.run.wait_status, result.run.error_output);
  return result;
}

CapturedRun run_by_shell(const std::string& line, const std::string& cwd, const std::vector<std::string>& environment) {
  return run_captured(kShell, {"sh", "-c", line}, environment, cwd);
}

// dash's words for an errno.
std::string shell_complaint(int error) {
  return error == ENOENT || error == ENOTDIR ? "not found" : std::strerror(error);
}

void check_launch_failure(const std::string& line, int error, const CapturedRun& shell) {
  INFO("line: " << line << "\nerrno: " << error << " " << std::strerror(error));
  CHECK(shell.output.empty());
  // A directory or a file without permission that PATH led to is "Permission denied" with 127, one named by a path 126.
  CHECK((shell.shell_status() == 127 || (shell.shell_status() == 126 && error == EACCES)));
  CHECK(shell.error_output.find(": " + shell_complaint(error) + "\n") != std::string::npos);
}

struct Tally {
  std::size_t lines = 0;
  std::size_t direct = 0;         // ran without a shell
  std::size_t launch_failed = 0;  // could not be started, and the shell said so, too
};

void compare(const std::string& line, const std::string& cwd, const std::vector<std::string>& environment,
             Tally& tally) {
  ++tally.lines;
  const std::optional<DirectRun> direct = run_directly(line, cwd, environment);
  if (!direct) return;
  const CapturedRun shell = run_by_shell(line, cwd, environment);
  REQUIRE(shell.started());
  if (direct->launch_error != 0) {
    ++tally.launch_failed;
    check_launch_failure(line, direct->launch_error, shell);
    return;
  }
  ++tally.direct;
  INFO("line: " << line);
  CHECK(direct->run.shell_status() == shell.shell_status());
  CHECK(direct->run.output == shell.output);
  CHECK(direct->run.error_output == shell.error_output);
}

bool shell_is_dash() {
  if (shell_is_dash_like(kShell)) return true;
  WARN(kShell << " is no dash here: every line goes to the shell, nothing to compare");
  return false;
}

}  // namespace

TEST_CASE("hand-written lines do the same without a shell as with it") {
  if (!shell_is_dash()) return;
  const ShellPlayground playground;
  Tally tally;
  for (const std::string& line : handwritten_lines()) compare(line, playground.work(), playground.environment(), tally);
  CHECK(tally.lines > 2000);
  CHECK(tally.direct > 400);
  CHECK(tally.launch_failed > 20);
  WARN(tally.lines << " lines: " << tally.direct << " ran directly, " << tally.launch_failed
                   << " could not be started");
}

TEST_CASE("random lines do the same without a shell as with it") {
  if (!shell_is_dash()) return;
  const ShellPlayground playground;
  Tally tally;
  const auto seed = GENERATE(1u, 2u, 3u, 4u);
  for (const std::string& line : random_lines(seed, 750))
    compare(line, playground.work(), playground.environment(), tally);
  CHECK(tally.direct * 10 > tally.lines * 3);
  WARN(tally.lines << " lines: " << tally.direct << " ran directly, " << tally.launch_failed
                   << " could not be started");
}

TEST_CASE("everyday lines need no shell") {
  std::vector<std::string> argv;
  for (const std::string& line : lines_that_need_no_shell()) {
    CAPTURE(line);
    CHECK(split_plain_line(line, argv));
  }
}

TEST_CASE("any environment arrives as through the shell, in order") {
  if (!shell_is_dash()) return;
  const ShellPlayground playground;
  const std::string line = playground.print_args() + " --env";
  std::mt19937 engine(7);
  const auto below = [&](unsigned bound) { return static_cast<unsigned>(engine() % bound); };
  const char* const known[] = {"PATH=/usr/bin:/bin",
                               "MAIL=/m",
                               "MAILPATH=/n",
                               "PS1=a",
                               "PS2=b",
                               "PS4=c",
                               "TERM=t",
                               "HISTSIZE=3",
                               "ENV=/e",
                               "HOME=/h",
                               "_=/u",
                               "SHLVL=3",
                               "OLDPWD=x",
                               "FUNCNAME=f",
                               "RANDOM=1",
                               "CDPATH=/c",
                               "ATTY=1",
                               "UID=0",
                               "LANG=C",
                               "POSIXLY_CORRECT=1"};
  const std::string letters = "ABCXYZabcxyz_019";
  for (int round = 0; round < 150; ++round) {
    std::vector<std::string> environment;
    const unsigned size = 1 + below(round % 10 == 0 ? 400 : 60);
    for (unsigned i = 0; i < size; ++i) {
      if (below(100) < 15) {
        environment.push_back(known[below(std::size(known))]);
        continue;
      }
      std::string name(1 + below(5), ' ');
      for (char& c : name) c = letters[below(static_cast<unsigned>(letters.size()))];
      if (below(100) < 5) name += below(2) == 0 ? "-x" : ".y";
      environment.push_back(below(100) < 2 ? name : name + "=" + std::to_string(below(1000)));
    }
    environment.insert(environment.begin() + below(size + 1), "PWD=" + playground.work());
    const auto direct = run_directly(line, playground.work(), environment);
    REQUIRE(direct);
    REQUIRE(direct->run.started());
    const CapturedRun shell = run_by_shell(line, playground.work(), environment);
    CHECK(direct->run.output == shell.output);
    CHECK(shell.error_output.empty());
  }
}

TEST_CASE("variables that dash changes keep the line with the shell") {
  const ShellPlayground playground;
  for (const char* entry : {"IFS=x", "OPTIND=1", "OPTIND=nonsense", "LINENO=5", "PPID=1"}) {
    CAPTURE(entry);
    CHECK_FALSE(run_directly("/bin/true", playground.work(), {"PATH=/bin", "PWD=" + playground.work(), entry}));
  }
}

TEST_CASE("PWD and OLDPWD are what the shell makes of them") {
  if (!shell_is_dash()) return;
  const ShellPlayground playground;
  const std::string line = playground.print_args() + " --env";
  const std::string work = playground.work();
  const std::vector<std::string> values = {work,
                                           playground.link(),
                                           work + "/",
                                           work + "/.",
                                           work + "//",
                                           work + "/sub/..",
                                           playground.link() + "/sub/..",
                                           "area",
                                           ".",
                                           "",
                                           "/",
                                           "/nowhere",
                                           work + "/file.txt",
                                           playground.root(),
                                           "//" + work,
                                           work + "/nothing"};
  for (const std::string& cwd : {work, playground.link(), std::string("/")}) {
    for (std::size_t i = 0; i <= values.size(); ++i) {
      std::vector<std::string> given = {"A=1", "OLDPWD=/somewhere", "PATH=/bin"};
      const char* value = nullptr;
      if (i < values.size()) {
        value = values[i].c_str();
        given.insert(given.begin() + 1, "PWD=" + values[i]);
      }
      CAPTURE(cwd, i, value == nullptr ? "unset" : value);
      const std::string pwd = shell_pwd(value, cwd);
      REQUIRE_FALSE(pwd.empty());
      std::vector<std::string> completed = given;
      std::erase_if(completed, [](const std::string& entry) { return entry.rfind("PWD=", 0) == 0; });
      completed.push_back("PWD=" + pwd);
      const auto direct = run_directly(line, cwd, completed);
      REQUIRE(direct);
      CHECK(direct->run.output == run_by_shell(line, cwd, completed).output);
      // The same set of variables, PWD as dash found it in its own: only the order within a bucket may differ.
      const std::string shell_output = run_by_shell(line, cwd, given).output;
      CHECK(shell_output.find(":PWD=" + pwd + "\n") != std::string::npos);
      CHECK(shell_output.size() == direct->run.output.size());
    }
  }
}

TEST_CASE("a directory that is gone is the shell's to complain about") {
  const ShellPlayground playground;
  CHECK(shell_pwd(nullptr, playground.root() + "/gone").empty());
}

TEST_CASE("every PATH leads to the program that the shell would find, or to its complaint") {
  if (!shell_is_dash()) return;
  const ShellPlayground playground;
  const std::string& root = playground.root();
  const auto program = [&](const std::string& directory, const std::string& text, mode_t mode) {
    fs::create_directories(root + "/p/" + directory);
    std::ofstream(root + "/p/" + directory + "/tool") << text;
    fs::permissions(root + "/p/" + directory + "/tool", static_cast<fs::perms>(mode));
  };
  program("good", "#!/bin/sh\necho good \"$0\"\n", 0755);
  program("other", "#!/bin/sh\necho other \"$0\"\n", 0755);
  program("noexec", "#!/bin/sh\necho noexec\n", 0644);
  program("noshebang", "echo noshebang \"$0\"\n", 0755);
  program("badinterpreter", "#!/nonexistent/x\n", 0755);
  program("garbage", std::string("\177ELF\2\1\1 no program"), 0755);
  fs::create_directories(root + "/p/directory/tool");
  fs::create_directories(root + "/p/nothing");
  fs::create_directories(root + "/p/loop");
  fs::create_symlink("tool", root + "/p/loop/tool");
  fs::create_symlink("good/tool", root + "/p/tool");
  const std::vector<std::string> elements = {root + "/p/good",
                                             root + "/p/other",
                                             root + "/p/noexec",
                                             root + "/p/noshebang",
                                             root + "/p/badinterpreter",
                                             root + "/p/garbage",
                                             root + "/p/directory",
                                             root + "/p/nothing",
                                             root + "/p/loop",
                                             root + "/p/good/tool",
                                             root + "/absent",
                                             "",
                                             ".",
                                             "good",
                                             "./other",
                                             "nothing",
                                             root + "/p/good/",
                                             root + "/p/../p/good",
                                             "good%builtin",
                                             "%func"};
  Tally tally;
  const std::string cwd = root + "/p";
  const auto try_path = [&](const std::string& path) {
    CAPTURE(path);
    const std::vector<std::string> environment = {"PATH=" + path, "PWD=" + cwd};
    compare("tool a 'b c'", cwd, environment, tally);
    compare("./tool", cwd, environment, tally);
  };
  for (const std::string& first : elements) {
    try_path(first);
    for (const std::string& second : elements) try_path(first + ":" + second);
  }
  for (const std::string& first : {elements[2], elements[4], elements[6], elements[8]}) {
    for (const std::string& second : {elements[6], elements[7], elements[9]}) {
      for (const std::string& third : {elements[0], elements[2], elements[8]})
        try_path(first + ":" + second + ":" + third);
    }
  }
  CHECK(tally.direct * 2 > tally.lines);
  CHECK(tally.launch_failed > 20);
}
