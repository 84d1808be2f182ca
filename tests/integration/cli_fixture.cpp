// SPDX-License-Identifier: MIT
#include "tests/integration/cli_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <sstream>
#include <stdexcept>

#include "process/fd.h"
#include "tests/support/catch.h"

namespace allot::test {

Cli::Cli() {
  for (const std::string& directory : {work(), state_home()}) {
    if (::mkdir(directory.c_str(), 0700) != 0) throw std::runtime_error(directory);
  }
}

ProgramOptions Cli::options(const std::vector<std::string>& arguments) const {
  ProgramOptions options;
  options.argv = {built_program("allot")};
  options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
  options.cwd = work();
  options.environment = {
      {"XDG_STATE_HOME", state_home()}, {"XDG_CONFIG_HOME", state_home() + "/config"}, {"LC_ALL", "C"}};
  options.unset = {"ALLOT_CLUSTER_PATH", "ALLOT_PLUGIN_PATH", "ALLOT_LOG"};
  options.timeout = std::chrono::seconds(120);
  return options;
}

ProgramOutcome Cli::run(const std::vector<std::string>& arguments, const std::string& input) const {
  ProgramOptions chosen = options(arguments);
  chosen.input = input;
  return run_program(chosen);
}

ProgramOutcome Cli::must(int status, const std::vector<std::string>& arguments, const std::string& input) const {
  ProgramOutcome outcome = run(arguments, input);
  if (outcome.exit_status != status) {
    std::string text;
    for (const auto& argument : arguments) text += argument + " ";
    FAIL("allot " << text << ": exit status " << outcome.exit_status << " (signal " << outcome.signal << "), not "
                  << status << "\n-- stdout\n"
                  << outcome.out.substr(0, 3000) << "\n-- stderr\n"
                  << outcome.err.substr(0, 3000));
  }
  return outcome;
}

std::vector<nlohmann::json> Cli::tasks(const std::string& batch) const {
  std::istringstream lines(must(0, {"status", batch, "--tasks", "--json"}).out);
  std::vector<nlohmann::json> tasks;
  for (std::string line; std::getline(lines, line);) tasks.push_back(nlohmann::json::parse(line));
  return tasks;
}

nlohmann::json Cli::status(const std::string& batch) const {
  return nlohmann::json::parse(must(0, {"status", batch, "--json"}).out);
}

std::string Cli::output(const std::string& batch, const std::string& step) const {
  return must(0, {"output", batch, step}).out;
}

std::string Cli::write(const std::string& name, const std::string& bytes, mode_t mode) const {
  const Fd fd(::open(path(name).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
  if (!fd || !write_all(fd.get(), bytes)) throw std::runtime_error(path(name));
  return path(name);
}

std::string Cli::make_gate(const std::string& name) const {
  if (::mkfifo(path(name).c_str(), 0600) != 0) throw std::runtime_error(path(name));
  return path(name);
}

void Cli::release(const std::string& name) const {
  // Opening for writing waits for the reader, which is the task.
  const Fd fd(::open(path(name).c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) throw std::runtime_error(path(name));
}

std::string batch_of(const ProgramOutcome& outcome) {
  const std::string mark = "\nbatch: ";
  const auto at = outcome.out.find(mark);
  if (at == std::string::npos) FAIL("no batch is named: " << outcome.out << outcome.err);
  const auto from = at + mark.size();
  return outcome.out.substr(from, outcome.out.find('\n', from) - from);
}

}  // namespace allot::test
