// SPDX-License-Identifier: MIT
// What users ask of a batch while it is driven: cancel, hold, release, throttle, run again, explain.
#include <algorithm>

#include <fmt/format.h>

#include "engine/batch_run.h"
#include "ledger/time_text.h"

namespace allot {
namespace {

constexpr int kHoldCall = 3;
constexpr int kReleaseCall = 4;

// Calls `visit` for each step of the selection, in ascending order.
template <class Visit>
void for_each_step(const TaskSelection& selection, std::uint64_t size, Visit&& visit) {
  if (selection.steps) {
    selection.steps->for_each([&](std::uint64_t step) {
      if (step < size) visit(step);
    });
    return;
  }
  for (std::uint64_t step = 0; step < size; ++step) visit(step);
}

bool is_wanted(const TaskSelection& selection, TaskStage stage) {
  if (stage == TaskStage::running) return selection.running;
  return stage == TaskStage::queued ? selection.queued : selection.waiting;
}

bool is_before_begin(const BatchPlan& plan, std::uint64_t step) {
  return plan.begin_of(step) > unix_nanoseconds();
}

std::string begin_text(const BatchPlan& plan, std::uint64_t step) {
  return "it is not to start before " + ledger::utc_text(plan.begin_of(step));
}

}  // namespace

bool TaskSelection::want_stage(std::string_view name) {
  bool* const stage = name == "waiting"   ? &waiting
                      : name == "queued"  ? &queued
                      : name == "running" ? &running
                                          : nullptr;
  if (stage != nullptr) *stage = true;
  return stage != nullptr;
}

CancelCount BatchRun::cancel(const TaskSelection& selection, std::chrono::milliseconds grace) {
  CancelCount count;
  CancelledRecord record;
  record.at_ns = unix_nanoseconds();
  std::vector<std::uint32_t> withdrawn;
  for_each_step(selection, board_.size(), [&](std::uint64_t step) {
    const TaskStage stage = board_[step].stage;
    if (has_ended(stage) || stage == TaskStage::unknown) {
      ++count.ended;
      return;
    }
    if (!is_wanted(selection, stage)) return;
    record.steps.append(step);
    TaskCell& cell = board_.edit(step);
    if (!is_under_way(stage)) {
      withdrawn.push_back(static_cast<std::uint32_t>(step));
      return;
    }
    ++count.asked;
    cell.is_tried = false;
    if (cell.is_cancelled) return;
    cell.is_cancelled = true;
    ++cancelling_;
  });
  count.withdrawn = withdrawn.size();
  if (!record.steps.empty()) context_.log.note(record);
  // First all of them, so that none is abandoned because of another one that was cancelled with it.
  for (const std::uint32_t step : withdrawn) withdraw(step);
  for (const std::uint32_t step : withdrawn) release_dependents(step);
  drop_unready();
  cancel_grace_ = grace;
  stop_cursor_ = 0;
  if (count.asked > 0 && stop_requests_ == 0) stop_since_ = Clock::now();
  has_news_ = true;
  return count;
}

// Of a task that is not submitted: if it has run before and failed, the end of that run stands.
void BatchRun::withdraw(std::uint64_t step) {
  const TaskCell& cell = board_[step];
  const bool has_failed = cell.has_end && cell.exit_class != ExitClass::done;
  const ExitClass exit_class = has_failed ? cell.exit_class : ExitClass::killed;
  withdrawn_[cell.submission].push_back(static_cast<std::uint32_t>(step));
  board_.set_end(step, exit_class);
  end_cancelling(step);
}

void BatchRun::end_cancelling(std::uint64_t step) {
  TaskCell& cell = board_.edit(step);
  if (!cell.is_cancelled) return;
  cell.is_cancelled = false;
  --cancelling_;
}

// Steps that were ready and are not any more are taken out of what is to be submitted.
void BatchRun::drop_unready() {
  ready_.keep_if([this](std::uint64_t step) { return board_[step].stage == TaskStage::ready; });
  std::erase_if(delayed_, [this](const auto& item) { return board_[item.second].stage != TaskStage::delayed; });
  for (auto& [begin, steps] : not_begun_) {
    std::erase_if(steps, [this](std::uint32_t step) { return board_[step].stage != TaskStage::delayed; });
  }
  std::erase_if(not_begun_, [](const auto& item) { return item.second.empty(); });
}

std::uint64_t BatchRun::hold(const TaskSelection& selection) {
  HeldRecord record;
  std::vector<std::string> queued;
  std::uint64_t count = 0;
  for_each_step(selection, board_.size(), [&](std::uint64_t step) {
    const TaskStage stage = board_[step].stage;
    if (has_ended(stage) || stage == TaskStage::unknown) return;
    if (!is_wanted(selection, stage)) return;
    TaskCell& cell = board_.edit(step);
    record.steps.append(step);
    // What runs goes on; held is its next run, and what it adds.
    if (stage != TaskStage::running) ++count;
    if (cell.is_held) return;
    cell.is_held = true;
    if (stage == TaskStage::ready || stage == TaskStage::delayed) board_.set_stage(step, TaskStage::held);
    if (stage != TaskStage::queued) return;
    if (auto id = id_of(step)) queued.push_back(std::move(*id));
  });
  if (record.steps.empty()) return 0;
  drop_unready();
  if (!queued.empty()) calls_.hold(kHoldCall, std::move(queued));
  record.at_ns = unix_nanoseconds();
  context_.log.note(record);
  has_news_ = true;
  return count;
}

std::uint64_t BatchRun::release(const TaskSelection& selection) {
  HeldRecord record;
  record.held = false;
  std::vector<std::string> queued;
  std::vector<std::uint32_t> free;
  for_each_step(selection, board_.size(), [&](std::uint64_t step) {
    const TaskStage stage = board_[step].stage;
    TaskCell& cell = board_.edit(step);
    if (!cell.is_held) return;
    cell.is_held = false;
    record.steps.append(step);
    if (stage == TaskStage::held) free.push_back(static_cast<std::uint32_t>(step));
    if (stage != TaskStage::queued) return;
    if (auto id = id_of(step)) queued.push_back(std::move(*id));
  });
  if (record.steps.empty()) return 0;
  for (const std::uint32_t step : free) let_start(step);
  if (!queued.empty()) calls_.release(kReleaseCall, std::move(queued));
  record.at_ns = unix_nanoseconds();
  context_.log.note(record);
  has_news_ = true;
  return record.steps.size();
}

// Of what an earlier driver was to end, and did not live to.
void BatchRun::cancel_adopted() {
  TaskSelection selection;
  selection.steps.emplace();
  for (std::uint64_t step = 0; step < board_.size(); ++step) {
    const TaskCell& cell = board_[step];
    if (!cell.is_cancelled) continue;
    board_.edit(step).is_cancelled = false;
    if (!has_ended(cell.stage)) selection.steps->append(step);
  }
  if (!selection.steps->empty()) cancel(selection, context_.settings.grace);
}

// Of what an earlier driver submitted and its user held.
void BatchRun::hold_adopted() {
  std::vector<std::string> queued;
  for (std::uint64_t step = 0; step < board_.size(); ++step) {
    if (board_[step].stage != TaskStage::queued || !board_[step].is_held) continue;
    if (auto id = id_of(step)) queued.push_back(std::move(*id));
  }
  if (!queued.empty()) calls_.hold(kHoldCall, std::move(queued));
}

void BatchRun::set_max_running(std::optional<std::uint32_t> max_running) {
  context_.settings.retry.max_running = max_running;
  context_.log.note(ThrottleRecord{max_running.value_or(0), unix_nanoseconds()});
  has_news_ = true;
}

std::uint64_t BatchRun::run_again(const TaskSelection& selection, std::optional<ExitClass> only) {
  std::vector<std::uint32_t> again;
  for_each_step(selection, board_.size(), [&](std::uint64_t step) {
    const TaskCell& cell = board_[step];
    if (cell.stage != TaskStage::failed || (only && cell.exit_class != *only)) return;
    again.push_back(static_cast<std::uint32_t>(step));
  });
  for (const std::uint32_t step : again) {
    TaskCell& cell = board_.edit(step);
    const ExitClass exit_class = cell.exit_class;
    context_.log.note(requested_retry(step, cell.submission, exit_class, plan_.groups[cell.group].resources));
    retries_.erase(step);
    board_.set_stage(step, TaskStage::waiting);
    cell.has_end = true;
    cell.exit_class = exit_class;
  }
  if (again.empty()) return 0;
  reopen_dependents(again);
  for (const std::uint32_t step : again) {
    if (unmet_.empty() || unmet_[step] == 0) let_start(step);
  }
  has_news_ = true;
  return again.size();
}

// What was abandoned because of these waits again, and for whom is counted anew.
void BatchRun::reopen_dependents(std::vector<std::uint32_t> causes) {
  if (unmet_.empty()) return;
  while (!causes.empty()) {
    const std::uint32_t cause = causes.back();
    causes.pop_back();
    plan_.graph.for_each_dependent(cause, [&](const DependencyEdge& edge) {
      if (board_[edge.dependent].stage != TaskStage::abandoned) return;
      board_.edit(edge.dependent).was_abandoned = true;
      board_.set_stage(edge.dependent, TaskStage::waiting);
      causes.push_back(edge.dependent);
    });
  }
  std::fill(unmet_.begin(), unmet_.end(), 0);
  plan_.graph.for_each_edge([this](const DependencyEdge& edge) {
    const bool is_open = !has_ended(board_[edge.cause].stage);
    if (is_open && board_[edge.dependent].stage == TaskStage::waiting) ++unmet_[edge.dependent];
  });
}

RetryRecord requested_retry(std::uint32_t step, std::uint32_t submission, ExitClass because,
                            const RequestedResources& resources) {
  RetryRecord decision;
  decision.key = {step, submission, 0};
  decision.because = because;
  decision.retry = kRetryOnRequest;
  decision.resources = resources;
  decision.reason = "the user asked for it";
  decision.at_ns = unix_nanoseconds();
  return decision;
}

void BatchRun::for_each_unended(const TaskSelection& selection, std::size_t most,
                                const std::function<void(std::uint64_t)>& visit) const {
  for_each_step(selection, board_.size(), [&](std::uint64_t step) {
    const TaskStage stage = board_[step].stage;
    if (most == 0 || has_ended(stage) || !is_wanted(selection, stage)) return;
    --most;
    visit(step);
  });
}

std::string BatchRun::explain(std::uint64_t step) const {
  const TaskCell& cell = board_[step];
  const auto patience = context_.settings.retry.triage.patience;
  switch (cell.stage) {
    case TaskStage::waiting:
      return explain_waiting(step);
    case TaskStage::ready:
      return explain_ready(step);
    case TaskStage::delayed: {
      if (is_before_begin(plan_, step)) return begin_text(plan_, step);
      const auto due = retries_.find(static_cast<std::uint32_t>(step));
      return "it runs again after " + ledger::utc_text(due == retries_.end() ? 0 : due->second.not_before_ns);
    }
    case TaskStage::held:
      return "it is held; allot release lets it go on" +
             (is_before_begin(plan_, step) ? ", and " + begin_text(plan_, step) : "");
    case TaskStage::queued: {
      if (pending_.count(cell.submission) != 0) return "its submission has not been answered yet";
      const auto id = id_of(step);
      if (!id) break;
      if (std::string silence = triage_.explain(step, patience); !silence.empty()) return silence;
      const auto reasons = context_.distributor.explain_pending({*id});
      if (!reasons) return reasons.error().message;
      const auto found = reasons->find(*id);
      return found == reasons->end() ? "it is about to run" : found->second;
    }
    case TaskStage::running:
      if (std::string silence = triage_.explain(step, patience); !silence.empty()) return silence;
      return cell.is_cancelled ? "it is being ended" : "it runs";
    case TaskStage::done:
    case TaskStage::failed:
      return "it has ended: " + std::string(to_string(cell.exit_class));
    case TaskStage::abandoned:
      return "it never runs: a task that it waits for did not end as it needs";
    case TaskStage::unknown:
      break;
  }
  return "what became of it is not known";
}

std::string BatchRun::explain_waiting(std::uint64_t step) const {
  if (board_[step].is_left_out) return "this driver was asked to run other tasks only";
  std::string causes;
  std::size_t count = 0;
  plan_.graph.for_each_edge([&](const DependencyEdge& edge) {
    if (edge.dependent != step || has_ended(board_[edge.cause].stage)) return;
    if (++count > 5) return;
    causes += fmt::format("{}{}", causes.empty() ? "" : ", ", edge.cause);
  });
  if (count == 0) return "the driver has not come to it yet";
  const std::string more = count > 5 ? fmt::format(" and {} more", count - 5) : "";
  const std::string held = board_[step].is_held ? "; it is held, too" : "";
  const std::string begin = is_before_begin(plan_, step) ? "; and " + begin_text(plan_, step) : "";
  return fmt::format("it waits for the end of step{} {}{}{}{}", count == 1 ? "" : "s", causes, more, held, begin);
}

std::string BatchRun::explain_ready(std::uint64_t step) const {
  if (stop_requests_ > 0) return "the batch is being cancelled";
  if (result_.trouble) return "nothing more is submitted: " + result_.trouble->message;
  if (wait_until_begin().count() > 0) {
    return "the batch is to begin at " + ledger::utc_text(context_.batch.info().begin_ns);
  }
  if (log_fault_.is_on) return "records cannot be written: " + log_fault_.text;
  if (!pending_.empty()) {
    const PendingAnswer& pending = pending_.begin()->second;
    return pending.again_at ? fmt::format("submission {} was put off; it is tried again ({} times so far)",
                                          pending.submission.number, pending.tries)
                            : "a submission before it has not been answered yet";
  }
  if (const auto& most = context_.settings.retry.max_running; most && under_way() >= *most) {
    return fmt::format("max_running is {}, and so many tasks of the batch are queued or running", *most);
  }
  if (room_ && *room_ == 0) return "max_running of the cluster is reached by the batches that this driver has";
  const std::uint64_t most_queued = context_.distributor.limits().max_queued;
  if (most_queued > 0 && board_.count(TaskStage::queued) >= most_queued) {
    return fmt::format("the cluster takes {} queued tasks at once, and has them", most_queued);
  }
  if (room_for_name(board_[step].group) == 0) {
    const std::string& name = plan_.groups[board_[step].group].limited_name;
    return fmt::format("max_parallel of \"{}\" is {}, and so many of these are queued or running", name,
                       plan_.max_parallel.at(name));
  }
  return "it is about to be submitted";
}

}  // namespace allot
