// SPDX-License-Identifier: MIT
// A wait status is decoded here and nowhere else.
#pragma once

#include <sys/resource.h>

#include "protocol/exit_info.h"
#include "protocol/usage_stats.h"

namespace allot {

/// done, error (code) or signaled (signal) of a status as wait4(2) gave it. `text` stays empty.
ExitInfo decode_wait_status(int status);

/// The fields of a UsageStats that wait4(2) fills; the others stay unknown.
UsageStats decode_rusage(const rusage& usage);

/// "SIGKILL" for 9; "signal 77" for a number without a name.
std::string signal_name(int signal);

}  // namespace allot
