// SPDX-License-Identifier: MIT
#include "worker_node/event_log.h"

#include <poll.h>

#include <thread>

#include "tests/support/catch.h"

using namespace allot;
using std::chrono::milliseconds;

namespace {
EventItem item(std::uint32_t step) {
  EventItem made;
  made.step = step;
  return made;
}
bool is_readable(int fd) {
  pollfd wait = {fd, POLLIN, 0};
  return ::poll(&wait, 1, 0) == 1;
}
}  // namespace

TEST_CASE("events are numbered without gaps and repeated until they are acknowledged") {
  EventLog log;
  for (std::uint32_t i = 0; i < 5; ++i) log.push(item(i));
  for (int repeat = 0; repeat < 2; ++repeat) {
    auto batch = log.wait(0, milliseconds(0));
    REQUIRE(batch);
    CHECK(batch->first_sequence == 1);
    REQUIRE(batch->items.size() == 5);
    CHECK(batch->items[4].step == 4);
  }
  auto rest = log.wait(3, milliseconds(0));
  REQUIRE(rest);
  CHECK(rest->first_sequence == 4);
  CHECK(rest->items.size() == 2);
  // What was acknowledged is forgotten; what was not is still there.
  CHECK(log.wait(0, milliseconds(0))->first_sequence == 4);
  CHECK(log.wait(5, milliseconds(0))->items.empty());
  CHECK(log.wait(6, milliseconds(0)).error().code == ErrorCode::fix_request);
}

TEST_CASE("the descriptor polls readable exactly while something is not acknowledged") {
  EventLog log;
  CHECK_FALSE(is_readable(log.descriptor()));
  log.push(item(0));
  log.push(item(1));
  CHECK(is_readable(log.descriptor()));
  REQUIRE(log.wait(1, milliseconds(0)));
  CHECK(is_readable(log.descriptor()));
  REQUIRE(log.wait(2, milliseconds(0)));
  CHECK_FALSE(is_readable(log.descriptor()));
}

TEST_CASE("the descriptor polls readable while there is an error to tell") {
  EventLog log;
  log.interrupt(Error{ErrorCode::retry_later, "no room"});
  CHECK(is_readable(log.descriptor()));
  CHECK(log.wait(0, milliseconds(0)).error().message == "no room");
  CHECK(is_readable(log.descriptor()));
  log.resume();
  CHECK_FALSE(is_readable(log.descriptor()));
}

TEST_CASE("a waiter is woken by an event, and by an interruption") {
  EventLog log;
  std::thread pusher([&] { log.push(item(7)); });
  auto batch = log.wait(0, milliseconds(30'000));
  pusher.join();
  REQUIRE(batch);
  CHECK(batch->items.at(0).step == 7);
  std::thread stopper([&] { log.interrupt(Error{ErrorCode::gave_up, "no more"}); });
  auto none = log.wait(1, milliseconds(30'000));
  stopper.join();
  REQUIRE_FALSE(none);
  CHECK(none.error().message == "no more");
  // Events still come first: nothing is lost to an interruption.
  log.push(item(8));
  REQUIRE(log.wait(1, milliseconds(0)));
}

TEST_CASE("a waiter whose events another one acknowledges meanwhile gets those that come after") {
  EventLog log;
  bool is_right = true;  // assertions are for one thread only
  std::thread waiter([&] {
    std::uint64_t seen = 0;
    while (seen < 2000 && is_right) {
      const auto batch = log.wait(0, milliseconds(30'000));
      is_right = batch && !batch->items.empty();
      if (!is_right) return;
      // Each item carries its sequence: what was forgotten is never delivered.
      for (std::size_t i = 0; i < batch->items.size(); ++i) {
        is_right = is_right && batch->items[i].step == batch->first_sequence + i;
      }
      seen = batch->first_sequence + batch->items.size() - 1;
    }
  });
  bool is_acknowledged = true;
  for (std::uint32_t i = 1; i <= 2000; ++i) {
    log.push(item(i));
    if (i < 2000) is_acknowledged = is_acknowledged && log.wait(i, milliseconds(0)).has_value();
  }
  waiter.join();
  CHECK(is_right);
  CHECK(is_acknowledged);
}

TEST_CASE("the longest time that can be written is waited, not none") {
  EventLog log;
  std::thread pusher([&] { log.push(item(1)); });
  auto batch = log.wait(0, milliseconds::max());
  pusher.join();
  REQUIRE(batch);
  CHECK(batch->items.size() == 1);
}
