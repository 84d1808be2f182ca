// SPDX-License-Identifier: MIT
// Removing a batch directory: only what is of the batch, and so that it can be cut short at any moment.
//
// First epochs/ is renamed to removing.epochs/: from then on nobody becomes the driver, not even who has the batch
// open. Then batch.json becomes removing.json: nobody opens it, and a removal that was cut short goes on where it
// stopped. Then the rest goes, and last removing.json and the directory.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "ledger/batch_directory.h"
#include "protocol/result.h"

namespace allot {

/// What batch.json is called while the batch is being removed, or after that was cut short.
inline constexpr const char* kRemovalMark = "removing.json";

struct Removal {
  std::uint64_t files = 0, bytes = 0;  ///< removed, or to be removed
  std::vector<std::string> foreign;    ///< paths of what is not the batch's: left alone, and so is the directory then
};

/// Nothing if nobody can be using the batch any more. Errors (fix_request, naming who): a driver lives, or one of
/// another host has not left in order; a guard or worker node of it lives; a run of another host has no end; it may be
/// in the making. gave_up: what would tell cannot be read.
Result<void> check_unused(const BatchDirectory& batch);

/// Removes the batch in the directory `path`, or what an earlier removal has left of it (an empty directory is that,
/// too). Symbolic links are never followed; one as the directory itself is refused. `dry_run`: only says what would be
/// removed. `goes_on` is asked before each change; false: stops there, as a kill would. Errors: fix_request (no batch;
/// in use), gave_up and retry_later (something could not be removed: call it again).
Result<Removal> remove_batch(const std::string& path, bool dry_run, const std::function<bool()>& goes_on = {});

}  // namespace allot
