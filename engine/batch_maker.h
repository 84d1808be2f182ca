// SPDX-License-Identifier: MIT
// Makes a batch of what a task source gives, whole or not at all; or only reads it.
#pragma once

#include <string>

#include "engine/batch_plan.h"
#include "engine/task_source.h"
#include "ledger/batch_directory.h"
#include "ledger/task_table.h"
#include "process/fd.h"
#include "protocol/result.h"

namespace allot {

struct MadeBatch {
  BatchDirectory directory;
  DriverIdentity driver;  ///< this process, the first to drive it
  BatchPlan plan;
};

/// Checks the source, makes the directory, writes environment and task table, and claims the batch. After an error
/// nothing of it is left; a directory that was there (and empty) stays. `environment`: as environ(7).
/// Errors: fix_request (bad input, a directory that cannot be used: the text names it), not_available (no tasks at
/// all), retry_later (disk full), gave_up (interrupted).
Result<MadeBatch> make_batch(const std::string& path, BatchInfo info, char* const* environment, TaskSource& source);

/// Reads and checks every task into a new table, and plans them. Of `info` only the default resources and the retry
/// rules count. Errors: as make_batch, but for those of a directory.
Result<BatchPlan> write_tasks(const std::string& data_path, const std::string& index_path, const BatchInfo& info,
                              TaskSource& source);

/// Whether make_batch could make one there, as far as that can be seen without making anything. Errors: fix_request.
Result<void> check_batch_place(const std::string& path);

/// Tasks that were read and planned, and belong to no batch. What holds their commands is gone with this.
struct ReadTasks {
  BatchPlan plan;
  TaskTableReader table;
  Fd data, index;
};

/// What make_batch would make, without a batch: read and planned by the same code, kept in files without a name. Of
/// `info` only the default resources, the retry rules and the priority count. Errors: as make_batch, but for those of a
/// directory.
Result<ReadTasks> read_tasks(const BatchInfo& info, TaskSource& source);

}  // namespace allot
