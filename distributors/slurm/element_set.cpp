// SPDX-License-Identifier: MIT
#include "distributors/slurm/element_set.h"

#include <algorithm>
#include <charconv>
#include <set>

namespace allot::slurm {
namespace {

// Takes a number off the front of `text`.
bool take_number(std::string_view& text, std::uint64_t& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

bool take(std::string_view& text, char c) {
  if (text.empty() || text.front() != c) return false;
  text.remove_prefix(1);
  return true;
}

}  // namespace

Result<StepRanges> parse_elements(std::string_view text) {
  constexpr std::uint64_t kMostElements = 10'000'000;  // Slurm's own bound of an index is 4,000,001
  const auto wrong = [whole = std::string(text)] {
    return fail(ErrorCode::gave_up, "\"" + whole + "\" is no list of elements of a job array");
  };
  std::string_view rest = text;
  std::vector<StepRange> ranges;
  do {
    std::uint64_t first = 0, last = 0, stride = 1;
    if (!take_number(rest, first)) return wrong();
    last = first;
    if (take(rest, '-') && !take_number(rest, last)) return wrong();
    if (take(rest, ':') && !take_number(rest, stride)) return wrong();
    if (last < first || stride == 0 || last > kMostElements) return wrong();
    if (stride == 1) {
      ranges.push_back({first, last - first + 1});
    } else {
      for (std::uint64_t at = first; at <= last; at += stride) ranges.push_back({at, 1});
    }
  } while (take(rest, ','));
  if (take(rest, '%')) {
    std::uint64_t throttle = 0;
    if (!take_number(rest, throttle)) return wrong();
  }
  if (!rest.empty()) return wrong();
  std::sort(ranges.begin(), ranges.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  StepRanges elements;
  std::uint64_t next = 0;  // what was named twice counts once
  for (const StepRange& range : ranges) {
    const std::uint64_t begin = std::max(range.first, next);
    const std::uint64_t end = range.first + range.count;
    if (begin >= end) continue;
    elements.append_range(begin, end - begin);
    next = end;
  }
  return elements;
}

std::string elements_text(const StepRanges& elements) {
  return to_text(elements);
}

std::string elements_of_job(std::uint32_t job_id, const StepRanges& elements) {
  const std::string base = std::to_string(job_id) + "_";
  if (elements.size() == 1) return base + std::to_string(elements.front());
  return base + "[" + elements_text(elements) + "]";
}

std::vector<StepRanges> split_by_text(const StepRanges& elements, std::size_t most) {
  std::vector<StepRanges> parts;
  std::size_t length = 0;
  for (const StepRange& range : elements.ranges()) {
    StepRanges one(range.first, range.count);
    const std::size_t added = elements_text(one).size() + 1;
    if (parts.empty() || length + added > most) {
      parts.emplace_back();
      length = 0;
    }
    parts.back().append_range(range.first, range.count);
    length += added;
  }
  return parts;
}

}  // namespace allot::slurm
