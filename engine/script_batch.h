// SPDX-License-Identifier: MIT
// Batches that the worker nodes of a user's own job make and run by themselves, without a driver: whichever comes first
// makes the batch, the others find it.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "engine/task_source.h"
#include "ledger/batch_directory.h"
#include "protocol/result.h"
#include "worker_node/script_job.h"

namespace allot {

inline constexpr std::uint32_t kScriptSubmission = 1;  ///< all of the batch's steps

struct ScriptBatch {
  std::string path;
  ScriptJob job;  ///< as it was when the batch was made
  bool is_made_here = false;
};

/// Finds the batch at `path`, or makes it of the tasks of `open_source`: the steps of one submission, divided among
/// `job.shares()` worker nodes in their order, as evenly as blocks of one size allow. In `job` all is given but
/// `tasks`, `worker_pack` and `cores`. Any number of processes on any hosts may do so at once: the batch is there as a
/// whole, or not at all, and whoever comes while it is made waits. Errors: fix_request (bad input; tasks that ask for
/// what only a driver can give, or differ in what they ask for; a directory that cannot be used; a batch of another job
/// or of other tasks: the text says what to do), retry_later (disk full), gave_up (damaged, or interrupted).
Result<ScriptBatch> find_or_make_script_batch(const std::string& path, BatchInfo info, char* const* environment,
                                              ScriptJob job,
                                              const std::function<Result<std::unique_ptr<TaskSource>>()>& open_source);

/// The job that runs the batch; nothing: a driver does. Errors: as read_script_job.
Result<std::optional<ScriptJob>> script_job_of(const BatchDirectory& batch);

/// How often the share was begun before, as files in the batch say; on disk when it returns.
/// Errors: as errno says, and gave_up beyond 65535.
Result<std::uint16_t> count_begin(const std::string& batch_path, std::uint64_t share);

}  // namespace allot
