// SPDX-License-Identifier: MIT
// What the fold knows of a task and of a submission.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ledger/record.h"

namespace allot {

enum class TaskState : std::uint8_t {
  waiting,    ///< not submitted (dependencies, a hold, or the driver has not come to it), or to run again
  queued,     ///< submitted, no started record
  running,    ///< started, no end yet: running, or its witnesses have not been asked
  done,       ///< last run ended as done
  failed,     ///< last run ended otherwise; exit_class says how
  abandoned,  ///< will not run because of another task
};
std::string_view to_string(TaskState state);

/// Which record says how a task's current run ended.
enum class EndKind : std::uint8_t {
  none,
  finished,       ///< the worker node's own
  verdict,        ///< the driver's, on a run that started and left no finished record
  never_started,  ///< the driver's verdict on a step that never started
  withdrawn,      ///< taken out of the queue because the user asked for it
  abandoned,      ///< another task is the cause
};

/// 40 bytes a task.
struct FoldedTask {
  TaskState state = TaskState::waiting;
  ExitClass exit_class = ExitClass::lost;  ///< meaningful for done and failed
  std::uint8_t number = 0;                 ///< exit code or signal
  bool has_end = false;                    ///< a finished or verdict record of the current run is at end_*
  bool output_incomplete = false;
  EndKind end_kind = EndKind::none;
  std::uint16_t file = 0;      ///< index into record_files(): where the current run's started record is
  std::uint16_t end_file = 0;  ///< the same of the record at end_offset
  std::uint16_t restart = 0;
  std::uint32_t submission = 0;      ///< current run's key; 0: never submitted
  std::uint32_t attempts = 0;        ///< runs that started, all submissions together
  bool is_retry_due = false;         ///< the current run has ended, and another one was decided on
  bool is_held = false;              ///< not to start until it is released
  bool is_cancelled = false;         ///< by the user, and not submitted since
  bool is_again_due = false;         ///< once the current run has ended well, another one follows after what it added
  std::uint64_t started_offset = 0;  ///< frame of the started record, 0: none
  std::uint64_t end_offset = 0;      ///< frame of the finished, verdict, withdrawn or abandoned record
};
static_assert(sizeof(FoldedTask) == 40);

/// Everything known about one task.
struct TaskDetail {
  std::uint64_t step = 0;
  FoldedTask folded;
  std::string distributor_id;  ///< of the latest submission; empty: never submitted
  std::string node;
  std::int64_t started_ns = 0;  ///< 0: never started
  std::int64_t ended_ns = 0;    ///< 0: has not ended
  ExitInfo exit_info;           ///< meaningful for done and failed; the text for abandoned, too
  UsageStats usage;             ///< of the current run; empty without a finished record
  OutputExtent standard_output, standard_error;
  std::uint32_t leftover_processes = 0;  ///< that outlived the command and were ended
  std::string output_writer;             ///< name of the writer whose output files hold the extents; empty: no output
  std::vector<std::string> evidence;     ///< one line per witness, oldest first; late results of superseded runs too
  std::array<std::uint16_t, kExitClassCount> retries{};  ///< decided on so far, by the class of the end before
  std::optional<RetryRecord> retry;                      ///< the latest of them
  std::uint32_t deferrals = 0;                           ///< runs that asked to be run again later
  std::int64_t first_deferral_ns = 0;                    ///< Unix time; 0: none
};

/// A submission as the ledger knows it.
struct FoldedSubmission {
  IntentRecord intent;
  bool accepted = false;  ///< a submitted record without error was found; with one (`error`) it never took effect
  std::string native_id;
  std::string error;
  std::uint16_t file = 0;  ///< index into record_files(): of the driver that wrote the intent
};

}  // namespace allot
