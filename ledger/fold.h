// SPDX-License-Identifier: MIT
// The fold: all records of a batch, merged into what is known of every task. Pure reading; any number at a time.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "ledger/batch_directory.h"
#include "ledger/folded_task.h"
#include "ledger/record.h"
#include "ledger/record_file.h"
#include "protocol/result.h"

namespace allot {

/// Rules (DESIGN.md "Rules that settle"): the current run of a task is the one of its newest submission; a worker
/// node's finished record counts over a verdict on the same run, whenever it came; a second finished record of one run
/// is a fault and is reported; an end of an older submission changes nothing and is kept as evidence.
class Fold {
 public:
  /// Reads all record files of the batch. Damage is reported in damage(), not an error.
  static Result<Fold> load(const BatchDirectory& batch);

  std::uint64_t size() const { return tasks_.size(); }  ///< steps in the task table
  const FoldedTask& task(std::uint64_t step) const { return tasks_[step]; }
  /// One step's; for many use a DetailReader (detail_reader.h). Errors: fix_request (no such step), gave_up (the
  /// records that decide cannot be read any more).
  Result<TaskDetail> detail(std::uint64_t step) const;

  const std::vector<FoldedSubmission>& submissions() const { return submissions_; }  ///< by number, ascending
  const FoldedSubmission* submission(std::uint32_t number) const;
  std::uint32_t highest_submission() const { return highest_submission_; }        ///< that any record names
  const std::vector<std::string>& record_files() const { return record_files_; }  ///< writer names
  /// The newest session of each writer (by record_files() index); nothing for files without an opened record.
  const std::vector<std::optional<OpenedRecord>>& sessions() const { return sessions_; }

  /// One line for each torn tail, damaged region, unknown record type and contradiction found; names file and offset.
  const std::vector<std::string>& damage() const { return damage_; }
  std::uint64_t held() const { return held_; }  ///< tasks that are held and neither run nor have ended
  /// What the user set while the batch ran; 0: no limit; nothing: never set.
  const std::optional<std::uint32_t>& max_running() const { return max_running_; }
  const std::vector<AddedRecord>& additions() const { return additions_; }  ///< in the order in which they were made
  bool ended() const { return ended_; }                                     ///< the newest driver left in order
  /// The first one found: with it, a missing started record proves nothing. A torn tail is none: what it was to say
  /// was not said yet.
  const std::optional<RecordGap>& gap() const { return gap_; }
  /// Steps that the driver's claim or an intent names, and the task table does not.
  std::uint64_t missing_steps() const { return missing_steps_; }

  std::uint64_t count(TaskState state) const;

  /// Of tasks whose last run does not stand: they wait from here on, whatever the end of that run was.
  void reopen(const std::function<bool(const FoldedTask&)>& is_to_run_again);

 private:
  friend class FoldBuilder;
  friend class DetailReader;

  // A record that is not its task's current start or end: of an earlier run, or overruled by another one.
  enum class RefKind : std::uint8_t { started, finished, verdict, never_started, withdrawn, abandoned, retry };
  struct RecordRef {
    std::uint32_t step = 0;
    std::uint32_t submission = 0;
    std::uint16_t restart = 0;
    std::uint16_t file = 0;
    RefKind kind = RefKind::started;
    std::uint64_t offset = 0;
    bool operator==(const RecordRef&) const = default;
    auto operator<=>(const RecordRef&) const = default;
  };
  /// Of any kind but none. The two enumerations agree but for their first value.
  static RefKind ref_kind(EndKind kind) { return static_cast<RefKind>(kind); }
  std::vector<RecordRef> refs_of(std::uint64_t step) const;

  BatchDirectory batch_;
  std::vector<FoldedTask> tasks_;
  std::vector<RecordRef> other_records_;  ///< sorted
  std::vector<FoldedSubmission> submissions_;
  std::vector<std::string> record_files_;
  std::vector<std::optional<OpenedRecord>> sessions_;
  std::vector<std::string> damage_;
  std::array<std::uint64_t, 6> counts_{};  ///< by TaskState
  bool ended_ = false;
  std::optional<RecordGap> gap_;
  std::uint64_t missing_steps_ = 0;
  std::uint32_t highest_submission_ = 0;
  std::uint64_t held_ = 0;
  std::optional<std::uint32_t> max_running_;
  std::vector<AddedRecord> additions_;
};

}  // namespace allot
