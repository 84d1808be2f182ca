// SPDX-License-Identifier: MIT
// allot's own ids: 12 base-32 characters for a submission, "_" and the array's step behind it for an array element.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "protocol/result.h"

namespace allot {

inline constexpr std::size_t kIdBaseLength = 12;
inline constexpr std::size_t kMaxDistributorIdLength = 20;
/// So that base, "_" and the step fit into 20 characters.
inline constexpr std::uint64_t kMaxArrayStep = 9'999'999;

/// A new id base: 32 bits of time (seconds) and 28 of randomness, which count on within a second, in Crockford's
/// base 32 (lower case). Unique within the process for sure, across processes and hosts with probability
/// 1 - n·2⁻²⁸ for n submissions of others in the same second. Thread-safe. Fails only without a source of randomness.
Result<std::string> new_id_base();

/// The id of one element: `base` alone when `array_step` is nothing.
std::string make_distributor_id(std::string_view base, std::optional<std::uint64_t> array_step);

struct ParsedDistributorId {
  std::string base;
  std::optional<std::uint64_t> array_step;
};

/// Nothing for text that is no id (wrong length, characters, "_None", leading zeros, a step above kMaxArrayStep).
std::optional<ParsedDistributorId> parse_distributor_id(std::string_view id);

/// Unix time in seconds at which an id base was made; nothing for text that is none.
std::optional<std::int64_t> id_base_seconds(std::string_view base);

}  // namespace allot
