// SPDX-License-Identifier: MIT
// The same lines through all of `allot run`: what it kept of each must be what sh printed and how sh ended.
#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "tests/integration/shell_lines.h"
#include "tests/support/captured_run.h"
#include "tests/support/catch.h"

using namespace allot::test;

namespace {

const std::string kAllot = ALLOT_BINARY_DIR "/bin/allot";

// Lines that are no comment, have no effect on others and say the same twice.
bool is_repeatable(const std::string& line) {
  const std::size_t first = line.find_first_not_of(" \t\r\n");
  if (first == std::string::npos || line[first] == '#') return false;  // skipped by allot
  // Effects on others, and two processes that write to stderr in any order.
  if (line.find_first_of("&>|") != std::string::npos) return false;
  for (const char* whole : {"set", "times", "jobs", "ulimit", "trap"}) {
    if (line.compare(first, std::string::npos, whole) == 0) return false;
  }
  for (const char* beginning : {"time ", "'time' "}) {
    if (line.rfind(beginning, 0) == 0) return false;
  }
  const bool may_name_itself = line.rfind("pa", 0) == 0 || line.rfind("kill", 0) == 0;
  return !may_name_itself || line.find("$$") == std::string::npos;
}

std::vector<std::string> repeatable_lines() {
  std::vector<std::string> lines;
  for (const auto& list : {handwritten_lines(), random_lines(11, 1500)}) {
    for (const std::string& line : list) {
      if (is_repeatable(line)) lines.push_back(line);
    }
  }
  return lines;
}

// What allot adds to the environment of a task is no difference.
std::string without_own_names(const std::string& text) {
  // From the name to the end of the line: what stands before it may be output without a newline.
  std::string kept;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t newline = text.find('\n', begin);
    const std::string line = text.substr(begin, newline == std::string::npos ? newline : newline + 1 - begin);
    begin += line.size();
    std::size_t own = line.size();
    for (const std::string name : {"ALLOT_", "JOB_ID=", "ARRAY_STEP_ID="}) own = std::min(own, line.find(name));
    if (newline == std::string::npos || own >= line.size()) {
      kept += line;
      continue;
    }
    const bool is_exported = own >= 7 && line.compare(own - 7, 7, "export ") == 0;
    kept.append(line, 0, is_exported ? own - 7 : own);
  }
  return kept;
}

class Batch {
 public:
  Batch(const ShellPlayground& playground, const std::vector<std::string>& lines)
      : playground_(playground), path_(playground.root() + "/batch") {
    const std::string file = playground.root() + "/lines";
    std::ofstream out(file, std::ios::binary);
    for (const std::string& line : lines) out << line << '\0';
    out.close();
    const CapturedRun run = allot({"run", "-0", "--lines", "-j", "2", "--batch-dir", path_, file});
    INFO("allot run: status " << run.shell_status() << "\n" << run.error_output.substr(0, 2000));
    REQUIRE(run.shell_status() == 1);  // some lines fail, as they should
    std::istringstream rows(allot({"status", path_, "--tasks", "--json"}).output);
    for (std::string row; std::getline(rows, row);) status_.push_back(nlohmann::json::parse(row));
    REQUIRE(status_.size() == lines.size());
  }

  const nlohmann::json& status(std::size_t step) const { return status_[step]; }
  std::string all_output(bool error_stream) const { return output_of({}, error_stream); }
  std::string output(std::size_t step, bool error_stream) const {
    return output_of({std::to_string(step)}, error_stream);
  }

 private:
  CapturedRun allot(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), "allot");
    return run_captured(kAllot, arguments, playground_.environment(), playground_.work());
  }
  std::string output_of(const std::vector<std::string>& steps, bool error_stream) const {
    std::vector<std::string> arguments = {"output", path_};
    arguments.insert(arguments.end(), steps.begin(), steps.end());
    if (error_stream) arguments.push_back("--stderr");
    const CapturedRun run = allot(arguments);
    REQUIRE(run.shell_status() == 0);
    return without_own_names(run.output);
  }

  const ShellPlayground& playground_;
  std::string path_;
  std::vector<nlohmann::json> status_;
};

int shell_status(const nlohmann::json& task) {
  return task["signal"].is_null() ? task["exit_code"].get<int>() : 128 + task["signal"].get<int>();
}

}  // namespace

TEST_CASE("allot run keeps of every line what sh makes of it") {
  const ShellPlayground playground;
  const std::vector<std::string> lines = repeatable_lines();
  REQUIRE(lines.size() > 3000);
  const Batch batch(playground, lines);
  std::vector<CapturedRun> expected;
  std::string all_output, all_error_output;
  std::size_t launch_failed = 0;
  for (std::size_t step = 0; step < lines.size(); ++step) {
    CapturedRun shell = run_captured("/bin/sh", {"sh", "-c", lines[step]}, playground.environment(), playground.work());
    const nlohmann::json& task = batch.status(step);
    INFO("step " << step << ", line: " << lines[step] << "\nstatus: " << task.dump());
    REQUIRE(task["step"] == step);
    if (task["exit_class"] == "launch_failed") {
      // It says so instead of leaving 127 and a line on stderr to be guessed at.
      ++launch_failed;
      CHECK((shell.shell_status() == 126 || shell.shell_status() == 127));
      CHECK(task["exit_code"].is_null());
      CHECK_FALSE(task["evidence"].empty());
      shell.output.clear();
      shell.error_output.clear();
    } else {
      CHECK(shell_status(task) == shell.shell_status());
    }
    all_output += shell.output = without_own_names(shell.output);
    all_error_output += shell.error_output;
    expected.push_back(std::move(shell));
  }
  CHECK(launch_failed > 50);
  CHECK(launch_failed < lines.size() / 4);
  if (batch.all_output(false) == all_output && batch.all_output(true) == all_error_output) return;
  // Something differs: find out which line.
  int found = 0;
  for (std::size_t step = 0; step < lines.size() && found < 10; ++step) {
    INFO("step " << step << ", line: " << lines[step]);
    const std::string output = batch.output(step, false);
    const std::string error_output = batch.output(step, true);
    found += output != expected[step].output || error_output != expected[step].error_output;
    CHECK(output == expected[step].output);
    CHECK(error_output == expected[step].error_output);
  }
  CHECK(found > 0);  // else the outputs of all steps together are not those of the steps one by one
  FAIL("outputs differ");
}
