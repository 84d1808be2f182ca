// SPDX-License-Identifier: MIT
// Where a driver begins that takes over a batch which another one left: what the ledger and the distributor know of it.
#pragma once

#include <cstdint>
#include <optional>

#include "engine/driver_context.h"
#include "ledger/batch_directory.h"
#include "ledger/folded_task.h"
#include "protocol/result.h"

namespace allot {

struct Recovered {
  BatchState state;
  std::uint64_t ended_before = 0;  ///< tasks that ended and are left alone
  std::uint64_t adopted = 0;       ///< queued or running with workers that still live
  std::uint64_t run_again = 0;     ///< failed, and to run again because that was asked for
  std::uint64_t lost = 0;          ///< runs that began, or may have begun, and left no end: each has a verdict now
};

/// What a driver that takes over is to do, if not everything that is left.
struct RecoveryRequest {
  std::optional<TaskSelection> run_again;  ///< failed tasks that are to run again, whatever their budget
  std::optional<ExitClass> only_class;     ///< of those, only the ones that ended so
  bool leave_others = false;               ///< what waits, and is not among these, is not to be run
  bool keep_cancelled = false;             ///< what the user cancelled is not to run again
};

/// Whether a driver that takes the batch over runs a task again whose last run has ended, although nobody asks for this
/// task.
bool runs_again(const FoldedTask& task, bool keep_cancelled);

/// Asks the distributor (which has been started) about every submission with unfinished steps, records a verdict on
/// each run that is proven to be gone, and says what is left to do. Tasks that were killed or lost or could not be
/// queued, and those abandoned because of them, run again; those that failed by themselves do not. `previous`: the
/// driver before this one. Errors: gave_up (the ledger cannot be read or written; interrupted by the user).
Result<Recovered> recover(const DriverContext& context, const std::optional<DriverIdentity>& previous,
                          const RecoveryRequest& request = {});

}  // namespace allot
