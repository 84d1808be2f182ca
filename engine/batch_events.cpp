// SPDX-License-Identifier: MIT
// What a driver makes of events: ends, repetitions of lost runs, and what becomes of those that wait.
#include <algorithm>

#include "engine/batch_run.h"
#include "process/fault_point.h"

namespace allot {
namespace {

constexpr std::chrono::milliseconds kRoomPause{500};

// Ends that say nothing about the task itself.
bool is_loss(ExitClass exit_class) {
  return exit_class == ExitClass::lost || exit_class == ExitClass::node_failed || exit_class == ExitClass::preempted;
}

bool is_final(TaskStage stage) {
  return stage == TaskStage::done || stage == TaskStage::failed || stage == TaskStage::abandoned;
}

}  // namespace

void BatchRun::take_event(const Event& event) {
  has_news_ = true;
  last_change_ = Clock::now();
  if (event.step >= board_.size()) return;
  // Of a batch that was removed from this path, and that the distributor still knows: its numbers are the same.
  const auto known = submissions_.find(event.submission);
  if (known != submissions_.end() && !event.distributor_id.starts_with(known->second.base)) return;
  // An older submission's news changes nothing: a newer run has been decided on, and the ledger keeps it as evidence.
  if (board_[event.step].submission != event.submission) return;
  if (event.phase == TaskPhase::finished) return take_end(event);
  const TaskStage stage = board_[event.step].stage;
  if (event.phase == TaskPhase::running && (stage == TaskStage::queued || stage == TaskStage::unknown)) {
    board_.set_stage(event.step, TaskStage::running);
    running_.insert(static_cast<std::uint32_t>(event.step));
  }
}

void BatchRun::take_end(const Event& event, bool is_verdict) {
  ALLOT_FAULT_POINT("driver_end_event");
  const TaskCell before = board_[event.step];
  const ExitInfo info = event.exit_info.value_or(ExitInfo{});
  if (is_loss(info.exit_class) && !check_ledger()) return;
  if (is_final(before.stage)) {
    // A late result replaces a loss that was not followed by another run. Those that waited have been decided on.
    if (before.stage == TaskStage::failed && is_loss(before.exit_class) && !is_loss(info.exit_class)) {
      board_.set_end(event.step, info.exit_class);
    }
    return;
  }
  // A repeated end of a run that has been decided on: another one is due or under way.
  const bool is_due = before.stage == TaskStage::ready || before.stage == TaskStage::waiting ||
                      before.stage == TaskStage::delayed || before.stage == TaskStage::held;
  if (is_due) return;
  running_.erase(static_cast<std::uint32_t>(event.step));
  const std::uint32_t exclude_after = context_.settings.retry.exclude_node_after;
  if (nodes_.note(event.node, info.exit_class, exclude_after)) {
    context_.observer.notice("node " + event.node + " is excluded from now on: " + std::to_string(exclude_after) +
                             " tasks in a row have failed there by its fault, the last one (step " +
                             std::to_string(event.step) + "): " + describe(info));
  }
  const bool has_started = before.stage == TaskStage::running || event.wall_seconds.has_value();
  if (event.wall_seconds) result_.highlights.add_wall_seconds(event.step, *event.wall_seconds);
  if (event.max_rss_bytes) result_.highlights.add_max_rss(event.step, *event.max_rss_bytes);
  if (event.output_incomplete) ++result_.incomplete_outputs;
  if (is_verdict || is_loss(info.exit_class)) {
    if (!ALLOT_SABOTAGED("engine_no_verdict")) {
      VerdictRecord verdict;
      verdict.key = {static_cast<std::uint32_t>(event.step), event.submission, 0};
      verdict.started = has_started;
      verdict.exit_info = info;
      verdict.at_ns = unix_nanoseconds();
      context_.log.note(verdict);
    }
  }
  if (retry(event.step, info, has_started)) return;
  if (info.exit_class == ExitClass::killed && !has_started) {
    withdrawn_[event.submission].push_back(static_cast<std::uint32_t>(event.step));
  }
  settle(event.step, info);
}

void BatchRun::settle(std::uint64_t step, const ExitInfo& info) {
  if (info.is_done() && wait_for_added(step)) return;
  board_.set_end(step, info.exit_class);
  // What was refused for want of room may find some.
  for (auto& [number, pending] : pending_) {
    if (pending.again_at) pending.again_at = std::min(*pending.again_at, Clock::now() + kRoomPause);
  }
  end_cancelling(step);
  if (!info.is_done()) {
    // What the user ended is no news to him.
    if (info.exit_class != ExitClass::killed) result_.highlights.add_failure(step, info);
    context_.observer.failed(step, info, false);
  }
  // After a cancellation nothing more is decided: the tasks that wait may run when the batch is resumed.
  if (stop_requests_ == 0) release_dependents(step);
}

void BatchRun::release_dependents(std::uint64_t step) {
  if (unmet_.empty()) return;
  std::vector<std::uint32_t> ended = {static_cast<std::uint32_t>(step)};
  while (!ended.empty()) {
    const std::uint32_t cause = ended.back();
    ended.pop_back();
    const bool is_done = board_[cause].stage == TaskStage::done;
    plan_.graph.for_each_dependent(cause, [&](const DependencyEdge& edge) {
      const TaskCell& dependent = board_[edge.dependent];
      if (dependent.stage != TaskStage::waiting || dependent.is_left_out) return;
      if (judge_dependency(edge.kind, is_done) == DependencyVerdict::satisfied) {
        if (--unmet_[edge.dependent] == 0) let_start(edge.dependent);
        return;
      }
      abandon(edge.dependent, cause);
      ended.push_back(edge.dependent);
    });
  }
}

void BatchRun::abandon(std::uint32_t step, std::uint32_t cause) {
  if (!board_[step].was_abandoned) {
    AbandonedRecord record;
    record.step = step;
    record.cause_step = cause;
    record.reason = board_[cause].stage == TaskStage::done
                        ? "it was to run only if step " + std::to_string(cause) + " does not end well"
                        : "step " + std::to_string(cause) + ", which it waits for, is not done";
    record.at_ns = unix_nanoseconds();
    context_.log.note(record);
  }
  board_.set_stage(step, TaskStage::abandoned);
}

void BatchRun::note_withdrawn() {
  for (auto& [number, steps] : withdrawn_) {
    std::sort(steps.begin(), steps.end());
    WithdrawnRecord record;
    record.submission = number;
    for (const std::uint32_t step : steps) record.steps.append(step);
    record.reason = "cancelled by the user before it started";
    record.at_ns = unix_nanoseconds();
    context_.log.note(record);
  }
  withdrawn_.clear();
}

}  // namespace allot
