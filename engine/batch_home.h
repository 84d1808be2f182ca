// SPDX-License-Identifier: MIT
// Where batches lie when nobody says where, and how a batch is named on a command line.
#pragma once

#include <string>

#include "protocol/result.h"

namespace allot {

/// $XDG_STATE_HOME/allot/batches, else ~/.local/state/allot/batches. Errors: fix_request (neither variable is an
/// absolute path).
Result<std::string> batch_home();

/// The directory of a batch: a path (with '/', or a directory that is a batch), or the id of a batch in the home, or
/// the beginning of an id that no other batch there shares. Errors: fix_request (none, or several: the text lists
/// them).
Result<std::string> find_batch(const std::string& name);

}  // namespace allot
