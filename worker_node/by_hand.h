// SPDX-License-Identifier: MIT
// Running steps of a batch without a driver: a user's own job script on a node.
#pragma once

#include <string>

#include "ledger/batch_directory.h"
#include "protocol/result.h"
#include "worker_node/worker_node.h"

namespace allot {

/// Runs the steps under their newest submission in the ledger; a step that has been started or superseded is left
/// alone, and said so on stderr. Nothing is run while another process runs one of the steps by hand, or a driver lives
/// that may run them. Exit status: 0 when everything that was to run has been run (whatever the tasks' own ends), 1 on
/// a failure of allot's own and where somebody else runs the steps, 2 for steps that do not exist or were never
/// submitted.
int run_by_hand(const WorkerNodeOptions& options, const std::string& steps);

/// Refused with fix_request while a driver may run the steps of this batch: one that lives here, or that was on another
/// host and has not left in order. Not the one that this process was started by.
Result<void> check_undriven(const BatchDirectory& batch);

}  // namespace allot
