// SPDX-License-Identifier: MIT
// What a BatchRun is made of. Internal to the engine.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

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
/// Which nodes fail again and again. A failure is an end that is the node's fault, as far as can be seen: node_failed,
/// lost, launch_failed. The last node that is left is never excluded.
class NodeRecord {
 public:
  /// True if the node is excluded by this.
  bool note(const std::string& node, ExitClass exit_class, std::uint32_t exclude_after);
  const std::vector<std::string>& excluded() const { return excluded_; }

 private:
  std::map<std::string, std::uint32_t> failures_in_a_row_;  // of every node seen, but the excluded ones
  std::vector<std::string> excluded_;
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
