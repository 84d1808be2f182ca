// SPDX-License-Identifier: MIT
#include "protocol/step_ranges.h"

#include <charconv>

#include "protocol/distributor_id.h"

namespace allot {

Result<StepRanges> parse_steps(const std::string& text) {
  StepRanges ranges;
  std::size_t from = 0;
  while (from <= text.size()) {
    const std::size_t comma = std::min(text.find(',', from), text.size());
    const std::string part = text.substr(from, comma - from);
    std::uint64_t first = 0, last = 0;
    const char* begin = part.data();
    const char* end = begin + part.size();
    auto result = std::from_chars(begin, end, first);
    last = first;
    if (result.ec == std::errc() && result.ptr != end && *result.ptr == '-') {
      result = std::from_chars(result.ptr + 1, end, last);
    }
    const bool good = result.ec == std::errc() && result.ptr == end && first <= last && last <= kMaxArrayStep &&
                      (ranges.empty() || first > ranges.back());
    if (!good) {
      return fail(ErrorCode::fix_request, "steps \"" + text + "\": \"" + part +
                                              "\" is not a step or a range (such as 0-9) above those before it");
    }
    ranges.append_range(first, last - first + 1);
    from = comma + 1;
  }
  return ranges;
}

std::string to_text(const StepRanges& steps) {
  std::string text;
  for (const StepRange& range : steps.ranges()) {
    if (!text.empty()) text += ',';
    text += std::to_string(range.first);
    if (range.count > 1) text += "-" + std::to_string(range.first + range.count - 1);
  }
  return text;
}

}  // namespace allot
