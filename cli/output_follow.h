// SPDX-License-Identifier: MIT
// What a task prints, as it prints it.
#pragma once

#include <cstdint>

#include "cli/console.h"
#include "ledger/batch_directory.h"
#include "protocol/result.h"

namespace allot::cli {

/// Prints what the current run of the task has printed so far, and goes on until the task has ended for good: where it
/// runs again that is said on stderr, and the output of the next run follows. Waits for a run that has not begun. Stops
/// early where `out` is closed. Errors: not_available (its output is not in the batch; nobody drives the batch any
/// more), gave_up (the last run's output was not kept whole, or that run was lost; the batch cannot be read).
Result<void> follow_output(const BatchDirectory& batch, std::uint64_t step, OutputStream stream, StandardOutput& out);

}  // namespace allot::cli
