// SPDX-License-Identifier: MIT
#include "cli/progress_display.h"

#include "tests/support/catch.h"

namespace allot::cli {

namespace {

BatchProgress some_progress() {
  BatchProgress progress;
  progress.total = 1000;
  progress.done = 240;
  progress.failed = 10;
  progress.running = 2;
  progress.queued = 748;
  return progress;
}

}  // namespace

TEST_CASE("the bar says how far it is, what failed, how fast and how long still") {
  CHECK(progress_line(some_progress(), 50, 200) ==
        "[==========                              ]  25% 240/1000 done, 10 failed, 2 running, 50/s, 15.00 s left");
  BatchProgress done;
  done.total = done.done = 3;
  CHECK(progress_line(done, 0, 60).find("100% 3/3 done, 0 running") != std::string::npos);
  CHECK(progress_line(done, 1, 60).find("left") == std::string::npos);
}

TEST_CASE("it fits any width and keeps the numbers as long as it can") {
  const auto progress = some_progress();
  for (std::size_t columns = 0; columns < 150; ++columns) {
    const std::string line = progress_line(progress, 50, columns);
    CHECK(line.size() <= (columns == 0 ? 0 : columns - 1));
    if (columns > 20) CHECK(line.find("25% 240/1000") != std::string::npos);
  }
}

TEST_CASE("not all done is never shown as 100 %") {
  BatchProgress progress;
  progress.total = 1'000'000;
  progress.done = 999'999;
  CHECK(progress_line(progress, 1, 100).find(" 99% ") != std::string::npos);
}

TEST_CASE("cancelling takes the place of the pace") {
  auto progress = some_progress();
  progress.is_stopping = true;
  const std::string line = progress_line(progress, 50, 100);
  CHECK(line.find("cancelling") != std::string::npos);
  CHECK(line.find("left") == std::string::npos);
}

TEST_CASE("the rate is that of the last seconds") {
  using std::chrono::seconds;
  RateMeter meter;
  auto now = RateMeter::Clock::time_point(seconds(1000));
  CHECK(meter.per_second() == 0);
  meter.add(now, 0);
  CHECK(meter.per_second() == 0);
  for (std::uint64_t i = 1; i <= 60; ++i) meter.add(now + seconds(i), 100 * i);
  CHECK(meter.per_second() == Approx(100));
  for (int i = 1; i <= 60; ++i) meter.add(now + seconds(60 + i), 6000);
  CHECK(meter.per_second() == 0);
  // Many calls in a moment are no more than the moment.
  for (int i = 0; i < 10'000; ++i) meter.add(now + seconds(121), 7000);
  CHECK(meter.per_second() < 100);
}

}  // namespace allot::cli
