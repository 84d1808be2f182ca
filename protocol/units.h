// SPDX-License-Identifier: MIT
// Sizes and times as people write them, read without loss by rounding.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "protocol/result.h"

namespace allot {

/// Bytes of "512M", "1.5G", "4096", "2KiB", "10 MB", "512B". A bare number is bytes; K, M, G, T, P, E (any case, with
/// or without "iB" or "B") are powers of 1024, as Slurm and ulimit users expect; a fraction must come out at whole
/// bytes.
/// Errors (fix_request; the text quotes the input): empty, negative, exponent, unknown unit, overflow of 2⁶³-1,
/// a fraction of a byte.
Result<std::uint64_t> parse_size(std::string_view text);

/// Milliseconds of "90" (seconds), "1.5", "250ms", "1h30m", "2d", "10m", "90 s", "MM:SS", "HH:MM:SS", "D-HH",
/// "D-HH:MM", "D-HH:MM:SS". Errors as for parse_size; finer than a millisecond is refused; in colon forms the
/// parts after the first must be below 60 (hours after days below 24). Parts with units go from large to small; only
/// the last may have a fraction. Milliseconds end at 2⁶³-1.
Result<std::int64_t> parse_duration(std::string_view text);

/// The exact form with the largest unit that needs no fraction; parse_size reads it back: "1536M", "4K", "4097".
std::string format_size(std::uint64_t bytes);
/// For people, rounded: "1.5 GiB".
std::string format_size_rounded(std::uint64_t bytes);
/// For people, never more than it is, and exact: "23.5G (25275514880 bytes)", or just "24G" where that says it all.
std::string format_size_exact(std::uint64_t bytes);
/// Exact form that parse_duration reads back: "1h30m", "1m1.5s", "250ms", "0s". A negative one gets a "-" in front and
/// is for people only.
std::string format_duration(std::int64_t milliseconds);

}  // namespace allot
