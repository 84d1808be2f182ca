// SPDX-License-Identifier: MIT
// Who runs steps of a batch without a driver: byte-range locks on the batch's tasks.index, a step's on its own entry.
// They are gone with the process that holds them, and hold between hosts wherever the file system's locks do.
#pragma once

#include <string>

#include "process/fd.h"
#include "protocol/result.h"
#include "protocol/step_ranges.h"

namespace allot {

/// Claims all the steps until the descriptor is closed. Errors: retry_later naming the steps that another process has
/// claimed, or as errno says where the file system has no locks. Nothing is claimed then.
Result<Fd> claim_steps(const std::string& batch_path, const StepRanges& steps);

/// Does another descriptor than that of a claim of the caller's hold a claim of any step of the batch?
bool has_claimed_steps(const std::string& batch_path);

}  // namespace allot
