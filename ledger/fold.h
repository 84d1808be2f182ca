// SPDX-License-Identifier: MIT
// The fold: all records of a batch, merged into what is known of every task. Pure reading; any number at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ledger/batch_directory.h"
#include "ledger/record.h"
#include "ledger/record_file.h"
#include "protocol/result.h"

namespace allot {

enum class TaskState : std::uint8_t {
  waiting,    ///< in the table, not submitted (its dependencies, a hold, or the driver has not come to it)
  queued,     ///< submitted, no started record
  running,    ///< started, no end yet: running, or its witnesses have not been asked
  done,       ///< last run ended as done
  failed,     ///< last run ended otherwise; exit_class says how
  abandoned,  ///< will not run because of another task
};
std::string_view to_string(TaskState state);

/// 40 bytes a task.
struct FoldedTask {
  TaskState state = TaskState::waiting;
  ExitClass exit_class = ExitClass::lost;  ///< meaningful for done and failed
  std::uint8_t number = 0;                 ///< exit code or signal
  bool has_end = false;                    ///< a finished or verdict record of the current run is at end_*
  bool output_incomplete = false;
  std::uint16_t file = 0;  ///< index into record_files(): where the current run's records are
  std::uint16_t restart = 0;
  std::uint32_t submission = 0;      ///< current run's key
  std::uint32_t attempts = 0;        ///< runs that started, all submissions together
  std::uint64_t started_offset = 0;  ///< frame of the started record, 0: none
  std::uint64_t end_offset = 0;      ///< frame of the finished, verdict, withdrawn or abandoned record
};

/// Everything known about one task, read from its records.
struct TaskDetail {
  FoldedTask folded;
  std::string distributor_id;  ///< of the latest submission; empty: never submitted
  std::string node;
  std::int64_t started_ns = 0;  ///< 0: never started
  std::int64_t ended_ns = 0;    ///< 0: has not ended
  ExitInfo exit_info;
  UsageStats usage;
  OutputExtent standard_output;
  OutputExtent standard_error;
  std::string output_writer;          ///< name of the writer whose output files hold the extents; empty: no output
  std::vector<std::string> evidence;  ///< one line per witness, oldest first; late results of superseded runs too
};

/// A submission as the ledger knows it.
struct FoldedSubmission {
  IntentRecord intent;
  bool accepted = false;  ///< a submitted record without error was found
  std::string native_id;
  std::string error;
};

/// Rules (DESIGN.md "Rules that settle"): the current run of a task is the one of its newest submission; a worker
/// node's finished record counts over a verdict on the same run, whenever it came; a second finished record of one run
/// is a fault and is reported; an end of an older submission changes nothing and is kept as evidence.
class Fold {
 public:
  /// Reads all record files of the batch. Damage is reported in damage(), not an error.
  static Result<Fold> load(const BatchDirectory& batch);

  std::uint64_t size() const { return tasks_.size(); }  ///< steps in the task table
  const FoldedTask& task(std::uint64_t step) const { return tasks_[step]; }
  Result<TaskDetail> detail(std::uint64_t step) const;

  const std::vector<FoldedSubmission>& submissions() const { return submissions_; }  ///< by number, ascending
  const FoldedSubmission* submission(std::uint32_t number) const;
  const std::vector<std::string>& record_files() const { return record_files_; }  ///< writer names
  /// The newest session of each writer (by record_files() index); nothing for files without an opened record.
  const std::vector<std::optional<OpenedRecord>>& sessions() const { return sessions_; }

  /// One line for each torn tail, damaged region, unknown record type and contradiction found; names file and offset.
  const std::vector<std::string>& damage() const { return damage_; }
  bool ended() const { return ended_; }  ///< the newest driver left in order

  std::uint64_t count(TaskState state) const;

 private:
  friend class FoldBuilder;
  BatchDirectory batch_;
  std::vector<FoldedTask> tasks_;
  std::vector<FoldedSubmission> submissions_;
  std::vector<std::string> record_files_;
  std::vector<std::optional<OpenedRecord>> sessions_;
  std::vector<std::string> damage_;
  std::vector<std::pair<std::uint32_t, std::string>> late_evidence_;  ///< by step
  bool ended_ = false;
};

}  // namespace allot
