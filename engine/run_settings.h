// SPDX-License-Identifier: MIT
// How a batch is to be driven: by its cluster's file and by what it says itself.
#pragma once

#include "engine/driver_context.h"
#include "ledger/batch_directory.h"
#include "protocol/result.h"

namespace allot {

/// The cluster's table with the batch's own rules and throttle. Errors: gave_up (batch.json has rules that cannot be
/// read).
Result<RunSettings> run_settings(const BatchDirectory& batch, const RetryPolicy& cluster);

}  // namespace allot
