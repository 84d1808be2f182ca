// SPDX-License-Identifier: MIT
// What drivers record: what they are about to do, and what they have decided.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ledger/task_table.h"
#include "protocol/exit_info.h"
#include "protocol/resources.h"
#include "protocol/step_ranges.h"
#include "protocol/submission.h"

namespace allot {

/// One run of one task: (step, submission, native restart count).
struct RunKey {
  std::uint32_t step = 0;
  std::uint32_t submission = 0;
  std::uint16_t restart = 0;
  friend bool operator==(const RunKey&, const RunKey&) = default;
  friend auto operator<=>(const RunKey&, const RunKey&) = default;
};

/// The driver's intent, durable before the plugin is asked.
struct IntentRecord {
  std::uint32_t submission = 0;
  std::string token;
  std::string id_base;
  bool is_array = false;
  std::uint64_t step_origin = 0;
  StepRanges steps;
  std::uint32_t attempt = 1;
  RequestedResources resources;
  std::string name;
  std::int64_t at_ns = 0;
  std::int32_t priority = 0;
  std::vector<std::string> excluded_nodes;
  std::uint32_t round = 0;
};

/// The intent to submit, and which submission an intent speaks of.
IntentRecord intent_of(const Submission& submission, std::int64_t at_ns);
Submission submission_of(const IntentRecord& intent, const std::string& batch_directory);

/// The plugin accepted a submission (`native_id`: the scheduler's, empty if none) or refused it (`error` not empty).
struct SubmittedRecord {
  std::uint32_t submission = 0;
  std::string native_id;
  std::string error;
  std::int64_t at_ns = 0;
};

/// The driver's verdict on a run without a finished record, or on a queued step that never started (`started` false).
struct VerdictRecord {
  RunKey key;
  bool started = true;
  ExitInfo exit_info;  ///< text: the evidence
  std::int64_t at_ns = 0;
};

/// Queued steps taken out before they started because the user asked for it: their end is `killed`.
struct WithdrawnRecord {
  std::uint32_t submission = 0;
  StepRanges steps;
  std::string reason;
  std::int64_t at_ns = 0;
};

/// A task that will never run because of another one (`cause_step`).
struct AbandonedRecord {
  std::uint32_t step = 0;
  std::uint32_t cause_step = 0;
  std::string reason;
  std::int64_t at_ns = 0;
};

/// The driver left in order; `reason` says why ("all tasks ended", "cancelled", "stopped").
struct EndedRecord {
  std::string reason;
  std::int64_t at_ns = 0;
};

/// The driver's decision that a task runs again after the run `key` has ended; until then it waits.
struct RetryRecord {
  RunKey key;
  ExitClass because = ExitClass::error;  ///< how that run ended
  std::uint16_t retry = 1;               ///< the how manieth after an end of that class
  std::int64_t not_before_ns = 0;        ///< Unix time; 0: at once
  RequestedResources resources;          ///< what it asks for next
  std::string reason;
  std::int64_t at_ns = 0;
};
/// RetryRecord::retry of a run that the user asked for (allot retry): the budgets begin anew.
inline constexpr std::uint16_t kRetryOnRequest = 0;
/// RetryRecord::retry of a run that the task itself asked for (an exit code that means defer): it takes of no budget.
inline constexpr std::uint16_t kRetryDeferred = UINT16_MAX;

/// Steps that are not to start until they are released (`held`), or that are released.
struct HeldRecord {
  bool held = true;
  StepRanges steps;
  std::int64_t at_ns = 0;
};

/// Steps that the user cancelled: no driver runs them again unless the user asks for it (allot resume, allot retry).
struct CancelledRecord {
  StepRanges steps;
  std::int64_t at_ns = 0;
  bool cancelled = true;  ///< false: the user has asked for it, and some driver is to do so
};

/// How many tasks of the batch may be queued or running at once, from now on.
struct ThrottleRecord {
  std::uint32_t max_running = 0;  ///< 0: as many as the cluster takes
  std::int64_t at_ns = 0;
};

/// Tasks that a run has added to its batch. Their rows were on disk before; without the record they do not count.
struct AddedRecord {
  RunKey parent;  ///< the run
  std::string token;
  std::string name;  ///< what was added once under this name is not added again by the same task; may be empty
  std::uint32_t first_step = 0;
  std::uint32_t count = 0;
  bool again = false;  ///< once it has ended well, the task waits for these, and then runs again
  DependencyKind when = DependencyKind::after_ok;  ///< how they must end for that
  std::int64_t at_ns = 0;
};

}  // namespace allot
