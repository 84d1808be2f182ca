// SPDX-License-Identifier: MIT
// What became of tasks that went silent: the distributor does not have them any more and has told no end of them.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "ledger/batch_directory.h"
#include "protocol/cluster_distributor.h"

namespace allot {

struct SilentTask {
  std::uint32_t step = 0;
  std::uint32_t submission = 0;
  std::string id;
  std::string absence;  ///< what the distributor said, for the evidence
};

/// What is made of one.
struct TriageFinding {
  Event end;                 ///< as the distributor should have told it
  bool has_started = false;  ///< a start of it is recorded
  bool has_record = false;   ///< its worker node has recorded this end; false: it is a verdict, with its evidence
};

/// Hears the three witnesses of each: the worker node's record, which alone may say done; the distributor, which does
/// not have it; what that or its accounting knows of the end. Blocks: bounded by reading the ledger and a second a
/// task. Tasks that have been submitted again since are left out. Errors: of reading the ledger.
Result<std::vector<TriageFinding>> hear_witnesses(const BatchDirectory& batch, ClusterDistributor& distributor,
                                                  const std::vector<SilentTask>& tasks);

/// Who is silent now. Internal to the engine.
struct Triage {
  using Clock = std::chrono::steady_clock;
  struct Suspect {
    std::uint32_t submission = 0;
    std::uint32_t misses = 0;  ///< answers in a row that did not have it
    Clock::time_point since{};
    std::int64_t since_ns = 0;  ///< Unix time
  };
  std::map<std::uint32_t, Suspect> suspects;  ///< by step
  std::vector<SilentTask> asked;              ///< what the question under way is about
  std::uint64_t cursor = 0;                   ///< where the next question about queued tasks begins
  Clock::time_point next_look{};

  /// Of a step that is silent: what that means for it; empty for others.
  std::string explain(std::uint64_t step, std::chrono::milliseconds patience) const;
};

}  // namespace allot
