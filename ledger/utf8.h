// SPDX-License-Identifier: MIT
// Cutting text that may hold anything without cutting a character. Internal to the ledger.
#pragma once

#include <cstddef>
#include <string_view>

namespace allot::ledger {

/// The first `max_bytes` bytes at most; never ends inside a UTF-8 sequence.
std::string_view utf8_head(std::string_view text, std::size_t max_bytes);

}  // namespace allot::ledger
