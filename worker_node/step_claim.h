// SPDX-License-Identifier: MIT
// Who runs steps of a batch by hand: byte-range locks on the batch's tasks.index, a step's on its own entry. They are
// gone with the process that holds them, and hold between hosts wherever the file system's locks do.
#pragma once

#include "ledger/batch_directory.h"
#include "process/fd.h"
#include "protocol/result.h"
#include "protocol/step_ranges.h"

namespace allot {

/// Claims all the steps until the descriptor is closed. Errors: retry_later naming the steps that another process has
/// claimed, or as errno says where the file system has no locks. Nothing is claimed then.
Result<Fd> claim_steps(const BatchDirectory& batch, const StepRanges& steps);

/// Does another descriptor than that of a claim of the caller's hold a claim of any step of the batch?
bool has_claimed_steps(const BatchDirectory& batch);

/// Refused with fix_request while a driver may run the steps of this batch: one that lives here, or that was on another
/// host and has not left in order. Not the one that this process was started by.
Result<void> check_undriven(const BatchDirectory& batch);

}  // namespace allot
