// SPDX-License-Identifier: MIT
// One submission as Slurm has it: what is kept of it on disk, and what the last looks at the controller have shown.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "distributors/slurm/native_state.h"
#include "distributors/slurm/slurm_settings.h"
#include "distributors/slurm/slurm_types.h"
#include "protocol/result.h"
#include "protocol/step_ranges.h"

namespace allot::slurm {

/// BATCH/submissions/N.slurm: written before the controller is asked, and again when it has answered.
struct Sending {
  std::uint32_t try_number = 1;
  std::uint64_t tasks = 0;
  Layout layout;
  bool is_array = false;                ///< of Slurm's
  std::string job_name;                 ///< "allot-" and the token: by it the job is found again
  std::int64_t sent_at = 0;             ///< Unix seconds
  std::int64_t submitted_at = 0;        ///< as the controller has it; 0: it has not shown the job yet
  std::optional<std::uint32_t> job_id;  ///< once it is known
  // Of a job that the user has submitted (worker_node/script_job.h): how Slurm numbers its elements.
  bool is_users_own = false;
  std::uint64_t first_id = 0, id_step = 1;
};
Result<void> write_sending(const std::string& batch_path, std::uint32_t submission, const Sending& sending);
/// Of a submission of which nothing was sent: its job of the user's own. Errors: gone (neither is there), gave_up
/// (damaged, or another scheduler's), else as errno says.
Result<Sending> read_sending(const std::string& batch_path, std::uint32_t submission);

inline constexpr const char* kJobNamePrefix = "allot-";
/// A try after the first has its number in the name.
std::string job_name_of(const std::string& token, std::uint32_t try_number);

/// What the controller (or the database) said last of one element.
struct ElementView {
  NativeState state;
  JobRecord record;
  bool is_gone = false;                ///< it runs no more, or is not known any more
  bool is_known = false;               ///< false: no look has shown it yet
  bool is_withdrawn = false;           ///< it waited, and then left nothing: cancelled before it began
  bool is_accounted = false;           ///< the accounting was asked
  std::optional<JobRecord> accounted;  ///< its answer
  bool is_settled = false;             ///< nothing of it is to be found out any more
  std::chrono::steady_clock::time_point gone_since{};
};

struct NativeJob {
  std::uint32_t entry = 0;  ///< of the book
  Sending sending;
  bool is_ambiguous = false;                      ///< sent, and whether it was taken is not known
  bool is_answered = false;                       ///< the controller has confirmed it
  bool is_to_be_kept = false;                     ///< `sending` knows more than its file
  bool was_seen = false;                          ///< by a look at the controller's table
  std::map<std::uint64_t, ElementView> elements;  ///< those that were seen by themselves; the others share `waiting`
  StepRanges waiting;                             ///< pending, as of the last look
  std::optional<JobRecord> waiting_record;
  std::chrono::steady_clock::time_point accepted_at{};
  std::optional<std::chrono::steady_clock::time_point> looked_at;    ///< the last look that showed it
  std::optional<std::chrono::steady_clock::time_point> final_since;  ///< of a reason for which it can never start

  std::uint64_t element_count() const { return sending.layout.elements(sending.tasks); }
  /// Positions (in the submission's list of steps) that the element runs: [first, second).
  std::pair<std::uint64_t, std::uint64_t> positions(std::uint64_t element) const {
    const std::uint64_t first = element * sending.layout.pack;
    return {first, std::min(first + sending.layout.pack, sending.tasks)};
  }
  std::uint64_t element_of(std::uint64_t position) const { return position / sending.layout.pack; }
  /// What Slurm calls the element.
  std::uint64_t number_of(std::uint64_t element) const { return sending.first_id + element * sending.id_step; }
  /// The element that Slurm gives this number; nothing: none that has steps.
  std::optional<std::uint64_t> element_numbered(std::uint64_t number) const;
  /// Those of Slurm's numbers that are elements with steps, as elements.
  StepRanges elements_numbered(const StepRanges& numbers) const;
  /// Is this record one of the job's?
  bool is_told_by(const JobRecord& record) const;
  /// The record by which the element waits, as of the last look; null: it does not.
  const JobRecord* pending_record(std::uint64_t element) const;
  /// "123", "123_4" or "123_[4-6,9]".
  std::string native_id(const StepRanges& wanted) const;
};

}  // namespace allot::slurm
