// SPDX-License-Identifier: MIT
#include "engine/batch_run.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include <fmt/format.h>

#include "process/fault_point.h"

namespace allot {
namespace {

constexpr std::chrono::seconds kFaultInterval{1};
// While a cancellation goes on.
constexpr std::chrono::milliseconds kStopInterval{100};
// Without a descriptor to poll.
constexpr std::chrono::milliseconds kBlindWait{50};

}  // namespace

BatchState fresh_state(BatchPlan plan) {
  BatchState state;
  state.board = TaskBoard(plan.task_count);
  state.plan = std::move(plan);
  return state;
}

BatchRun::BatchRun(const DriverContext& context, BatchState state)
    : context_(context),
      plan_(std::move(state.plan)),
      board_(std::move(state.board)),
      next_submission_(state.next_submission),
      submissions_(std::move(state.submissions)) {
  result_.incomplete_outputs = state.incomplete_outputs;
  result_.highlights = std::move(state.highlights);
  retries_ = std::move(state.retries);
  undecided_ = std::move(state.undecided);
}

BatchRun::~BatchRun() = default;

BatchResult BatchRun::run() {
  const auto began = Clock::now();
  last_change_ = began;
  next_fence_check_ = began + context_.settings.fence_interval;
  if (const auto descriptor = context_.distributor.event_descriptor()) event_descriptor_ = *descriptor;
  if (bell_.descriptor() < 0) {
    give_up({ErrorCode::retry_later, "no file descriptors are left for the driver"});
  } else {
    try {
      terminator_ = std::make_unique<Terminator>(context_.distributor, bell_);
      submitter_ = std::make_unique<Submitter>(context_.distributor, bell_);
      loop();
    } catch (const std::system_error& error) {
      give_up({ErrorCode::retry_later, std::string("the driver's thread cannot be started: ") + error.what()});
    }
  }
  result_.wall_seconds = std::chrono::duration<double>(Clock::now() - began).count();

  // Ends a submit that still blocks, so that the threads can be joined.
  if (auto stopped = context_.distributor.stop(); !stopped) give_up(stopped.error().with_context("ending the workers"));
  submitter_.reset();
  terminator_.reset();
  while (take_events()) {
  }
  note_withdrawn();
  if (!is_fenced_) record_end();
  result_.progress = progress();
  result_.by_class = board_.by_class();
  result_.unknown = board_.count(TaskStage::unknown);
  result_.stop_requests = stop_requests_;
  context_.observer.progress(result_.progress);
  return std::move(result_);
}

void BatchRun::loop() {
  seed();
  for (;;) {
    take_answers();
    take_stop_requests();
    if (stop_requests_ > 0) pump_termination();
    const bool has_more = take_events();
    note_withdrawn();
    release_delayed();
    if (auto flushed = context_.log.flush(); !flushed) note_fault(log_fault_, flushed.error());
    pump_submissions();
    check_fence();
    context_.observer.progress(progress());
    if (is_lost_ || is_fenced_ || is_over()) return;
    if (!has_more) wait();
  }
}

bool BatchRun::is_over() const {
  if (submitter_->in_flight() > 0 || terminator_->is_busy()) return false;
  if (stop_requests_ > 0 && is_stopped()) return true;
  if (board_.count(TaskStage::queued) + board_.count(TaskStage::running) > 0) return false;
  return stop_requests_ > 0 || result_.trouble ||
         (ready_.empty() && fresh_.empty() && pending_.empty() && delayed_.empty());
}

void BatchRun::wait() {
  const auto now = Clock::now();
  auto until = now + context_.observer.interval();
  const auto no_later_than = [&](Clock::time_point time) { until = std::min(until, time); };
  for (const auto& [number, pending] : pending_) {
    if (pending.again_at) no_later_than(*pending.again_at);
  }
  if (!delayed_.empty()) no_later_than(delayed_.begin()->first);
  if (log_fault_.is_on) no_later_than(log_fault_.again_at);
  if (event_fault_.is_on) no_later_than(event_fault_.again_at);
  if (stop_requests_ > 0) no_later_than(now + kStopInterval);
  no_later_than(next_fence_check_);
  const bool may_ask = !event_fault_.is_on || event_fault_.again_at <= now;
  if (event_descriptor_ < 0 && may_ask) no_later_than(now + kBlindWait);

  pollfd waiting[3] = {{bell_.descriptor(), POLLIN, 0},
                       {context_.stop.descriptor(), POLLIN, 0},
                       {may_ask ? event_descriptor_ : -1, POLLIN, 0}};
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - now).count();
  if (::poll(waiting, 3, static_cast<int>(std::max<std::int64_t>(0, left))) < 0) return;
  if (waiting[0].revents != 0) bell_.clear();
}

BatchProgress BatchRun::progress() const {
  BatchProgress progress;
  progress.total = board_.size();
  progress.done = board_.count(TaskStage::done);
  progress.failed = board_.count(TaskStage::failed);
  progress.abandoned = board_.count(TaskStage::abandoned);
  progress.running = board_.count(TaskStage::running);
  progress.queued = board_.count(TaskStage::queued);
  progress.waiting =
      board_.count(TaskStage::waiting) + board_.count(TaskStage::ready) + board_.count(TaskStage::delayed);
  progress.is_stopping = stop_requests_ > 0;
  return progress;
}

void BatchRun::give_up(const Error& error) {
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

void BatchRun::check_fence() {
  const auto now = Clock::now();
  if (now < next_fence_check_) return;
  next_fence_check_ = now + context_.settings.fence_interval;
  const auto driver = context_.batch.current_driver();
  // A directory that cannot be listed now is no proof of anything.
  if (!driver || !*driver || (*driver)->epoch <= context_.driver.epoch) return;
  is_fenced_ = true;
  give_up({ErrorCode::gave_up, fmt::format("{}: process {} on host {} has taken the batch over; this one leaves it",
                                           context_.batch.path(), (*driver)->pid, (*driver)->host)});
}

void BatchRun::record_end() {
  EndedRecord ended;
  ended.reason =
      result_.trouble ? "stopped: " + result_.trouble->message : (stop_requests_ > 0 ? "cancelled" : "all tasks ended");
  ended.at_ns = unix_nanoseconds();
  context_.log.note(ended);
  ALLOT_FAULT_POINT("driver_end");
  if (auto synced = context_.log.sync(); !synced) give_up(synced.error());
}

}  // namespace allot
