// SPDX-License-Identifier: MIT
#include "protocol/step_ranges.h"

#include <random>
#include <set>

#include "tests/support/catch.h"

using namespace allot;

TEST_CASE("no steps") {
  const StepRanges none;
  CHECK(none.empty());
  CHECK(none.size() == 0);
  CHECK_FALSE(none.contains(0));
  CHECK(none == StepRanges(17, 0));
}

TEST_CASE("a million consecutive steps are one range") {
  StepRanges steps;
  for (std::uint64_t step = 5; step < 1'000'005; ++step) steps.append(step);
  CHECK(steps.ranges() == std::vector<StepRange>{{5, 1'000'000}});
  CHECK(steps == StepRanges(5, 1'000'000));
  CHECK(steps.front() == 5);
  CHECK(steps.back() == 1'000'004);
}

TEST_CASE("the largest step is a step") {
  constexpr std::uint64_t kLast = ~std::uint64_t{0};
  StepRanges steps;
  steps.append(0);
  steps.append(kLast);
  CHECK(steps.contains(kLast));
  CHECK(steps.contains(0));
  CHECK_FALSE(steps.contains(kLast - 1));
  CHECK(steps.back() == kLast);
}

TEST_CASE("ranges agree with a set of steps") {
  std::mt19937_64 random(20240607);
  for (int round = 0; round < 200; ++round) {
    std::set<std::uint64_t> expected;
    for (std::uint64_t i = random() % 60; i > 0; --i) expected.insert(random() % 100);
    StepRanges steps;
    for (const std::uint64_t step : expected) steps.append(step);

    CHECK(steps.size() == expected.size());
    CHECK(steps.empty() == expected.empty());
    std::vector<std::uint64_t> visited;
    steps.for_each([&](std::uint64_t step) { visited.push_back(step); });
    CHECK(visited == std::vector<std::uint64_t>(expected.begin(), expected.end()));
    for (std::uint64_t step = 0; step < 101; ++step) CHECK(steps.contains(step) == expected.contains(step));
    for (std::size_t i = 1; i < steps.ranges().size(); ++i)
      CHECK(steps.ranges()[i - 1].first + steps.ranges()[i - 1].count < steps.ranges()[i].first);
  }
}

TEST_CASE("a part of ranges is what stands at those positions") {
  StepRanges steps(10, 3);
  steps.append_range(20, 1);
  steps.append_range(30, 4);  // 10 11 12 20 30 31 32 33
  for (std::uint64_t from = 0; from < 10; ++from) {
    for (std::uint64_t count = 0; count < 10; ++count) {
      std::vector<std::uint64_t> all, expected, taken;
      steps.for_each([&](std::uint64_t step) { all.push_back(step); });
      for (std::uint64_t i = from; i < from + count && i < all.size(); ++i) expected.push_back(all[i]);
      steps.part(from, count).for_each([&](std::uint64_t step) { taken.push_back(step); });
      INFO(from << " " << count);
      CHECK(taken == expected);
    }
  }
  CHECK(steps.part(0, 8) == steps);
  CHECK(steps.part(0, ~std::uint64_t{0}) == steps);
  CHECK(steps.part(~std::uint64_t{0}, 1).empty());
  CHECK(StepRanges().part(0, 1).empty());
}
