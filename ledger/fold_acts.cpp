// SPDX-License-Identifier: MIT
// What drivers did, applied in the order in which they did it.
#include <algorithm>

#include "ledger/fold_builder.h"

namespace allot {

namespace {

// Its run has ended well, and another one was to follow: what keeps that one from being is the task's end.
bool is_to_run_again(const FoldedTask& task) {
  return task.is_again_due && task.end_kind == EndKind::finished && task.exit_class == ExitClass::done;
}

}  // namespace

void FoldBuilder::apply(const DriverAct& act) {
  switch (act.kind) {
    case DriverAct::Kind::intent:
      return apply_intent(act);
    case DriverAct::Kind::verdict:
      return apply_verdict(act);
    case DriverAct::Kind::withdrawn:
      return apply_withdrawn(act);
    case DriverAct::Kind::abandoned:
      return apply_abandoned(act);
    case DriverAct::Kind::retry:
      return apply_retry(act);
    case DriverAct::Kind::held:
    case DriverAct::Kind::cancelled:
      return apply_mark(act);
    case DriverAct::Kind::throttle:
      fold_.max_running_ = act.key.submission;
      return;
    case DriverAct::Kind::added:
      return apply_added(act);
  }
}

void FoldBuilder::apply_intent(const DriverAct& act) {
  const FoldedSubmission& submission = submissions_.at(act.key.submission).first;
  if (!submission.error.empty()) return;  // refused: it never took effect
  const std::uint64_t size = fold_.tasks_.size();
  for (const StepRange& range : submission.intent.steps.ranges()) {
    if (range.first >= size || range.count > size - range.first) {
      damage(name_of(act.place) + ": the intent of submission " + std::to_string(act.key.submission) +
             " names steps up to " + std::to_string(range.first + range.count - 1) + "; the batch has " +
             std::to_string(size));
    }
    const std::uint64_t end = std::min(size, range.first + range.count);
    for (std::uint64_t step = range.first; step < end; ++step) {
      FoldedTask& task = fold_.tasks_[step];
      task.is_cancelled = false;  // it was submitted since
      if (act.key.submission <= task.submission) continue;
      set_current(task, static_cast<std::uint32_t>(step), {0, act.key.submission, 0});
    }
  }
}

void FoldBuilder::apply_verdict(const DriverAct& act) {
  const RunKey& key = act.key;
  FoldedTask* task = task_of(key.step, act.place);
  if (task == nullptr) return;
  const RefKind kind = act.started ? RefKind::verdict : RefKind::never_started;
  if (is_newer(key, *task)) set_current(*task, key.step, key);
  if (!same_run(*task, key) || task->end_kind == EndKind::finished) return keep(kind, key, act.place);
  if (!act.started && task->started_offset != 0) {
    damage(name_of(act.place) + ": the verdict that " + text_of(key) +
           " never started is contradicted by its started record at " + name_of({task->file, task->started_offset}));
    return keep(kind, key, act.place);
  }
  set_end(*task, key.step, act.started ? EndKind::verdict : EndKind::never_started, act.place);
  task->exit_class = act.exit_class;
  task->number = act.number;
}

void FoldBuilder::apply_withdrawn(const DriverAct& act) {
  const std::uint64_t size = fold_.tasks_.size();
  for (const StepRange& range : step_lists_[act.list].ranges()) {
    const std::uint64_t end = std::min(size, range.first + range.count);
    if (end != range.first + range.count) {
      damage(name_of(act.place) + ": steps are withdrawn up to " + std::to_string(range.first + range.count - 1) +
             "; the batch has " + std::to_string(size));
    }
    for (std::uint64_t at = range.first; at < end; ++at) {
      const auto step = static_cast<std::uint32_t>(at);
      FoldedTask& task = fold_.tasks_[at];
      const RunKey key{step, act.key.submission,
                       task.submission == act.key.submission ? task.restart : std::uint16_t{0}};
      if (is_newer(key, task)) set_current(task, step, key);
      const bool ran =
          (task.started_offset != 0 || task.end_kind == EndKind::finished || task.end_kind == EndKind::verdict) &&
          !is_to_run_again(task);
      if (!same_run(task, key) || ran) {
        // The run before has ended, and the next one will not be.
        if (same_run(task, key)) task.is_retry_due = false;
        keep(RefKind::withdrawn, key, act.place);
        continue;
      }
      set_end(task, step, EndKind::withdrawn, act.place);
      task.exit_class = ExitClass::killed;
      task.number = 0;
    }
  }
}

void FoldBuilder::apply_abandoned(const DriverAct& act) {
  FoldedTask* task = task_of(act.key.step, act.place);
  if (task == nullptr) return;
  const RunKey key{act.key.step, task->submission, task->restart};
  const bool has_run = task->started_offset != 0 || task->end_kind != EndKind::none;
  if (has_run && !is_to_run_again(*task)) return keep(RefKind::abandoned, key, act.place);
  set_end(*task, key.step, EndKind::abandoned, act.place);
}

void FoldBuilder::apply_retry(const DriverAct& act) {
  FoldedTask* task = task_of(act.key.step, act.place);
  if (task == nullptr) return;
  if (is_newer(act.key, *task)) set_current(*task, act.key.step, act.key);
  if (same_run(*task, act.key)) task->is_retry_due = true;
  keep(RefKind::retry, act.key, act.place);
}

void FoldBuilder::apply_added(const DriverAct& act) {
  FoldedTask* task = task_of(act.key.step, act.place);
  if (task == nullptr) return;
  if (is_newer(act.key, *task)) set_current(*task, act.key.step, act.key);
  if (same_run(*task, act.key) && fold_.additions_[act.list].again) task->is_again_due = true;
}

void FoldBuilder::apply_mark(const DriverAct& act) {
  for (const StepRange& range : step_lists_[act.list].ranges()) {
    const std::uint64_t end = std::min<std::uint64_t>(fold_.tasks_.size(), range.first + range.count);
    for (std::uint64_t step = range.first; step < end; ++step) {
      if (act.kind == DriverAct::Kind::held) {
        fold_.tasks_[step].is_held = act.started;
      } else {
        fold_.tasks_[step].is_cancelled = act.started;
      }
    }
  }
}

}  // namespace allot
