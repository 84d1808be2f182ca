// SPDX-License-Identifier: MIT
// Leaving a batch to the background driver of its cluster, which is started where none lives.
#pragma once

#include <chrono>
#include <string>

#include "engine/background_queue.h"
#include "ledger/batch_directory.h"
#include "protocol/result.h"

namespace allot::cli {

/// Reason of the end that a driver records when it has handed its batch over.
inline constexpr const char* kHandedOver = "handed over to the background driver";

/// Puts the batch into the queue of its cluster, and sees to it that a driver lives which has been told. `idle`: how
/// long a driver that is started here stays without a batch. When it fails the batch is in the queue, if it says so.
Result<void> leave_to_background(const std::string& cluster, const BatchDirectory& batch,
                                 std::chrono::milliseconds idle);

}  // namespace allot::cli
