// SPDX-License-Identifier: MIT
// The batch that a distributor keeps for commands submitted as plain strings.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "ledger/batch_directory.h"
#include "ledger/record_file.h"
#include "ledger/task_table.h"
#include "protocol/result.h"
#include "protocol/submission.h"

namespace allot {

/// Made at the first command, under the user's state directory. Not thread-safe.
class OwnBatch {
 public:
  explicit OwnBatch(std::string cluster_name) : cluster_name_(std::move(cluster_name)) {}

  /// Writes `count` rows of one shell line and the intent to run them; all of it is on disk when this returns.
  /// `is_array`: elements with step ids 0 … count-1.
  Result<Submission> write(const std::string& command, const std::string& name, const RequestedResources& resources,
                           std::uint64_t count, bool is_array);
  /// Records that the submission was taken (no error) or refused.
  Result<void> record_answer(const Submission& submission, const std::string& error);

 private:
  Result<void> make();

  std::string cluster_name_;
  BatchDirectory batch_;
  std::optional<TaskTableWriter> table_;
  std::optional<RecordWriter> records_;
  std::uint32_t last_number_ = 0;
};

/// `$XDG_STATE_HOME/allot/batches`, else `~/.local/state/allot/batches`.
Result<std::string> default_batches_directory();

}  // namespace allot
