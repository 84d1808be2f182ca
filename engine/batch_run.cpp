// SPDX-License-Identifier: MIT
#include "engine/batch_run.h"

#include <algorithm>

#include <fmt/format.h>

#include "process/fault_point.h"

namespace allot {
namespace {

constexpr std::chrono::seconds kFaultInterval{1};
// While a cancellation goes on.
constexpr std::chrono::milliseconds kStopInterval{100};

}  // namespace

BatchState fresh_state(BatchPlan plan) {
  BatchState state;
  state.board = TaskBoard(plan.task_count);
  state.plan = std::move(plan);
  return state;
}

BatchRun::BatchRun(const DriverContext& context, BatchState state, std::uint32_t number, Submitter* submitter,
                   Bell& bell)
    : BatchFields(context, std::move(state), number, submitter, bell) {
  last_change_ = began_ = Clock::now();
  next_fence_check_ = began_ + context_.settings.fence_interval;
  triage_.next_look = began_ + context_.settings.retry.triage.interval;
}

void BatchRun::begin() {
  seed();
  cancel_adopted();
  has_news_ = true;
}

void BatchRun::advance() {
  has_news_ = false;
  take_call_reports();
  if (is_ending()) pump_termination();
  note_withdrawn();
  release_delayed();
  look_for_additions();
  if (auto flushed = context_.log.flush(); !flushed) note_fault(log_fault_, flushed.error());
  pump_submissions();
  look_for_silent_tasks();
  check_fence();
  context_.observer.progress(progress());
  due_ = next_due();
}

BatchResult BatchRun::finish() {
  result_.wall_seconds = std::chrono::duration<double>(Clock::now() - began_).count();
  note_withdrawn();
  if (!is_fenced_) record_end();
  result_.progress = progress();
  result_.by_class = board_.by_class();
  result_.unknown = board_.count(TaskStage::unknown);
  result_.stop_requests = stop_requests_;
  if (result_.progress.ended() == board_.size() && !is_fenced_) remove_all_additions(context_.batch);
  context_.observer.progress(result_.progress);
  return std::move(result_);
}

bool BatchRun::is_over() const {
  if (is_lost_ || is_fenced_) return true;
  if (in_flight_ > 0 || calls_.is_busy()) return false;
  if (stop_requests_ > 0 && is_stopped()) return true;
  if (under_way() > 0) return false;
  return stop_requests_ > 0 || result_.trouble ||
         (ready_.empty() && pending_.empty() && delayed_.empty() && not_begun_.empty() &&
          board_.count(TaskStage::held) == 0);
}

BatchRun::Clock::time_point BatchRun::next_due() const {
  const auto now = Clock::now();
  auto until = now + context_.observer.interval();
  const auto no_later_than = [&](Clock::time_point time) { until = std::min(until, time); };
  for (const auto& [number, pending] : pending_) {
    if (pending.again_at) no_later_than(*pending.again_at);
  }
  if (!delayed_.empty()) no_later_than(delayed_.begin()->first);
  if (!not_begun_.empty()) {
    const std::int64_t left = not_begun_.begin()->first - unix_nanoseconds();
    no_later_than(now + std::chrono::nanoseconds(std::max<std::int64_t>(left, 0)));
  }
  if (log_fault_.is_on) no_later_than(log_fault_.again_at);
  if (const auto left = wait_until_begin(); left.count() > 0) no_later_than(now + left);
  if (is_ending()) no_later_than(now + kStopInterval);
  no_later_than(next_fence_check_);
  if (under_way() > 0) no_later_than(next_addition_look_);
  if (under_way() > 0 && !calls_.is_busy()) no_later_than(triage_.next_look);
  return until;
}

BatchProgress BatchRun::progress() const {
  BatchProgress progress;
  progress.total = board_.size();
  progress.done = board_.count(TaskStage::done);
  progress.failed = board_.count(TaskStage::failed);
  progress.abandoned = board_.count(TaskStage::abandoned);
  progress.running = board_.count(TaskStage::running);
  progress.queued = board_.count(TaskStage::queued);
  progress.waiting = board_.count(TaskStage::waiting) + board_.count(TaskStage::ready) +
                     board_.count(TaskStage::delayed) + board_.count(TaskStage::held);
  progress.is_stopping = stop_requests_ > 0;
  return progress;
}

void BatchRun::give_up(const Error& error) {
  has_news_ = true;
  if (result_.trouble) return;
  result_.trouble = error;
  context_.observer.notice(error.message);
}

void BatchRun::note_fault(PassingFault& fault, const Error& error) {
  if (error.code != ErrorCode::retry_later) return give_up(error);
  const auto now = Clock::now();
  if (!fault.is_on || fault.text != error.message) {
    context_.observer.notice(error.message + "; trying again until it passes");
    fault.text = error.message;
  }
  if (!fault.is_on || board_.count(TaskStage::running) > 0) fault.since = now;
  fault.is_on = true;
  fault.again_at = now + kFaultInterval;
  if (now - fault.since > context_.settings.trouble_patience) {
    give_up(error);
    is_lost_ = true;
  }
}

void BatchRun::note_event_fault(const Error& error) {
  note_fault(event_fault_, error);
  has_news_ = true;
}

void BatchRun::end_event_fault() {
  event_fault_.is_on = false;
}

void BatchRun::lose_events(const Error& error, bool is_lost) {
  give_up(error);
  is_lost_ = is_lost_ || is_lost;
}

bool BatchRun::check_ledger() {
  const auto kept = context_.log.check();
  if (kept) return true;
  give_up(kept.error());
  is_lost_ = true;
  return false;
}

void BatchRun::check_fence() {
  const auto now = Clock::now();
  if (now < next_fence_check_) return;
  next_fence_check_ = now + context_.settings.fence_interval;
  if (!check_ledger()) return;  // what is at its path now is another batch
  const auto driver = context_.batch.current_driver();
  // A directory that cannot be listed now is no proof of anything.
  if (!driver || !*driver || (*driver)->epoch <= context_.driver.epoch) return;
  is_fenced_ = true;
  give_up({ErrorCode::gave_up, fmt::format("{}: process {} on host {} has taken the batch over; this one leaves it",
                                           context_.batch.path(), (*driver)->pid, (*driver)->host)});
}

void BatchRun::record_end() {
  EndedRecord ended;
  ended.reason = result_.trouble                      ? "stopped: " + result_.trouble->message
                 : stop_requests_ > 0                 ? kStopped
                 : progress().ended() < board_.size() ? "what was asked for has ended"
                                                      : kAllEnded;
  ended.at_ns = unix_nanoseconds();
  context_.log.note(ended);
  ALLOT_FAULT_POINT("driver_end");
  if (auto synced = context_.log.sync(); !synced) give_up(synced.error());
}

}  // namespace allot
