// SPDX-License-Identifier: MIT
#include "distributors/slurm/native_state.h"

#include "tests/support/catch.h"

namespace allot::slurm {

TEST_CASE("each state that Slurm knows has a meaning, and none of them is done", "[slurm]") {
  const std::pair<std::uint32_t, ExitClass> ends[] = {
      {3, ExitClass::lost},        {4, ExitClass::killed},      {5, ExitClass::lost},
      {6, ExitClass::timed_out},   {7, ExitClass::node_failed}, {8, ExitClass::preempted},
      {9, ExitClass::node_failed}, {10, ExitClass::timed_out},  {11, ExitClass::out_of_memory},
  };
  for (const auto& [number, exit_class] : ends) {
    const NativeState state = native_state(number);
    INFO(state.name);
    CHECK(state.phase == NativePhase::ended);
    CHECK(state.exit_class == exit_class);
  }
  CHECK(native_state(0).phase == NativePhase::pending);
  CHECK(native_state(1).phase == NativePhase::running);
  CHECK(native_state(2).phase == NativePhase::running);
}

TEST_CASE("what is completing or on its way back into the queue has not ended", "[slurm]") {
  constexpr std::uint32_t kCompleting = 0x8000, kRequeue = 0x400;
  CHECK(native_state(3 | kCompleting).phase == NativePhase::completing);
  CHECK(native_state(7 | kCompleting).phase == NativePhase::completing);
  CHECK(native_state(7 | kRequeue).phase == NativePhase::pending);
  CHECK(native_state(1 | 0x4000).phase == NativePhase::running);  // CONFIGURING
}

TEST_CASE("a state of a later release is told by its number and is no end", "[slurm]") {
  const NativeState state = native_state(77);
  CHECK(state.phase == NativePhase::unknown);
  CHECK(state.name.find("77") != std::string::npos);
}

TEST_CASE("reasons are named as squeue names them and say what to do", "[slurm]") {
  CHECK(pending_reason(1, "").name == "Priority");
  CHECK(pending_reason(3, "").name == "Resources");
  CHECK_FALSE(pending_reason(3, "").is_final);
  CHECK(pending_reason(5, "").name == "PartitionTimeLimit");
  CHECK(pending_reason(5, "").is_final);
  CHECK(pending_reason(21, "").name == "BadConstraints");
  CHECK(pending_reason(21, "").is_final);
  CHECK(pending_reason(16, "").name == "JobHeldUser");
  CHECK(pending_reason(16, "").is_hold);
  const PendingReason wall = pending_reason(70, "");
  CHECK(wall.name.find("Assoc") == 0);
  CHECK_FALSE(wall.advice.empty());
  const PendingReason later = pending_reason(5000, "its own words");
  CHECK(later.name.find("5000") != std::string::npos);
  CHECK(later.advice.find("its own words") != std::string::npos);
  CHECK_FALSE(later.is_final);
}

TEST_CASE("errors of a submission say whether it may have been taken all the same", "[slurm]") {
  for (const int number : {kTimedOut, kControllerDown, 1001, 1003, kNoAgent}) {
    CHECK(is_ambiguous(number));
    CHECK_FALSE(is_request_fault(number));
  }
  for (const int number : {2000, 2045, 2081, 2012, 2002}) {
    CHECK_FALSE(is_ambiguous(number));
    CHECK(is_request_fault(number));
  }
  for (const int number : {kTryAgain, 2050}) {  // MaxJobCount, MaxSubmitJobs: there is room later
    CHECK_FALSE(is_ambiguous(number));
    CHECK_FALSE(is_request_fault(number));
  }
}

}  // namespace allot::slurm
