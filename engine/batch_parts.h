// SPDX-License-Identifier: MIT
// What a BatchRun is made of. Internal to the engine.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "ledger/driver_records.h"
#include "protocol/submission.h"

namespace allot {

/// What became of a request to cancel, as far as it is known.
struct CancelCount {
  std::uint64_t withdrawn = 0;  ///< had not been submitted and never will be
  std::uint64_t asked = 0;      ///< queued or running: their end is on its way
  std::uint64_t ended = 0;      ///< had ended before
};

/// A fault that may pass: told once, asked about again every second, given up on when nothing runs for too long.
struct PassingFault {
  std::string text;
  std::chrono::steady_clock::time_point since{};
  std::chrono::steady_clock::time_point again_at{};
  bool is_on = false;
};
/// A submission that has not been answered.
struct PendingAnswer {
  Submission submission;
  int tries = 0;
  std::optional<std::chrono::steady_clock::time_point> again_at;  ///< set: not with the submitter
};

/// The decision that a task runs again because the user asked for it.
RetryRecord requested_retry(std::uint32_t step, std::uint32_t submission, ExitClass because,
                            const RequestedResources& resources);

}  // namespace allot
