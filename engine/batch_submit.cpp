// SPDX-License-Identifier: MIT
// How a driver's work becomes submissions: grouped, split, recorded before they are made.
#include <algorithm>

#include "engine/array_split.h"
#include "engine/batch_run.h"
#include "engine/preflight.h"
#include "engine/queue_choice.h"
#include "process/fault_point.h"

namespace allot {
namespace {

constexpr int kMostTries = 10;
constexpr std::chrono::milliseconds kFirstPause{500};
constexpr std::chrono::milliseconds kLongestPause{30'000};

}  // namespace

void BatchRun::seed() {
  if (!plan_.graph.empty()) {
    unmet_.assign(board_.size(), 0);
    plan_.graph.for_each_edge([this](const DependencyEdge& edge) {
      if (board_[edge.dependent].stage == TaskStage::waiting) ++unmet_[edge.dependent];
    });
  }
  const std::int64_t now = unix_nanoseconds();
  for (std::size_t group = 0; group < plan_.groups.size(); ++group) {
    ReadyWork first;
    first.group = static_cast<std::uint32_t>(group);
    plan_.groups[group].steps.for_each([&](std::uint64_t step) {
      board_.set_group(step, first.group);
      if (step == 7 && ALLOT_SABOTAGED("forget_task")) board_.set_end(step, ExitClass::done);
      if (board_[step].stage == TaskStage::running) running_.insert(static_cast<std::uint32_t>(step));
      const TaskCell& cell = board_[step];
      if (cell.stage != TaskStage::waiting || cell.is_left_out || (!unmet_.empty() && unmet_[step] > 0)) return;
      // One by one only what is not like the others.
      const bool has_history = cell.attempt > 0 || retries_.count(static_cast<std::uint32_t>(step)) != 0;
      if (has_history || cell.is_held || plan_.begin_of(step) > now) return let_start(static_cast<std::uint32_t>(step));
      board_.set_stage(step, TaskStage::ready);
      first.steps.append(step);
    });
    plan_.groups[group].steps = {};
    ready_.push(plan_.groups[group].priority, std::move(first));
  }
  decide_undecided();
  hold_adopted();
  if (unmet_.empty()) return;
  for (std::uint64_t step = 0; step < board_.size(); ++step) {
    const TaskStage stage = board_[step].stage;
    if (stage == TaskStage::done || stage == TaskStage::failed) release_dependents(step);
  }
}

void BatchRun::make_ready(std::uint64_t step) {
  if (board_[step].is_held) return board_.set_stage(step, TaskStage::held);
  board_.set_stage(step, TaskStage::ready);
  const TaskCell& cell = board_[step];
  ready_.push(plan_.groups[cell.group].priority, cell.group, static_cast<std::uint16_t>(cell.attempt + 1),
              static_cast<std::uint32_t>(step));
}

void BatchRun::pump_submissions() {
  const auto now = Clock::now();
  for (auto& [number, pending] : pending_) {
    if (!pending.again_at || *pending.again_at > now || stop_requests_ > 0) continue;
    pending.again_at.reset();
    ++in_flight_;
    submitter_->submit(number_, pending.submission);
  }
  while (stop_requests_ == 0 && !result_.trouble && pending_.empty()) {
    if (log_fault_.is_on && log_fault_.again_at > now) return;
    auto work = next_work();
    if (!work) return;
    submit(std::move(*work));
  }
}

bool BatchRun::wants_room(Clock::time_point now) const {
  if (stop_requests_ > 0 || result_.trouble || !pending_.empty()) return false;
  const bool is_delay_over = !delayed_.empty() && delayed_.begin()->first <= now;
  const bool has_begun = !not_begun_.empty() && not_begun_.begin()->first <= unix_nanoseconds();
  return (is_delay_over || has_begun || !ready_.empty()) && wait_until_begin() <= std::chrono::nanoseconds(0);
}

std::optional<ReadyWork> BatchRun::next_work() {
  if (ready_.empty() || wait_until_begin() > std::chrono::nanoseconds(0)) return std::nullopt;
  const ArrayLimits limits{context_.distributor.limits(), context_.settings.retry.max_running,
                           plan_.is_array && !only_singles_};
  std::uint64_t most = next_array_length(limits, board_.count(TaskStage::queued), board_.count(TaskStage::running));
  if (room_) most = std::min(most, *room_);
  if (most == 0) return std::nullopt;
  return ready_.next([&](std::uint32_t group) { return std::min(most, room_for_name(group)); });
}

// How many more tasks of the group its max_parallel allows.
std::uint64_t BatchRun::room_for_name(std::uint32_t group) const {
  const std::string& name = plan_.groups[group].limited_name;
  const auto limit = plan_.max_parallel.find(name);
  if (limit == plan_.max_parallel.end()) return UINT64_MAX;
  std::uint64_t under_way = 0;
  for (std::size_t other = 0; other < plan_.groups.size(); ++other) {
    if (plan_.groups[other].limited_name == name) under_way += board_.under_way(static_cast<std::uint32_t>(other));
  }
  return limit->second - std::min<std::uint64_t>(limit->second, under_way);
}

std::chrono::nanoseconds BatchRun::wait_until_begin() const {
  const std::int64_t begin = context_.batch.info().begin_ns;
  return std::chrono::nanoseconds(begin == 0 ? 0 : std::max<std::int64_t>(0, begin - unix_nanoseconds()));
}

Submission BatchRun::compose(const ReadyWork& work) {
  const BatchInfo& info = context_.batch.info();
  Submission submission;
  submission.number = next_submission_;
  submission.token = info.batch_id + "-" + std::to_string(submission.number);
  submission.batch_directory = context_.batch.path();
  submission.steps = work.steps;
  submission.is_array = plan_.is_array && !only_singles_;
  submission.attempt = work.attempt;
  submission.resources = plan_.groups[work.group].resources;
  submission.name = info.name;
  submission.priority = plan_.groups[work.group].priority;
  submission.excluded_nodes = nodes_.excluded();
  submission.round = plan_.groups[work.group].round;
  return submission;
}

TaskTableReader* BatchFields::table() {
  if (!table_) {
    auto opened = TaskTableReader::open(context_.batch.task_data_path(), context_.batch.task_index_path());
    if (!opened) return nullptr;
    table_.emplace(std::move(*opened));
  }
  return &*table_;
}

// Tasks that could not start are refused, each with its own reason; the rest is submitted.
void BatchRun::submit(ReadyWork work) {
  TaskTableReader* tasks = context_.distributor.limits().checks_paths ? table() : nullptr;
  if (tasks != nullptr) {
    Preflight preflight(context_.batch.info().cwd);
    for (auto& [reason, steps] : preflight.take_faulty(*tasks, work.steps)) {
      submit({work.group, work.attempt, std::move(steps)}, reason);
    }
  }
  if (work.steps.empty()) return;
  auto refusal = unfit_reason(work.group);
  submit(std::move(work), std::move(refusal));
}

void BatchRun::submit(ReadyWork work, std::optional<std::string> refusal) {
  Submission submission = compose(work);
  auto base = new_id_base();
  if (!base) {
    ready_.push_front(plan_.groups[work.group].priority, std::move(work));
    return give_up(base.error());
  }
  submission.id_base = *base;
  const IntentRecord intent = intent_of(submission, unix_nanoseconds());
  if (auto committed = context_.log.commit(intent); !committed) {
    ready_.push_front(plan_.groups[work.group].priority, std::move(work));
    return note_fault(log_fault_, committed.error());
  }
  log_fault_.is_on = false;
  ++next_submission_;
  ALLOT_FAULT_POINT("driver_intent_done");
  if (room_) *room_ -= std::min(*room_, submission.steps.size());
  submission.steps.for_each([&](std::uint64_t step) {
    TaskCell& cell = board_.edit(step);
    cell.submission = submission.number;
    cell.attempt = work.attempt;
    cell.is_tried = false;
    cell.has_end = false;
    board_.set_stage(step, TaskStage::queued);
  });
  if (refusal) return refuse(submission, *refusal);
  submissions_[submission.number] = {submission.id_base, submission.is_array, submission.step_origin};
  const auto number = submission.number;
  pending_[number].submission = submission;
  ++in_flight_;
  submitter_->submit(number_, std::move(submission));
}

const std::optional<std::string>& BatchRun::unfit_reason(std::uint32_t group) {
  const auto [found, is_new] = unfit_.try_emplace(group);
  if (is_new) {
    found->second =
        unfit_reason_of(plan_.groups[group].resources, context_.queues, context_.distributor.cluster_name());
  }
  return found->second;
}

void BatchRun::take_answer(std::uint32_t number, Result<SubmittedIds> ids) {
  has_news_ = true;
  --in_flight_;
  const auto found = pending_.find(number);
  if (found == pending_.end()) return;
  last_change_ = Clock::now();
  ALLOT_FAULT_POINT("driver_submit_answered");
  PendingAnswer& pending = found->second;
  if (ids) {
    submissions_[number] = {ids->base, ids->is_array, ids->step_origin};
    context_.log.note(SubmittedRecord{number, {}, {}, unix_nanoseconds()});
    pending_.erase(found);
    return;
  }
  const Error error = ids.error();
  if (!check_ledger()) return;
  if (error.code == ErrorCode::no_room && stop_requests_ == 0 &&
      !fits(context_.distributor.limits(), pending.submission.steps.size(), board_.count(TaskStage::queued))) {
    const Submission submission = std::move(pending.submission);
    pending_.erase(found);
    context_.log.note(SubmittedRecord{number, {}, error.message, unix_nanoseconds()});
    return put_back(submission);  // and submitted in smaller parts
  }
  const bool may_repeat =
      error.code == ErrorCode::no_room || (error.code == ErrorCode::retry_later && pending.tries < kMostTries);
  if (may_repeat && stop_requests_ == 0 && !result_.trouble) {
    if (pending.tries == 0) context_.observer.notice(error.message + "; submitting it again later");
    const auto pause = std::min(kLongestPause, kFirstPause * (1 << std::min(pending.tries, kMostTries)));
    ++pending.tries;
    pending.again_at = Clock::now() + pause;
    return;
  }
  const Submission submission = std::move(pending.submission);
  pending_.erase(found);
  if (error.code == ErrorCode::fix_request || (error.code == ErrorCode::unsupported && !submission.is_array)) {
    return refuse(submission, error.message);
  }
  if (error.code == ErrorCode::unsupported || may_repeat) {
    only_singles_ = only_singles_ || error.code == ErrorCode::unsupported;
    context_.log.note(SubmittedRecord{number, {}, error.message, unix_nanoseconds()});
    return put_back(submission);
  }
  find_out(submission, error);
}

void BatchRun::put_back(const Submission& submission) {
  submission.steps.for_each([&](std::uint64_t step) {
    const TaskCell& cell = board_[step];
    if (cell.submission != submission.number || cell.stage != TaskStage::queued) return;
    --board_.edit(step).attempt;
    if (cell.is_cancelled) return withdraw(step);
    make_ready(step);
  });
}

void BatchRun::refuse(const Submission& submission, const std::string& reason) {
  const std::int64_t now = unix_nanoseconds();
  context_.log.note(SubmittedRecord{submission.number, {}, reason, now});
  ExitInfo info;
  info.exit_class = ExitClass::queueing_error;
  info.text = reason;
  submission.steps.for_each([&](std::uint64_t step) {
    const TaskCell& cell = board_[step];
    if (cell.submission != submission.number || cell.stage != TaskStage::queued) return;
    context_.log.note(VerdictRecord{{static_cast<std::uint32_t>(step), submission.number, 0}, false, info, now});
    settle(step, info);
  });
}

void BatchRun::find_out(const Submission& submission, const Error& error) {
  const auto became = context_.distributor.reconcile(submission.batch_directory, submission.token);
  const auto answer = became ? became->answer : Reconciliation::Answer::unknown;
  if (answer == Reconciliation::Answer::found) {
    context_.log.note(SubmittedRecord{submission.number, {}, {}, unix_nanoseconds()});
    return;
  }
  if (answer == Reconciliation::Answer::proven_absent) {
    context_.log.note(SubmittedRecord{submission.number, {}, error.message, unix_nanoseconds()});
    put_back(submission);
  } else {
    submission.steps.for_each([&](std::uint64_t step) {
      const TaskCell& cell = board_[step];
      if (cell.submission == submission.number && cell.stage == TaskStage::queued) {
        board_.set_stage(step, TaskStage::unknown);
        end_cancelling(step);
      }
    });
  }
  give_up(error);
}

}  // namespace allot
