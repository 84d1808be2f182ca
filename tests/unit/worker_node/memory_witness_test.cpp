// SPDX-License-Identifier: MIT
#include "worker_node/memory_witness.h"

#include <csignal>

#include "tests/support/catch.h"

using namespace allot;

namespace {

std::uint64_t kills;
std::uint64_t count_kills() {
  return kills;
}

ExitInfo ended(ExitClass exit_class, std::optional<int> signal = {}) {
  ExitInfo info;
  info.exit_class = exit_class;
  info.signal = signal;
  return info;
}

}  // namespace

TEST_CASE("a SIGKILL is the kernel's when it has killed for memory since the task began") {
  kills = 7;
  KillWitness witness(count_kills);
  witness.before_start();
  CHECK_FALSE(witness.after_end(ended(ExitClass::signaled, SIGKILL)));
  kills = 8;
  CHECK(witness.after_end(ended(ExitClass::signaled, SIGKILL)));
  CHECK_FALSE(witness.after_end(ended(ExitClass::signaled, SIGTERM)));
  CHECK_FALSE(witness.after_end(ended(ExitClass::error)));
}

TEST_CASE("a kill of an earlier task's child is not put down to the next task, however the earlier one ended") {
  kills = 0;
  KillWitness witness(count_kills);
  witness.before_start();
  kills = 1;
  CHECK_FALSE(witness.after_end(ended(ExitClass::done)));
  witness.before_start();
  CHECK_FALSE(witness.after_end(ended(ExitClass::signaled, SIGKILL)));
}

TEST_CASE("this process has had memory of its own") {
  CHECK(own_peak_bytes() > 100'000);
}
