// SPDX-License-Identifier: MIT
#include "worker_node/step_cursor.h"

#include "tests/support/catch.h"

using namespace allot;

namespace {

RunBook::Entry entry_of(const StepRanges& steps) {
  RunBook::Entry entry;
  entry.submission.steps = steps;
  entry.cells.resize(steps.size());
  std::uint64_t cells = 0;
  for (const StepRange& range : steps.ranges()) {
    entry.offsets.push_back(cells);
    cells += range.count;
  }
  return entry;
}

void finish(RunBook::Entry& entry, std::uint64_t step) {
  entry.cell(step).phase = TaskPhase::finished;
}

}  // namespace

TEST_CASE("steps come in their order, each until it has ended") {
  StepRanges steps(3, 2);
  steps.append(9);
  auto entry = entry_of(steps);
  StepCursor cursor;
  for (const std::uint64_t step : {3, 4, 9}) {
    CHECK(cursor.next(entry) == step);
    CHECK(cursor.next(entry) == step);  // it came back without having run
    finish(entry, step);
  }
  CHECK_FALSE(cursor.next(entry));
}

TEST_CASE("held steps are passed over and come as soon as they are released") {
  auto entry = entry_of(StepRanges(10, 5));
  for (const std::uint64_t step : {10, 12}) entry.cell(step).flags = RunBook::kHeld;
  StepCursor cursor;
  CHECK(cursor.next(entry) == 11);
  finish(entry, 11);
  CHECK(cursor.next(entry) == 13);
  finish(entry, 13);
  entry.cell(12).flags = 0;
  cursor.released(entry, 12);
  CHECK(cursor.next(entry) == 12);
  finish(entry, 12);
  CHECK(cursor.next(entry) == 14);
  finish(entry, 14);
  CHECK_FALSE(cursor.next(entry));  // but 10, which is held
  entry.cell(10).flags = 0;
  cursor.released(entry, 10);
  CHECK(cursor.next(entry) == 10);
}

TEST_CASE("the way to the next step does not grow with what has ended") {
  constexpr std::uint64_t kSteps = 1'000'000;  // a look at all of them for each takes an hour
  auto entry = entry_of(StepRanges(0, kSteps));
  StepCursor cursor;
  std::uint64_t count = 0;
  while (const auto step = cursor.next(entry)) {
    entry.cells[*step].phase = TaskPhase::finished;
    ++count;
  }
  CHECK(count == kSteps);
}
