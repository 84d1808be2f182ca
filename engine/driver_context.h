// SPDX-License-Identifier: MIT
// What a driver works with, where it begins, and what it says at the end.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/batch_observer.h"
#include "engine/batch_plan.h"
#include "engine/driver_log.h"
#include "engine/highlights.h"
#include "engine/retry_policy.h"
#include "engine/task_board.h"
#include "ledger/batch_directory.h"
#include "protocol/cluster_distributor.h"
#include "protocol/cluster_queue.h"
#include "protocol/step_ranges.h"

namespace allot {

/// What a driver says as it leaves a batch of which nothing is left to do.
inline constexpr const char* kAllEnded = "all tasks ended";
/// And of one that it leaves because it was told to stop.
inline constexpr const char* kStopped = "cancelled";

struct RunSettings {
  std::chrono::milliseconds grace{5000};                ///< from TERM to KILL when the batch is cancelled
  std::chrono::milliseconds queue_first{2000};          ///< how long a cancellation spares what runs for what is queued
  RetryPolicy retry;                                    ///< the cluster's table with the batch's own rules
  std::chrono::milliseconds trouble_patience{30'000};   ///< how long a passing fault may last while nothing runs
  std::chrono::milliseconds fence_interval{10'000};     ///< how often it looks whether another driver has the batch
  std::chrono::milliseconds termination_bound{15'000};  ///< beyond the grace: how long ends may take to be told
  std::chrono::milliseconds reconcile_patience{60'000};  ///< how long resume asks what became of a submission
};

/// What a driver works with. All of it outlives the driver.
struct DriverContext {
  const BatchDirectory& batch;
  const DriverIdentity& driver;
  DriverLog& log;
  ClusterDistributor& distributor;
  const std::vector<std::unique_ptr<ClusterQueue>>& queues;  ///< default first
  BatchObserver& observer;
  StopSignal& stop;
  RunSettings settings;
};

/// Which tasks a request is about: those of `steps` (nothing: all) in one of the wanted stages.
struct TaskSelection {
  std::optional<StepRanges> steps;
  bool waiting = true;  ///< not submitted
  bool queued = true;
  bool running = true;

  bool contains(std::uint64_t step) const { return !steps || steps->contains(step); }
  void want_no_stage() { waiting = queued = running = false; }
  /// Wants the stage of that name. False: there is none.
  bool want_stage(std::string_view name);
};

/// How the ids of a submission are made; the steps are on the board.
struct SubmissionIds {
  std::string base;
  bool is_array = false;
  std::uint64_t step_origin = 0;
};

/// What a task has had of its budgets, and when it may run again.
struct RetryState {
  std::array<std::uint16_t, kExitClassCount> used{};
  std::int64_t not_before_ns = 0;      ///< Unix time; 0: at once
  std::int64_t first_deferral_ns = 0;  ///< Unix time; 0: it has not asked to be run later
};

/// Where a driver begins: a new batch, or what recovery found.
struct BatchState {
  BatchPlan plan;
  TaskBoard board{0};
  std::uint32_t next_submission = 1;
  std::map<std::uint32_t, SubmissionIds> submissions;  ///< those that still have tasks queued or running
  std::uint64_t incomplete_outputs = 0;                ///< of tasks that have ended
  Highlights highlights;                               ///< of these, too
  std::map<std::uint32_t, RetryState> retries;         ///< by step, of those that ran again or are to
  std::vector<FailureNote> undecided;        ///< failed; whether the table lets them run again is to be decided
  std::optional<std::uint32_t> max_running;  ///< what the user set while an earlier driver ran; 0: no limit
  std::vector<AddedRecord> additions;        ///< what tasks have added so far
};

/// A batch of which nothing has been submitted.
BatchState fresh_state(BatchPlan plan);

struct BatchResult {
  BatchProgress progress;
  std::array<std::uint64_t, kExitClassCount> by_class{};
  std::uint64_t unknown = 0;             ///< of an earlier driver's tasks, whose fate could not be found out
  std::uint64_t incomplete_outputs = 0;  ///< of tasks that have ended, also before this run
  double wall_seconds = 0;
  int stop_requests = 0;
  std::optional<Error> trouble;  ///< why the driver left before the end
  Highlights highlights;

  bool all_done() const { return progress.done == progress.total; }
};

}  // namespace allot
