// SPDX-License-Identifier: MIT
// Times for people. Internal to the ledger.
#pragma once

#include <cstdint>
#include <string>

namespace allot::ledger {

/// "2024-05-01 12:00:00 UTC" of a Unix time in nanoseconds.
std::string utc_text(std::int64_t unix_ns);

}  // namespace allot::ledger
