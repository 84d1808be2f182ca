// SPDX-License-Identifier: MIT
// From what a user types to a batch directory.
#pragma once

#include <string>

#include "ledger/batch_directory.h"
#include "protocol/result.h"

namespace allot {

/// A path of a batch directory, or the id (or an unambiguous beginning of it) of a batch in the default directory.
/// Errors: fix_request; an ambiguous beginning lists the batches that it fits.
Result<BatchDirectory> open_batch(const std::string& path_or_id);

}  // namespace allot
