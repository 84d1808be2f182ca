// SPDX-License-Identifier: MIT
#include "engine/dependency_graph.h"

#include <algorithm>
#include <random>
#include <set>

#include "tests/support/catch.h"

namespace allot {

namespace {

DependencyGraph graph_of(const std::vector<std::pair<std::uint32_t, std::uint32_t>>& waits) {
  DependencyGraph graph;
  for (const auto& [dependent, cause] : waits) graph.add(dependent, {cause, DependencyKind::after_ok});
  graph.seal();
  return graph;
}

}  // namespace

TEST_CASE("dependents are found by their cause") {
  const auto graph = graph_of({{5, 1}, {2, 1}, {3, 2}, {3, 1}});
  std::set<std::uint32_t> of_one;
  graph.for_each_dependent(1, [&](const DependencyEdge& edge) { of_one.insert(edge.dependent); });
  CHECK(of_one == std::set<std::uint32_t>{2, 3, 5});
  const auto count = [](const DependencyGraph& of, std::uint32_t cause) {
    int edges = 0;
    of.for_each_dependent(cause, [&](const DependencyEdge&) { ++edges; });
    return edges;
  };
  CHECK(count(graph, 2) == 1);
  CHECK(count(graph, 9) == 0);
  CHECK(graph_of({}).empty());
}

TEST_CASE("edges that come late count like the others and can be taken back") {
  auto graph = graph_of({{1, 0}, {2, 0}});
  graph.add_late(0, {7, DependencyKind::after_ok});
  graph.add_late(0, {8, DependencyKind::after_any});
  graph.add_late(9, {8, DependencyKind::after_ok});
  std::set<std::uint32_t> of_eight;
  graph.for_each_dependent(8, [&](const DependencyEdge& edge) { of_eight.insert(edge.dependent); });
  CHECK(of_eight == std::set<std::uint32_t>{0, 9});
  graph.drop_late(0);
  std::set<std::uint32_t> dependents;
  graph.for_each_edge([&](const DependencyEdge& edge) { dependents.insert(edge.dependent); });
  CHECK(dependents == std::set<std::uint32_t>{1, 2, 9});
}

TEST_CASE("a cycle is found and shown in the order of waiting") {
  CHECK_FALSE(graph_of({}).find_cycle());
  CHECK_FALSE(graph_of({{1, 0}, {2, 1}, {2, 0}}).find_cycle());
  CHECK(graph_of({{4, 4}}).find_cycle() == std::vector<std::uint32_t>{4});
  // 0 ← 1 ← 2 ← 3 ← 1: 1, 2 and 3 wait for each other; 0 and 9 are not part of it.
  const auto cycle = graph_of({{1, 0}, {2, 1}, {3, 2}, {1, 3}, {9, 3}}).find_cycle();
  REQUIRE(cycle);
  CHECK(cycle->size() == 3);
  const std::set<std::pair<std::uint32_t, std::uint32_t>> waits = {{2, 1}, {3, 2}, {1, 3}};
  for (std::size_t i = 0; i < cycle->size(); ++i) {
    CHECK(waits.count({(*cycle)[i], (*cycle)[(i + 1) % cycle->size()]}) == 1);
  }
}

TEST_CASE("random graphs: a cycle is told exactly if there is one, and is one") {
  std::mt19937 random(11);
  int with_cycle = 0;
  for (int round = 0; round < 500; ++round) {
    const std::uint32_t size = 2 + random() % 12;
    std::set<std::pair<std::uint32_t, std::uint32_t>> waits;
    for (std::uint32_t i = 0; i < size; ++i) waits.insert({random() % size, random() % size});
    // Warshall's closure as the independent judge.
    std::vector<std::vector<bool>> reach(size, std::vector<bool>(size));
    for (const auto& [a, b] : waits) reach[a][b] = true;
    for (std::uint32_t k = 0; k < size; ++k) {
      for (std::uint32_t i = 0; i < size; ++i) {
        for (std::uint32_t j = 0; j < size; ++j) reach[i][j] = reach[i][j] || (reach[i][k] && reach[k][j]);
      }
    }
    bool is_cyclic = false;
    for (std::uint32_t i = 0; i < size; ++i) is_cyclic = is_cyclic || reach[i][i];

    const auto cycle = graph_of({waits.begin(), waits.end()}).find_cycle();
    REQUIRE(cycle.has_value() == is_cyclic);
    if (!cycle) continue;
    ++with_cycle;
    CHECK(std::set<std::uint32_t>(cycle->begin(), cycle->end()).size() == cycle->size());
    for (std::size_t i = 0; i < cycle->size(); ++i) {
      CHECK(waits.count({(*cycle)[i], (*cycle)[(i + 1) % cycle->size()]}) == 1);
    }
  }
  CHECK(with_cycle > 100);
  CHECK(with_cycle < 500);
}

TEST_CASE("a chain of a hundred thousand is judged in linear time and without recursion") {
  std::vector<std::pair<std::uint32_t, std::uint32_t>> waits;
  for (std::uint32_t i = 1; i < 100'000; ++i) waits.emplace_back(i, i - 1);
  CHECK_FALSE(graph_of(waits).find_cycle());
  waits.emplace_back(0, 99'999);
  CHECK(graph_of(waits).find_cycle()->size() == 100'000);
}

TEST_CASE("what the end of a cause means") {
  using Verdict = DependencyVerdict;
  CHECK(judge_dependency(DependencyKind::after_ok, true) == Verdict::satisfied);
  CHECK(judge_dependency(DependencyKind::after_ok, false) == Verdict::never);
  CHECK(judge_dependency(DependencyKind::after_not_ok, true) == Verdict::never);
  CHECK(judge_dependency(DependencyKind::after_not_ok, false) == Verdict::satisfied);
  CHECK(judge_dependency(DependencyKind::after_any, true) == Verdict::satisfied);
  CHECK(judge_dependency(DependencyKind::after_any, false) == Verdict::satisfied);
}

}  // namespace allot
