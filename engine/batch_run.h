// SPDX-License-Identifier: MIT
// Drives a batch through a distributor to its end, knowing it as the protocol only.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "engine/driver_context.h"
#include "engine/helper_threads.h"
#include "ledger/task_table.h"

namespace allot {

/// One driver's work on a batch. Thread rule: one thread; run() once.
class BatchRun {
 public:
  /// The distributor has been started.
  BatchRun(const DriverContext& context, BatchState state);
  ~BatchRun();

  /// Submits, follows, repeats lost runs, and records, until every task has ended, or the user stops it, or something
  /// is wrong that does not pass. Stops the distributor and records the end.
  BatchResult run();

 private:
  using Clock = std::chrono::steady_clock;
  struct ReadyWork {
    std::uint32_t group = 0;
    std::uint16_t attempt = 1;
    StepRanges steps;
  };
  // A fault that may pass: told once, asked about again every second, given up on when nothing runs for too long.
  struct PassingFault {
    std::string text;
    Clock::time_point since{};
    Clock::time_point again_at{};
    bool is_on = false;
  };
  struct PendingAnswer {
    Submission submission;
    int tries = 0;
    std::optional<Clock::time_point> again_at;  // set: not with the submitter
  };

  void loop();
  void wait();
  bool is_over() const;
  BatchProgress progress() const;
  void give_up(const Error& error);
  void note_fault(PassingFault& fault, const Error& error);
  void check_fence();
  void record_end();

  // batch_submit.cpp
  void seed();
  void pump_submissions();
  std::optional<ReadyWork> next_work();
  void submit(ReadyWork work);
  Submission compose(const ReadyWork& work);
  void take_answers();
  void take_answer(std::uint32_t number, Result<SubmittedIds> ids);
  void put_back(const Submission& submission);
  void refuse(const Submission& submission, const std::string& reason);
  void find_out(const Submission& submission, const Error& error);
  const std::optional<std::string>& unfit_reason(std::uint32_t group);

  // batch_events.cpp
  bool take_events();
  void take_event(const Event& event);
  void take_end(const Event& event);

  // batch_retry.cpp
  bool retry(std::uint64_t step, const ExitInfo& info, bool has_started);
  RetryRules own_rules(std::uint64_t step);
  UsageStats usage_of(std::uint64_t step);
  std::uint32_t group_of(const RequestedResources& resources);
  void decide_undecided();
  void delay(std::uint32_t step, std::int64_t not_before_ns);
  void release_delayed();

  void settle(std::uint64_t step, const ExitInfo& info);
  void release_dependents(std::uint64_t step);
  void make_ready(std::uint64_t step);
  void note_withdrawn();

  // batch_stop.cpp
  void take_stop_requests();
  void pump_termination();
  void take_termination_reports();
  void terminate_running(std::chrono::milliseconds grace);
  bool terminate_queued(Clock::time_point now, std::chrono::milliseconds grace);
  bool is_stopped() const;
  std::optional<std::string> id_of(std::uint64_t step) const;

  DriverContext context_;
  BatchPlan plan_;
  TaskBoard board_;
  std::uint32_t next_submission_;
  std::map<std::uint32_t, SubmissionIds> submissions_;
  std::vector<std::uint32_t> unmet_;  // by step: causes that have not ended; empty without dependencies

  std::deque<ReadyWork> ready_;
  std::map<std::pair<std::uint32_t, std::uint16_t>, std::vector<std::uint32_t>> fresh_;  // (group, attempt) → steps
  std::map<std::uint32_t, PendingAnswer> pending_;                                       // by submission number
  std::map<std::uint32_t, std::optional<std::string>> unfit_;                            // by group: why, if so
  std::map<std::uint32_t, std::vector<std::uint32_t>> withdrawn_;                        // by submission: steps
  std::map<std::uint32_t, RetryState> retries_;                                          // by step
  std::vector<FailureNote> undecided_;
  std::multimap<Clock::time_point, std::uint32_t> delayed_;  // steps, by when they may run
  std::map<RequestedResources, std::uint32_t> more_groups_;  // made for what grew
  std::optional<TaskTableReader> table_;                     // for tasks' own rules
  bool only_singles_ = false;

  Bell bell_;
  std::unique_ptr<Submitter> submitter_;
  std::unique_ptr<Terminator> terminator_;
  std::uint64_t cursor_ = 0;
  int event_descriptor_ = -1;

  std::unordered_set<std::uint32_t> running_;
  int stop_requests_ = 0;
  int kills_sent_ = 0;             // stop requests that the running tasks have been told of
  std::uint64_t stop_cursor_ = 0;  // queued steps before it have been taken out, or tried
  Clock::time_point stop_since_{};
  Clock::time_point next_stop_pass_{};
  Clock::time_point last_change_{};  // something ended or was submitted
  std::uint64_t unreachable_ = 0;

  PassingFault log_fault_, event_fault_;
  Clock::time_point next_fence_check_{};
  bool is_lost_ = false;    // the distributor does not answer any more: leave
  bool is_fenced_ = false;  // another driver has the batch: leave without a word in the ledger
  BatchResult result_;
};

}  // namespace allot
