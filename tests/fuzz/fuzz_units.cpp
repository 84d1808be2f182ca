// SPDX-License-Identifier: MIT
// Sizes and durations: what is read can be written and reads back as the same value.
#include "protocol/units.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = allot::fuzz::as_text(data, size);
  if (auto bytes = allot::parse_size(text)) {
    auto again = allot::parse_size(allot::format_size(*bytes));
    allot::fuzz::require(again && *again == *bytes, "format_size is exact");
    allot::fuzz::require(!allot::format_size_rounded(*bytes).empty(), "every size has a rounded form");
  }
  if (auto milliseconds = allot::parse_duration(text)) {
    auto again = allot::parse_duration(allot::format_duration(*milliseconds));
    allot::fuzz::require(again && *again == *milliseconds, "format_duration is exact");
  }
  return 0;
}
