// SPDX-License-Identifier: MIT
// A file that nobody can find, and that is gone with its last descriptor, also after kill -9.
#pragma once

#include <string>

#include "process/fd.h"
#include "protocol/result.h"

namespace allot {

/// Empty, for reading and writing, in $TMPDIR, else /tmp. Errors: as errno_error (no room, no such directory).
Result<Fd> make_unnamed_file();

/// A path by which this process can open what `fd` has open, as long as it is open.
std::string path_of(const Fd& fd);

}  // namespace allot
