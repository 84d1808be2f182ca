// SPDX-License-Identifier: MIT
// A batch and its tasks as `allot status` shows them.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/console.h"
#include "cli/take_over.h"
#include "ledger/detail_reader.h"
#include "ledger/fold.h"
#include "ledger/task_table.h"
#include "protocol/step_ranges.h"

namespace allot::cli {

/// Nothing for an unknown name.
std::optional<TaskState> task_state_from_string(std::string_view name);

/// Which tasks are listed; what is not given does not matter.
struct TaskFilter {
  std::vector<TaskState> states;
  std::vector<ExitClass> classes;  ///< of tasks that are done or failed
  std::string name;                ///< a part of the task's name
  std::optional<StepRanges> steps;

  bool matches(std::uint64_t step, const FoldedTask& task) const;
};

/// Everything that is referred to outlives the report.
class StatusReport {
 public:
  StatusReport(const BatchDirectory& batch, const Fold& fold, TaskTableReader& table, Holder holder)
      : batch_(batch), fold_(fold), table_(table), details_(fold), holder_(std::move(holder)) {}

  nlohmann::ordered_json json() const;
  /// Errors: those of the details.
  Result<std::string> text();
  /// Every task that matches.
  Result<void> tasks(StandardOutput& out, bool as_json, const TaskFilter& filter);

  /// Everything about one task (why_report.cpp). Errors: those of the details.
  Result<nlohmann::ordered_json> why_json(std::uint64_t step);
  Result<std::string> why_text(std::uint64_t step);

  /// About the rows of the task table that could not be read so far; nothing if there are none.
  std::optional<std::string> unreadable_rows() const;

 private:
  std::array<std::uint64_t, kExitClassCount> by_class() const;
  std::uint64_t incomplete_outputs() const;
  std::string driver_text() const;
  Result<std::string> list(TaskState state, bool with_text);
  /// Null: damaged, and counted.
  const TaskSpec* row(std::uint64_t step);
  /// For which of the tasks that it has added a task waits; empty if it does not.
  std::string open_additions(const TaskDetail& detail) const;
  /// The task that added it to the batch.
  std::optional<std::uint32_t> added_by(std::uint64_t step) const;
  /// Why a task does not run; empty if it does, or has ended.
  std::string reason_of_waiting(const TaskDetail& detail, const TaskSpec& spec) const;

  const BatchDirectory& batch_;
  const Fold& fold_;
  TaskTableReader& table_;
  DetailReader details_;
  Holder holder_;
  std::uint64_t unreadable_ = 0;
  std::string first_unreadable_;
};

}  // namespace allot::cli
