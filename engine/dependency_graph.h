// SPDX-License-Identifier: MIT
// Which tasks wait for which. Kept as edges sorted by cause: 12 bytes an edge.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "ledger/task_table.h"

namespace allot {

struct DependencyEdge {
  std::uint32_t cause = 0;
  std::uint32_t dependent = 0;
  DependencyKind kind = DependencyKind::after_ok;
};

/// Fill with add(), then seal() once; the queries are for a sealed graph. Not thread-safe while it is filled.
class DependencyGraph {
 public:
  void add(std::uint32_t dependent, const Dependency& on) { edges_.push_back({on.step, dependent, on.kind}); }
  void seal();

  bool empty() const { return edges_.empty(); }
  /// The edges of which `cause` is the cause.
  std::span<const DependencyEdge> dependents_of(std::uint32_t cause) const;
  const std::vector<DependencyEdge>& edges() const { return edges_; }

  /// Steps of one cycle, each waiting for the next one, the last for the first; nothing if there is none. Linear time.
  std::optional<std::vector<std::uint32_t>> find_cycle() const;

 private:
  std::vector<DependencyEdge> edges_;
};

/// What the end of a cause means to a task that waits for it.
enum class DependencyVerdict : std::uint8_t { satisfied, never };

/// A task that was abandoned has ended too, and not well: after_any and after_not_ok are satisfied by it.
inline DependencyVerdict judge_dependency(DependencyKind kind, bool cause_is_done) {
  switch (kind) {
    case DependencyKind::after_ok:
      return cause_is_done ? DependencyVerdict::satisfied : DependencyVerdict::never;
    case DependencyKind::after_not_ok:
      return cause_is_done ? DependencyVerdict::never : DependencyVerdict::satisfied;
    case DependencyKind::after_any:
      break;
  }
  return DependencyVerdict::satisfied;
}

}  // namespace allot
