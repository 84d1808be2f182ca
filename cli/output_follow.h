// SPDX-License-Identifier: MIT
// What a task prints, as it prints it.
#pragma once

#include <cstdint>

#include "cli/console.h"
#include "ledger/batch_directory.h"
#include "protocol/result.h"

namespace allot::cli {

/// Prints what the current run of the task has printed so far, and goes on until that run has ended; waits for a run
/// that has not begun. Stops early where `out` is closed. Errors: not_available (its output is not in the batch, or not
/// to be told from what a killed guard left; nobody drives the batch any more), gave_up (it was not kept whole, the run
/// was lost, the batch cannot be read).
Result<void> follow_output(const BatchDirectory& batch, std::uint64_t step, OutputStream stream, StandardOutput& out);

}  // namespace allot::cli
