// SPDX-License-Identifier: MIT
// A set of steps kept as ranges: a million consecutive steps cost 16 bytes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "protocol/result.h"

namespace allot {

/// The steps first … first + count - 1.
struct StepRange {
  std::uint64_t first = 0;
  std::uint64_t count = 0;
  friend bool operator==(const StepRange&, const StepRange&) = default;
};

/// An ordered list of steps without duplicates, ascending. Value type, not thread-safe.
class StepRanges {
 public:
  StepRanges() = default;
  StepRanges(std::uint64_t first, std::uint64_t count) {
    if (count > 0) ranges_.push_back({first, count});
  }

  /// Adds `step`, which must be larger than every step already in.
  void append(std::uint64_t step) {
    if (!ranges_.empty() && ranges_.back().first + ranges_.back().count == step) {
      ++ranges_.back().count;
    } else {
      ranges_.push_back({step, 1});
    }
  }

  /// Adds the steps first … first + count - 1 (count may be 0), which must be larger than every step already in.
  void append_range(std::uint64_t first, std::uint64_t count) {
    if (count == 0) return;
    if (!ranges_.empty() && ranges_.back().first + ranges_.back().count == first) {
      ranges_.back().count += count;
    } else {
      ranges_.push_back({first, count});
    }
  }

  std::uint64_t size() const {
    std::uint64_t n = 0;
    for (const auto& r : ranges_) n += r.count;
    return n;
  }
  bool empty() const { return ranges_.empty(); }
  std::uint64_t front() const { return ranges_.front().first; }
  std::uint64_t back() const { return ranges_.back().first + ranges_.back().count - 1; }

  bool contains(std::uint64_t step) const {
    auto it = std::upper_bound(ranges_.begin(), ranges_.end(), step,
                               [](std::uint64_t s, const StepRange& r) { return s < r.first; });
    return it != ranges_.begin() && step - std::prev(it)->first < std::prev(it)->count;
  }

  /// The steps at the positions from … from + count - 1 of this list; fewer where it ends before.
  StepRanges part(std::uint64_t from, std::uint64_t count) const {
    StepRanges taken;
    for (const StepRange& r : ranges_) {
      if (count == 0) break;
      if (from >= r.count) {
        from -= r.count;
        continue;
      }
      const std::uint64_t length = std::min(count, r.count - from);
      taken.append_range(r.first + from, length);
      count -= length;
      from = 0;
    }
    return taken;
  }

  const std::vector<StepRange>& ranges() const { return ranges_; }

  template <class F>
  void for_each(F&& f) const {
    for (const auto& r : ranges_)
      for (std::uint64_t i = 0; i < r.count; ++i) f(r.first + i);
  }

  friend bool operator==(const StepRanges& a, const StepRanges& b) { return a.ranges_ == b.ranges_; }

 private:
  std::vector<StepRange> ranges_;
};

/// "0-9,12" as ranges, ascending. Errors: fix_request, quoting the part that is wrong.
Result<StepRanges> parse_steps(const std::string& text);
/// The inverse.
std::string to_text(const StepRanges& steps);

}  // namespace allot
