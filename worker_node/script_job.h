// SPDX-License-Identifier: MIT
// A job of a scheduler that the user has submitted, and whose elements run a batch's submission by themselves: what
// whoever comes later has to know of it. BATCH/submissions/N.job, written once, when the batch is made.
#pragma once

#include <cstdint>
#include <string>

#include "protocol/result.h"

namespace allot {

struct ScriptJob {
  std::string scheduler;          ///< "slurm"
  std::string cluster;            ///< the scheduler's own name of it; empty: it has none
  std::uint32_t job_id = 0;       ///< of the array as a whole
  std::string job_name;           ///< tells it from another job that was given the same id later
  bool is_array = false;          ///< of the scheduler's
  std::uint64_t first_id = 0;     ///< the scheduler's number of the first element
  std::uint64_t id_step = 1;      ///< from one element's number to the next
  std::uint64_t elements = 1;     ///< of the array
  std::uint64_t workers = 1;      ///< worker nodes that an element starts
  std::uint64_t worker_pack = 1;  ///< steps of each, the last ones' may be fewer
  std::uint64_t tasks = 0;        ///< all steps of the submission
  std::uint32_t cores = 1;        ///< of each step
  std::int64_t submitted_at = 0;  ///< no later than this was the job there: Unix seconds
  std::string source;             ///< what the tasks were read from, for people and to tell whether it is another

  std::uint64_t shares() const { return elements * workers; }
  std::uint64_t element_pack() const { return workers * worker_pack; }
};

std::string script_job_path(const std::string& batch_path, std::uint32_t submission);

/// On disk when it returns. Errors: as errno says.
Result<void> write_script_job(const std::string& batch_path, std::uint32_t submission, const ScriptJob& job);

/// Errors: gone (there is none), gave_up (it is damaged), else as errno says.
Result<ScriptJob> read_script_job(const std::string& batch_path, std::uint32_t submission);

}  // namespace allot
