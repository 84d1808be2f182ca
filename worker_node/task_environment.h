// SPDX-License-Identifier: MIT
// The environment block of a task: the batch's, the task's own on top, and the names that allot sets.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ledger/environment.h"
#include "ledger/task_table.h"
#include "worker_node/shell_line.h"

namespace allot {

/// What allot tells a task about itself.
struct RunContext {
  std::string distributor_id;
  std::string id_base;
  std::optional<std::uint64_t> array_step;
  std::string task_name;
  std::uint32_t attempt = 1;
  std::uint32_t round = 0;  ///< how often it has ended well and runs again after tasks that it added
  std::string batch_directory;
  std::string error_file;     ///< the task may write its own error text there
  std::string progress_file;  ///< and its progress
};

/// Builds environment blocks, reusing memory. Not thread-safe. Used by the guard: small, no locale, no streams.
class TaskEnvironment {
 public:
  /// `batch` was captured at submission; from `own` come the names that were not written (secrets) and those that the
  /// node sets itself.
  TaskEnvironment(const Environment& batch, char* const* own);

  /// The block for execve(2), valid until the next call. `pwd`: value of PWD, empty: as it is in the batch.
  char* const* build(const TaskSpec& task, const RunContext& run, const std::string& pwd);

  /// Puts the block last built (with a `pwd`) into the state and order in which dash would hand it on, so that a
  /// command run directly cannot tell. Null where only the shell can (see DashOrder).
  char* const* arrange();

  /// Value of `name` in the block last built; null if it is not set.
  const char* find(const char* name) const;
  /// Value in the batch's part, before any task's own.
  const char* find_base(const char* name) const;

 private:
  void set(const char* name, const std::string& value);

  std::vector<std::string> base_;
  std::vector<std::string> extra_;  // storage of what set() adds; never shrinks, so that its memory is reused
  std::size_t extra_used_ = 0;
  std::vector<char*> pointers_;
  std::vector<char*> arranged_;
  DashOrder order_;
};

}  // namespace allot
