// SPDX-License-Identifier: MIT
// Makes a batch of what a task source gives, whole or not at all.
#pragma once

#include <string>

#include "engine/batch_plan.h"
#include "engine/task_source.h"
#include "ledger/batch_directory.h"
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

}  // namespace allot
