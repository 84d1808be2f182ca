// SPDX-License-Identifier: MIT
#include "engine/dependency_graph.h"

#include <algorithm>

namespace allot {

void DependencyGraph::seal() {
  std::stable_sort(edges_.begin(), edges_.end(), [](const auto& a, const auto& b) { return a.cause < b.cause; });
}

void DependencyGraph::add_late(std::uint32_t dependent, const Dependency& on) {
  late_[on.step].push_back({on.step, dependent, on.kind});
  late_causes_[dependent].push_back(on.step);
}

void DependencyGraph::drop_late(std::uint32_t dependent) {
  const auto causes = late_causes_.find(dependent);
  if (causes == late_causes_.end()) return;
  for (const std::uint32_t cause : causes->second) {
    const auto late = late_.find(cause);
    if (late == late_.end()) continue;
    std::erase_if(late->second, [dependent](const DependencyEdge& edge) { return edge.dependent == dependent; });
    if (late->second.empty()) late_.erase(late);
  }
  late_causes_.erase(causes);
}

std::span<const DependencyEdge> DependencyGraph::sealed_dependents_of(std::uint32_t cause) const {
  const auto [from, to] = std::equal_range(edges_.begin(), edges_.end(), DependencyEdge{cause, 0, {}},
                                           [](const auto& a, const auto& b) { return a.cause < b.cause; });
  return {from, to};
}

std::optional<std::vector<std::uint32_t>> DependencyGraph::find_cycle() const {
  // Kahn: take away what waits for nothing; what is left waits for a cycle or lies on one.
  std::unordered_map<std::uint32_t, std::uint32_t> waits;  // dependent → causes left
  for (const auto& edge : edges_) ++waits[edge.dependent];
  std::vector<std::uint32_t> free;
  for (const auto& edge : edges_) {
    if (waits.find(edge.cause) == waits.end()) free.push_back(edge.cause);
  }
  std::sort(free.begin(), free.end());
  free.erase(std::unique(free.begin(), free.end()), free.end());
  while (!free.empty()) {
    const std::uint32_t step = free.back();
    free.pop_back();
    for (const auto& edge : sealed_dependents_of(step)) {
      const auto left = waits.find(edge.dependent);
      if (--left->second > 0) continue;
      waits.erase(left);
      free.push_back(edge.dependent);
    }
  }
  if (waits.empty()) return std::nullopt;

  // Each step left waits for another one that is left: walking from cause to cause must come back.
  std::unordered_map<std::uint32_t, std::uint32_t> cause_of;
  for (const auto& edge : edges_) {
    if (waits.count(edge.cause) != 0 && waits.count(edge.dependent) != 0) cause_of.emplace(edge.dependent, edge.cause);
  }
  std::uint32_t step = std::min_element(cause_of.begin(), cause_of.end())->first;
  std::unordered_map<std::uint32_t, std::size_t> place;
  std::vector<std::uint32_t> path;
  for (;;) {
    const auto [seen, is_new] = place.emplace(step, path.size());
    if (!is_new) {
      path.erase(path.begin(), path.begin() + static_cast<std::ptrdiff_t>(seen->second));
      return path;
    }
    path.push_back(step);
    step = cause_of.at(step);
  }
}

}  // namespace allot
