// SPDX-License-Identifier: MIT
// Into what submissions equal tasks are split. The driver and allot run --dry-run share it.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/batch_plan.h"
#include "protocol/cluster_distributor.h"
#include "protocol/step_ranges.h"

namespace allot {

struct ArrayLimits {
  DistributorLimits distributor;
  std::optional<std::uint32_t> max_running;  ///< tasks of the batch queued or running at once; nothing: no limit
  bool may_be_arrays = true;                 ///< false: one task in a submission
};

/// How many tasks the next submission may have while so many are queued and running. 0: none for now.
std::uint64_t next_array_length(const ArrayLimits& limits, std::uint64_t queued, std::uint64_t running);
/// Whether a submission of so many steps, which are among the `queued`, is within what the cluster takes now: one that
/// has refused it may say less than before. A single step always is.
bool fits(const DistributorLimits& limits, std::uint64_t steps, std::uint64_t queued);

/// Takes the first `count` steps out of `steps`, or all of them where there are no more.
StepRanges take_front(StepRanges& steps, std::uint64_t count);

/// When a submission is made.
enum class SubmitTime : std::uint8_t {
  at_once,       ///< as the driver begins
  later,         ///< when others have ended, so that the limits leave room; then in parts, as there is room
  at_begin,      ///< when their time has come; likewise
  after_others,  ///< when the tasks that they wait for have ended; likewise
};

struct PlannedSubmission {
  std::uint32_t group = 0;  ///< index into BatchPlan::groups
  SubmitTime time = SubmitTime::at_once;
  StepRanges steps;
  std::int64_t begin_ns = 0;  ///< of those at_begin: their time
};

/// What a driver submits of a new batch if nothing ends meanwhile, in that order; then what has to wait, likewise.
/// `is_refused`, by group: what no queue takes is refused by the driver itself and so never counts as under way.
/// `now_ns`: Unix time.
std::vector<PlannedSubmission> plan_submissions(const BatchPlan& plan, const ArrayLimits& limits,
                                                const std::vector<bool>& is_refused, std::int64_t now_ns);

}  // namespace allot
