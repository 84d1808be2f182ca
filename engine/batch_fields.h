// SPDX-License-Identifier: MIT
// What a BatchRun keeps. Internal to the engine.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "engine/batch_parts.h"
#include "engine/driver_context.h"
#include "engine/helper_threads.h"
#include "engine/ready_queue.h"
#include "engine/triage.h"
#include "ledger/task_table.h"

namespace allot {

class BatchFields {
 protected:
  BatchFields(const DriverContext& context, BatchState state, std::uint32_t number, Submitter* submitter, Bell& bell)
      : context_(context),
        plan_(std::move(state.plan)),
        board_(std::move(state.board)),
        next_submission_(state.next_submission),
        submissions_(std::move(state.submissions)),
        retries_(std::move(state.retries)),
        undecided_(std::move(state.undecided)),
        number_(number),
        submitter_(submitter),
        calls_(context.distributor, bell) {
    for (AddedRecord& added : state.additions) {
      unanswered_.emplace(added.token, added);
      additions_.emplace(added.parent.step, std::move(added));
    }
    result_.incomplete_outputs = state.incomplete_outputs;
    result_.highlights = std::move(state.highlights);
    if (!state.max_running) return;
    auto& most = context_.settings.retry.max_running;
    most.reset();
    if (*state.max_running > 0) most = *state.max_running;
  }

  TaskTableReader* table();  // null: it cannot be opened now

  DriverContext context_;
  BatchPlan plan_;
  TaskBoard board_;
  std::uint32_t next_submission_;
  std::map<std::uint32_t, SubmissionIds> submissions_;
  std::vector<std::uint32_t> unmet_;  // by step: causes that have not ended; empty without dependencies

  ReadyQueue ready_;
  std::map<std::uint32_t, PendingAnswer> pending_;                 // by submission number
  std::map<std::uint32_t, std::optional<std::string>> unfit_;      // by group: why, if so
  std::map<std::uint32_t, std::vector<std::uint32_t>> withdrawn_;  // by submission: steps
  std::map<std::uint32_t, RetryState> retries_;                    // by step
  std::vector<FailureNote> undecided_;
  std::multimap<std::chrono::steady_clock::time_point, std::uint32_t> delayed_;  // steps, by when they may run
  std::map<std::int64_t, std::vector<std::uint32_t>> not_begun_;  // steps that wait for their begin, by Unix time
  std::map<GroupKey, std::uint32_t> more_groups_;                 // made for what grew
  std::optional<TaskTableReader> table_;                          // opened when first needed: table()
  bool only_singles_ = false;

  const std::uint32_t number_;
  Submitter* submitter_;
  std::size_t in_flight_ = 0;  // submissions with the submitter
  DistributorCalls calls_;
  std::optional<std::uint64_t> room_;
  bool has_news_ = true;
  std::chrono::steady_clock::time_point due_{};

  NodeRecord nodes_;
  Triage triage_;
  std::multimap<std::uint32_t, AddedRecord> additions_;      // by the parent's step
  std::unordered_map<std::string, AddedRecord> unanswered_;  // by token: added, and who asked may not know it yet
  std::chrono::steady_clock::time_point next_addition_look_{};
  std::unordered_set<std::uint32_t> running_;
  int stop_requests_ = 0;
  int kills_sent_ = 0;             // stop requests that the running tasks have been told of
  std::uint64_t stop_cursor_ = 0;  // queued steps before it have been taken out, or tried
  std::chrono::steady_clock::time_point stop_since_{};
  std::chrono::steady_clock::time_point next_stop_pass_{};
  std::chrono::steady_clock::time_point last_change_{};  // something ended or was submitted
  std::uint64_t unreachable_ = 0;

  std::uint64_t cancelling_ = 0;  // tasks
  std::chrono::milliseconds cancel_grace_{0};
  PassingFault log_fault_, event_fault_;
  std::chrono::steady_clock::time_point began_{};
  std::chrono::steady_clock::time_point next_fence_check_{};
  bool is_lost_ = false;    // the distributor does not answer any more: leave
  bool is_fenced_ = false;  // another driver has the batch: leave without a word in the ledger
  BatchResult result_;
};

}  // namespace allot
