// SPDX-License-Identifier: MIT
// Reading what tasks printed: an extent of a writer's output file, byte for byte.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "ledger/batch_directory.h"
#include "ledger/fold.h"
#include "protocol/result.h"

namespace allot {

/// Passes the output of a finished task to `sink` in blocks of at most 1 MiB; `sink` returns false to stop early.
/// Errors: not_available (nothing recorded yet; or it went to a file of the user's: the text names it), gave_up (the
/// output file is shorter than the extent, or bytes were lost when it was written: what is there is passed on first,
/// then the error says how much is missing).
Result<void> read_output(const BatchDirectory& batch, const TaskDetail& detail, OutputStream stream,
                         const std::function<bool(std::string_view)>& sink);

}  // namespace allot
