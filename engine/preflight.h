// SPDX-License-Identifier: MIT
// What would keep tasks from starting, looked at before they are handed to a cluster where they may wait for days.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <unordered_map>

#include "ledger/task_table.h"
#include "protocol/step_ranges.h"

namespace allot {

/// Looks at directories, files and the size of commands as this host sees them now. What it has seen of a path it
/// keeps, so an object is good for one look at many tasks. Not thread-safe.
class Preflight {
 public:
  /// `batch_cwd`: the directory of tasks that name none.
  explicit Preflight(std::string batch_cwd) : batch_cwd_(std::move(batch_cwd)) {}

  /// Why the task could not start, with what to change; nothing if nothing speaks against it.
  std::optional<std::string> fault_of(const TaskSpec& task);

  /// Takes those of `steps` that could not start out of them, and returns them by the reason. A row that cannot be read
  /// speaks against nothing: whoever runs the task tells that.
  std::map<std::string, StepRanges> take_faulty(TaskTableReader& table, StepRanges& steps);

 private:
  using Faults = std::unordered_map<std::string, std::optional<std::string>>;
  const std::optional<std::string>& directory_fault(const std::string& path);
  const std::optional<std::string>& output_fault(const std::string& path);
  std::optional<std::string> file_fault(const TaskSpec& task, const std::string& cwd);

  std::string batch_cwd_;
  Faults directories_, outputs_;  // by absolute path
};

}  // namespace allot
