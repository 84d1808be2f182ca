// SPDX-License-Identifier: MIT
// Fields that several records have. Internal to the ledger.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <type_traits>

#include "ledger/bytes.h"
#include "protocol/resources.h"
#include "protocol/step_ranges.h"

namespace allot::ledger {

inline constexpr std::size_t kMaxNameBytes = 16 * 1024;
inline constexpr std::size_t kMaxPassThroughBytes = 128 * 1024;
inline constexpr std::size_t kPassThroughHead = 8;  // two lengths

/// As much of a name as is kept.
std::string_view name_of(std::string_view text);

// A mask says which of the fields follow.
inline void put_masked(Encoder& out, const auto& values, auto&& for_each) {
  std::uint16_t mask = 0;
  for_each(values, [&](const auto& field, unsigned bit) {
    if (field) mask = static_cast<std::uint16_t>(mask | 1u << bit);
  });
  out.put(mask);
  for_each(values, [&](const auto& field, unsigned) {
    if (field) out.put(*field);
  });
}

inline void get_masked(Decoder& in, auto& values, auto&& for_each) {
  const auto mask = in.get<std::uint16_t>();
  unsigned known = 0;
  for_each(values, [&](auto& field, unsigned bit) {
    known |= 1u << bit;
    using Value = typename std::remove_reference_t<decltype(field)>::value_type;
    if (mask & 1u << bit) field = in.get<Value>();
  });
  if (mask & ~known) in.spoil();  // the width of a field that is not known here cannot be stepped over
}

void put_resources(Encoder& out, const RequestedResources& resources);
RequestedResources get_resources(Decoder& in);

/// Each range as its distance from the end of the one before, and its count.
void put_ranges(Encoder& out, std::span<const StepRange> ranges);
StepRanges get_ranges(Decoder& in);

}  // namespace allot::ledger
