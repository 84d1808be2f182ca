// SPDX-License-Identifier: MIT
// The few tasks of a batch that a summary names.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "protocol/exit_info.h"

namespace allot {

struct FailureNote {
  std::uint64_t step = 0;
  ExitInfo exit_info;
};

/// Not thread-safe.
class Highlights {
 public:
  struct Entry {
    std::uint64_t step = 0;
    double value = 0;  ///< seconds, or bytes
  };
  static constexpr std::size_t kMost = 3;
  static constexpr std::size_t kMostFailures = 5;

  void add_wall_seconds(std::uint64_t step, double seconds) { insert(slowest_, {step, seconds}); }
  void add_max_rss(std::uint64_t step, std::uint64_t bytes) { insert(biggest_, {step, static_cast<double>(bytes)}); }
  void add_failure(std::uint64_t step, const ExitInfo& info) {
    if (failures_.size() < kMostFailures) failures_.push_back({step, info});
  }

  const std::vector<Entry>& slowest() const { return slowest_; }  ///< the slowest first
  const std::vector<Entry>& biggest() const { return biggest_; }
  const std::vector<FailureNote>& failures() const { return failures_; }  ///< the first to fail first

 private:
  static void insert(std::vector<Entry>& list, Entry entry) {
    // Of a task that ran more than once its largest.
    const auto known = std::find_if(list.begin(), list.end(), [&](const Entry& e) { return e.step == entry.step; });
    if (known != list.end()) {
      if (entry.value <= known->value) return;
      list.erase(known);
    }
    if (list.size() == kMost && entry.value <= list.back().value) return;
    std::size_t at = list.size();
    while (at > 0 && list[at - 1].value < entry.value) --at;
    list.insert(list.begin() + static_cast<std::ptrdiff_t>(at), entry);
    if (list.size() > kMost) list.pop_back();
  }

  std::vector<Entry> slowest_, biggest_;
  std::vector<FailureNote> failures_;
};

}  // namespace allot
