// SPDX-License-Identifier: MIT
// One batch on its way through a distributor, known as the protocol only. A Driver gives it what the distributor tells.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/addition.h"
#include "engine/batch_fields.h"
#include "engine/driver_context.h"
#include "engine/helper_threads.h"
#include "engine/ready_queue.h"
#include "ledger/task_table.h"

namespace allot {

/// One driver's work on a batch. Call order: begin → advance whenever there is news or it is due, until it is over →
/// finish. Thread rule: one thread.
class BatchRun : private BatchFields {
 public:
  using Clock = std::chrono::steady_clock;

  /// `number`: the driver's own for it. `submitter` and `bell` belong to the driver; without a submitter it gives up.
  BatchRun(const DriverContext& context, BatchState state, std::uint32_t number, Submitter* submitter, Bell& bell);

  const std::string& path() const { return context_.batch.path(); }
  std::uint32_t number() const { return number_; }
  std::int32_t priority() const { return context_.batch.info().priority; }  ///< the batch's own

  void begin();
  void advance();  ///< submits, ends what is to be ended, records; after it `due` is new
  bool is_due(Clock::time_point now) const { return has_news_ || due_ <= now || calls_.has_reports(); }
  Clock::time_point due() const { return has_news_ ? Clock::time_point{} : due_; }
  /// Every task has ended, or the user stopped it, or something is wrong that does not pass.
  bool is_over() const;
  BatchResult finish();  ///< records the end; once, when it is over or the distributor has been stopped
  BatchProgress progress() const;
  std::uint64_t under_way() const { return board_.count(TaskStage::queued) + board_.count(TaskStage::running); }
  bool wants_room(Clock::time_point now) const;        ///< advance() would submit something now, if there is room
  void set_room(std::uint64_t room) { room_ = room; }  ///< tasks that the cluster takes until the next advance()
  bool check_ledger();                                 ///< false: the batch was removed, and is over
  // What the driver hears.
  void take_event(const Event& event);
  void take_answer(std::uint32_t submission, Result<SubmittedIds> ids);
  void note_event_fault(const Error& error);
  void end_event_fault();
  void lose_events(const Error& error, bool is_lost);
  void give_up(const Error& error);
  void join_calls() { calls_.join(); }
  bool is_calling() const { return calls_.is_busy(); }  ///< a call into the distributor has not returned
  // What users ask for, batch_control.cpp.
  /// As Ctrl-C: nothing more is started, what was not submitted waits for a resume. A second one kills.
  void request_stop(int requests);
  /// Ends these tasks for good; their end is `killed`.
  CancelCount cancel(const TaskSelection& selection, std::chrono::milliseconds grace);
  std::uint64_t cancelling() const { return cancelling_; }  ///< asked for, and not ended yet
  /// Keeps what has not started from starting, also after this driver. Returns how many tasks.
  std::uint64_t hold(const TaskSelection& selection);
  std::uint64_t release(const TaskSelection& selection);
  /// How many tasks may be queued or running at once, also after this driver. Nothing: as many as the cluster takes.
  void set_max_running(std::optional<std::uint32_t> max_running);
  /// Failed tasks (of that class) run again, and with them what was abandoned because of them. Returns how many.
  std::uint64_t run_again(const TaskSelection& selection, std::optional<ExitClass> only);
  /// A task has asked for tasks to be added.
  void ask_for_additions() { next_addition_look_ = {}, has_news_ = true; }
  std::string explain(std::uint64_t step) const;  ///< why a task has not started or ended
  /// Visits the selected tasks that have not ended, in ascending order, `most` at most.
  void for_each_unended(const TaskSelection& selection, std::size_t most,
                        const std::function<void(std::uint64_t)>& visit) const;

 private:
  void note_fault(PassingFault& fault, const Error& error);
  void check_fence();
  void record_end();
  Clock::time_point next_due() const;

  // batch_submit.cpp
  void seed();
  void pump_submissions();
  std::optional<ReadyWork> next_work();
  std::chrono::nanoseconds wait_until_begin() const;
  std::uint64_t room_for_name(std::uint32_t group) const;
  void submit(ReadyWork work);
  void submit(ReadyWork work, std::optional<std::string> refusal);
  Submission compose(const ReadyWork& work);
  void put_back(const Submission& submission);
  void refuse(const Submission& submission, const std::string& reason);
  void find_out(const Submission& submission, const Error& error);
  const std::optional<std::string>& unfit_reason(std::uint32_t group);

  // batch_additions.cpp
  void look_for_additions();
  Result<AdditionAnswer> add_tasks(const AdditionRequest& request);
  void grow(const AddedRecord& record);
  bool wait_for_added(std::uint64_t step);

  // batch_triage.cpp
  void look_for_silent_tasks();
  void take_snapshot(const Result<Snapshot>& snapshot);
  void take_findings(Result<std::vector<TriageFinding>> findings);

  // batch_retry.cpp
  bool retry(std::uint64_t step, const ExitInfo& info, bool has_started);
  RetryRules own_rules(std::uint64_t step);
  UsageStats usage_of(std::uint64_t step);
  bool defer(std::uint64_t step, const ExitInfo& info, const DeferRule& rule, bool has_started);
  void end_for_good(std::uint64_t step, const ExitInfo& info, bool has_started, const std::string& reason);
  std::uint32_t group_of(std::uint32_t like, const RequestedResources& resources);
  std::uint32_t group_of(GroupKey key);
  void decide_undecided();
  void delay(std::uint32_t step, std::int64_t not_before_ns);
  void let_start(std::uint32_t step);
  void release_delayed();

  // batch_events.cpp
  /// `is_verdict`: the driver's own, which no record of a worker node tells.
  void take_end(const Event& event, bool is_verdict = false);
  void settle(std::uint64_t step, const ExitInfo& info);
  void release_dependents(std::uint64_t step);
  void abandon(std::uint32_t step, std::uint32_t cause);
  void make_ready(std::uint64_t step);
  void note_withdrawn();

  // batch_control.cpp
  void withdraw(std::uint64_t step);
  void end_cancelling(std::uint64_t step);
  void drop_unready();
  void hold_adopted();
  void cancel_adopted();
  void reopen_dependents(std::vector<std::uint32_t> causes);
  std::string explain_waiting(std::uint64_t step) const;
  std::string explain_ready(std::uint64_t step) const;

  // batch_stop.cpp
  bool is_ending() const { return stop_requests_ > 0 || cancelling_ > 0; }
  bool is_to_end(const TaskCell& cell) const { return stop_requests_ > 0 || cell.is_cancelled; }
  std::chrono::milliseconds grace() const;
  void pump_termination();
  void take_call_reports();
  void terminate_running();
  bool terminate_queued(Clock::time_point now);
  bool is_stopped() const;
  std::optional<std::string> id_of(std::uint64_t step) const;
};

}  // namespace allot
