// SPDX-License-Identifier: MIT
#include "worker_node/pending_tasks.h"

#include <utility>
#include <vector>

#include "tests/support/catch.h"

using namespace allot;

namespace {

using Taken = std::vector<std::pair<std::uint32_t, std::uint64_t>>;  // entry and step

Taken take_all(PendingTasks& pending) {
  Taken taken;
  for (; !pending.empty(); pending.pop_front()) taken.emplace_back(pending.front().entry, pending.front().step);
  return taken;
}

}  // namespace

TEST_CASE("the highest priority comes first and of equals what was there before") {
  PendingTasks pending;
  pending.push_back(0, 1, {5, 2});
  pending.push_back(-1, 2, {0, 1});
  pending.push_back(7, 3, {9, 1});
  pending.push_back(0, 4, {1, 1});
  pending.push_back(7, 5, {0, 1});
  CHECK(pending.priority() == 7);
  CHECK(take_all(pending) == Taken{{3, 9}, {5, 0}, {1, 5}, {1, 6}, {4, 1}, {2, 0}});
}

TEST_CASE("what comes back is first of its equals and in the order of its submission") {
  PendingTasks pending;
  pending.push_back(0, 8, {10, 2});
  for (const std::uint64_t step : {4, 2, 3}) pending.put_back(0, 2, {9, step});  // a place that was used before
  pending.put_back(0, 1, {30, 7});
  pending.push_back(1, 6, {0, 1});
  CHECK(take_all(pending) == Taken{{6, 0}, {30, 7}, {9, 2}, {9, 3}, {9, 4}, {8, 10}, {8, 11}});
}

TEST_CASE("what is released comes before the rest, and neighbours cost one range") {
  PendingTasks pending;
  pending.push_back(0, 1, {100, 1});
  for (std::uint64_t step = 50; step-- > 40;) pending.push_front(0, {1, step});
  pending.push_front(0, {2, 39});
  Taken expected = {{2, 39}};
  for (std::uint64_t step = 40; step < 50; ++step) expected.emplace_back(1, step);
  expected.emplace_back(1, 100);
  CHECK(take_all(pending) == expected);
  CHECK(pending.empty());
}
