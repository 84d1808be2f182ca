// SPDX-License-Identifier: MIT
// Which tasks wait for which. Kept as edges sorted by cause: 12 bytes an edge.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "ledger/task_table.h"

namespace allot {

struct DependencyEdge {
  std::uint32_t cause = 0;
  std::uint32_t dependent = 0;
  DependencyKind kind = DependencyKind::after_ok;
};

/// Fill with add(), then seal() once; the queries are for a sealed graph. What comes later comes by add_late(). Not
/// thread-safe while it is filled.
class DependencyGraph {
 public:
  void add(std::uint32_t dependent, const Dependency& on) { edges_.push_back({on.step, dependent, on.kind}); }
  void seal();

  /// Before or after seal().
  void add_late(std::uint32_t dependent, const Dependency& on);
  /// Takes back what was added late of that dependent.
  void drop_late(std::uint32_t dependent);

  bool empty() const { return edges_.empty() && late_.empty(); }
  /// Visits the edges of which `cause` is the cause.
  template <class Visit>
  void for_each_dependent(std::uint32_t cause, Visit&& visit) const {
    for (const auto& edge : sealed_dependents_of(cause)) visit(edge);
    const auto late = late_.find(cause);
    if (late == late_.end()) return;
    for (const auto& edge : late->second) visit(edge);
  }
  template <class Visit>
  void for_each_edge(Visit&& visit) const {
    for (const auto& edge : edges_) visit(edge);
    for (const auto& [cause, late] : late_) {
      for (const auto& edge : late) visit(edge);
    }
  }

  /// Steps of one cycle among the sealed edges, each waiting for the next one, the last for the first; nothing if there
  /// is none. Linear time.
  std::optional<std::vector<std::uint32_t>> find_cycle() const;

 private:
  std::span<const DependencyEdge> sealed_dependents_of(std::uint32_t cause) const;

  std::vector<DependencyEdge> edges_;
  std::unordered_map<std::uint32_t, std::vector<DependencyEdge>> late_;        // by cause
  std::unordered_map<std::uint32_t, std::vector<std::uint32_t>> late_causes_;  // by dependent
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
