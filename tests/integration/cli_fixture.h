// SPDX-License-Identifier: MIT
// The program `allot` as its users have it, with a home of its own for each test.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/run_program.h"
#include "tests/support/temp_directory.h"

namespace allot::test {

class Cli {
 public:
  Cli();

  /// `allot` with these arguments, in the work directory.
  ProgramOptions options(const std::vector<std::string>& arguments) const;
  ProgramOutcome run(const std::vector<std::string>& arguments, const std::string& input = {}) const;
  /// The same, which must end with that status.
  ProgramOutcome must(int status, const std::vector<std::string>& arguments, const std::string& input = {}) const;

  /// `allot status BATCH --tasks --json`, by step.
  std::vector<nlohmann::json> tasks(const std::string& batch) const;
  /// `allot status BATCH --json`.
  nlohmann::json status(const std::string& batch) const;
  std::string output(const std::string& batch, const std::string& step) const;

  /// Paths in the work directory, which is the program's current one.
  std::string path(const std::string& name) const { return work() + "/" + name; }
  std::string work() const { return root_ / "work"; }
  std::string state_home() const { return root_ / "state"; }
  std::string write(const std::string& name, const std::string& bytes, mode_t mode = 0644) const;

  /// A FIFO in the work directory. A task that reads it goes on when release() was called.
  std::string make_gate(const std::string& name) const;
  void release(const std::string& name) const;

 private:
  TempDirectory root_;
};

/// The batch that a run said it has made ("batch: PATH").
std::string batch_of(const ProgramOutcome& outcome);

}  // namespace allot::test
