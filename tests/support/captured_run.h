// SPDX-License-Identifier: MIT
// Runs one program to its end and keeps what it wrote.
#pragma once

#include <string>
#include <vector>

#include "process/spawn.h"

namespace allot::test {

struct CapturedRun {
  SpawnStage failed = SpawnStage::none;
  int error = 0;        ///< errno where it could not be started
  int wait_status = 0;  ///< as wait4(2) gave it
  std::string output;
  std::string error_output;

  bool started() const { return failed == SpawnStage::none; }
  /// The exit status, or 128 + signal: what a shell would show.
  int shell_status() const;
};

/// Runs `path` with stdin from /dev/null, without core dumps, in `cwd`. Throws std::runtime_error if no memory file can
/// be made.
CapturedRun run_captured(const std::string& path, const std::vector<std::string>& argv,
                         const std::vector<std::string>& environment, const std::string& cwd);

/// The same with the environment's entries as given: pointers, no null at the end.
CapturedRun run_captured(const std::string& path, const std::vector<std::string>& argv, std::vector<char*> environment,
                         const std::string& cwd);

}  // namespace allot::test
