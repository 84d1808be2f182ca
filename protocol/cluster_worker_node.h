// SPDX-License-Identifier: MIT
// The view that a task's process has of itself on the compute node. It reads the environment and nothing else.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "protocol/exit_info.h"
#include "protocol/result.h"
#include "protocol/usage_stats.h"

namespace allot {

enum class LogType { standard_output, standard_error };

/// Thread rule: one thread at a time.
class ClusterWorkerNode {
 public:
  virtual ~ClusterWorkerNode() = default;

  /// ALLOT_DISTRIBUTOR_ID, the same text that the submitter was given; nothing outside a task.
  virtual std::optional<std::string> distributor_id() const = 0;

  /// ALLOT_ARRAY_STEP_ID; nothing (not "None") for a task that is no array element.
  virtual std::optional<std::uint64_t> array_step_id() const = 0;

  /// What this process and its waited-for children used up to now (getrusage(2)); wall time is unknown here.
  virtual Result<UsageStats> get_usage_stats() const = 0;

  /// The exit info of a wait status as waitpid(2) gave it. `error_text` is cut to its last 10 000 characters
  /// (not bytes; never inside a UTF-8 sequence).
  virtual ExitInfo get_exit_info(int wait_status, const std::string& error_text) const = 0;

  /// Creates (truncates) `{log_dir}/{name}.o{id}` or `.e{id}` and returns its path; "/dev/null" when log_dir is empty.
  /// Errors: fix_request with path and reason when it cannot be created, or outside a task (no id).
  virtual Result<std::string> initialize_logfile(LogType log_type, const std::string& log_dir,
                                                 const std::string& name) = 0;
};

}  // namespace allot
