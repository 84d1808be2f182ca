// SPDX-License-Identifier: MIT
// The checksum of frames and rows. Internal to the ledger; xxhash is inlined here and nowhere else.
#pragma once

#include <cstdint>
#include <string_view>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace allot::ledger {

/// Low half of XXH3-64. `seed` ties the bytes to where they lie.
inline std::uint32_t checksum(std::string_view bytes, std::uint64_t seed = 0) {
  return static_cast<std::uint32_t>(XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed));
}

}  // namespace allot::ledger
