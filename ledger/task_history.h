// SPDX-License-Identifier: MIT
// All that the ledger knows of one task, run by run.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ledger/fold.h"

namespace allot {

/// One submission of the task, and the run that came of it if it started.
struct TaskRun {
  RunKey key;
  std::uint32_t number = 0;  ///< ALLOT_ATTEMPT of the run; 0: no start is known
  std::string distributor_id;
  std::string node;                   ///< empty: not known
  std::int64_t submitted_ns = 0;      ///< 0: no intent is known
  std::int64_t started_ns = 0;        ///< 0: no start is known
  std::int64_t ended_ns = 0;          ///< 0: no end is known
  std::optional<ExitInfo> end;        ///< what counts: a worker node's record over a verdict over a withdrawal
  UsageStats usage;                   ///< empty without a worker node's record
  RequestedResources resources;       ///< that were asked for
  std::vector<std::string> evidence;  ///< one line per witness
  std::optional<RetryRecord> retry;   ///< the latest decision that the task runs again after it
  OutputExtent standard_output, standard_error;
  std::string output_writer;  ///< name of the writer whose output files hold the extents; empty: no output is recorded
};

struct TaskHistory {
  std::vector<TaskRun> runs;             ///< oldest first; the last one is the current one
  std::vector<std::string> notes;        ///< submissions that were refused, records that cannot be read
  std::vector<std::string> abandonment;  ///< why it will not run; empty: it is not abandoned
};

}  // namespace allot
