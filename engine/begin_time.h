// SPDX-License-Identifier: MIT
// When a batch or a task is to begin, as a user writes it.
#pragma once

#include <cstdint>
#include <string>

#include "protocol/result.h"

namespace allot {

/// Unix time in nanoseconds of "10m" (from `now_ns` on) or of a local time such as "2027-01-31T20:00" (seconds may
/// follow; with Z at the end it is UTC). Errors: fix_request.
Result<std::int64_t> parse_begin(const std::string& text, std::int64_t now_ns);

}  // namespace allot
