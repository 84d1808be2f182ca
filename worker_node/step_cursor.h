// SPDX-License-Identifier: MIT
// The next task of a submission to run, in the order of its steps, without looking at all of them for each.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "worker_node/run_book.h"

namespace allot {

/// Walks over the cells of one entry. Everything before its position has ended or is held. Not thread-safe.
class StepCursor {
 public:
  /// The first step that has neither ended nor is held. The position stays there: a step that comes back without having
  /// run is the next one again.
  std::optional<std::uint64_t> next(const RunBook::Entry& entry) {
    while (cell_ < entry.cells.size()) {
      const RunBook::Cell& cell = entry.cells[cell_];
      if (cell.phase != TaskPhase::finished && (cell.flags & RunBook::kHeld) == 0) return step_of(entry);
      ++cell_;
    }
    return std::nullopt;
  }
  /// To be told of every release: what is not held any more comes before all that is behind it.
  void released(const RunBook::Entry& entry, std::uint64_t step) { cell_ = std::min(cell_, entry.index_of(step)); }

 private:
  std::uint64_t step_of(const RunBook::Entry& entry) const {
    const auto after = std::upper_bound(entry.offsets.begin(), entry.offsets.end(), cell_);
    const auto range = static_cast<std::size_t>(after - entry.offsets.begin()) - 1;
    return entry.submission.steps.ranges()[range].first + (cell_ - entry.offsets[range]);
  }

  std::uint64_t cell_ = 0;
};

}  // namespace allot
