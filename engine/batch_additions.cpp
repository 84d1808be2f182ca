// SPDX-License-Identifier: MIT
// Tasks that a task adds to its own batch, and its further run when they have ended.
#include <algorithm>

#include <fmt/format.h>

#include "engine/batch_run.h"
#include "process/fault_point.h"
#include "protocol/distributor_id.h"

namespace allot {
namespace {

// Who asks from this host is heard at once, by the driver's socket.
constexpr std::chrono::seconds kLookInterval{1};

// The step of this batch of which a run with that id is under way.
std::optional<std::uint64_t> step_under_way(const std::string& id,
                                            const std::map<std::uint32_t, SubmissionIds>& submissions,
                                            const TaskBoard& board) {
  const auto parsed = parse_distributor_id(id);
  if (!parsed) return std::nullopt;
  for (const auto& [number, ids] : submissions) {
    if (ids.base != parsed->base || ids.is_array != parsed->array_step.has_value()) continue;
    const auto is_it = [&board, submission = number](std::uint64_t step) {  // clang 14 captures no bindings
      return board[step].submission == submission && is_under_way(board[step].stage);
    };
    if (ids.is_array) {
      const std::uint64_t step = ids.step_origin + *parsed->array_step;
      return step < board.size() && is_it(step) ? std::optional(step) : std::nullopt;
    }
    for (std::uint64_t step = 0; step < board.size(); ++step) {
      if (is_it(step)) return step;
    }
  }
  return std::nullopt;
}

// Behind the batch's rows; they count once they are recorded. Returns how many.
Result<std::uint64_t> append_rows(const BatchDirectory& batch, std::uint64_t first, const AdditionRequest& request) {
  auto rows =
      TaskTableReader::open(addition_data_path(batch, request.token), addition_index_path(batch, request.token));
  // Who asks has made a mistake, or his disk: the batch goes on without it.
  const auto refused = [](Error error) {
    if (error.code != ErrorCode::retry_later) error.code = ErrorCode::fix_request;
    return fail(std::move(error));
  };
  if (!rows) return refused(rows.error());
  const auto count = rows->size();
  if (!count) return refused(count.error());
  if (*count > kMaxArrayStep + 1 - std::min(first, kMaxArrayStep + 1)) {
    return fail(ErrorCode::fix_request,
                fmt::format("a batch may have {} tasks at most, and has {}; {} more are too many", kMaxArrayStep + 1,
                            first, *count));
  }
  // What a driver appended that died before it was recorded is cut off.
  auto table = TaskTableWriter::open(batch.task_data_path(), batch.task_index_path(), first);
  if (!table) return fail(std::move(table.error()));
  for (std::uint64_t step = 0; step < *count;) {
    const auto row = rows->row(step);
    if (!row) return refused(row.error());
    TaskSpec task = **row;
    if (task.cwd.empty() && request.cwd != batch.info().cwd) task.cwd = request.cwd;
    for (Dependency& on : task.after) {
      if (on.step >= *count)
        return fail(ErrorCode::fix_request, fmt::format("step {} waits for no step of these", step));
      on.step += static_cast<std::uint32_t>(first);
    }
    const std::uint64_t alike = std::min(rows->row_count(), *count - step);
    if (auto added = table->append(task, alike); !added) return fail(std::move(added.error()));
    step += alike;
  }
  if (auto synced = table->sync(); !synced) return fail(std::move(synced.error()));
  return *count;
}

}  // namespace

void BatchRun::look_for_additions() {
  const auto now = Clock::now();
  if (now < next_addition_look_ || under_way() == 0 || result_.trouble) return;
  next_addition_look_ = now + kLookInterval;
  if (log_fault_.is_on && log_fault_.again_at > now) return;
  auto requests = take_requests(context_.batch);
  if (!requests) return note_fault(log_fault_, requests.error());
  for (const TakenAddition& taken : *requests) {
    if (result_.trouble) return;
    auto answer = taken.request ? add_tasks(*taken.request) : fail(taken.request.error());
    if (!answer && answer.error().code == ErrorCode::retry_later) {
      return note_fault(log_fault_, answer.error());  // it stays taken, and is found again
    }
    if (!answer && answer.error().code == ErrorCode::gave_up && taken.request) give_up(answer.error());
    if (auto told = answer_addition(context_.batch, taken.token, answer); !told) {
      return note_fault(log_fault_, told.error());
    }
    unanswered_.erase(taken.token);
  }
}

// Errors: fix_request (the answer to who asks), retry_later (nothing of it is in the batch), gave_up.
Result<AdditionAnswer> BatchRun::add_tasks(const AdditionRequest& request) {
  if (const auto known = unanswered_.find(request.token); known != unanswered_.end()) {
    return AdditionAnswer{known->second.first_step, known->second.count, false};
  }
  // Most often it is one of the few that run.
  const auto running =
      std::find_if(running_.begin(), running_.end(), [&](std::uint32_t step) { return id_of(step) == request.parent; });
  const auto parent = running != running_.end() ? std::optional<std::uint64_t>(*running)
                                                : step_under_way(request.parent, submissions_, board_);
  if (!parent) {
    return fail(ErrorCode::fix_request,
                fmt::format("{} is no run of this batch that is under way; only a task that runs "
                            "can add tasks",
                            request.parent));
  }
  if (board_[*parent].is_cancelled) {
    return fail(ErrorCode::fix_request, fmt::format("step {} is being cancelled, and adds no more tasks", *parent));
  }
  AddedRecord record;
  record.parent = {static_cast<std::uint32_t>(*parent), board_[*parent].submission, 0};
  record.token = request.token;
  record.name = request.name;
  record.again = request.again;
  record.when = request.when;
  const auto [first, last] = additions_.equal_range(record.parent.step);
  const auto before = std::find_if(first, last, [&](const auto& item) { return item.second.name == request.name; });
  const bool was_there = !request.name.empty() && before != last;
  if (was_there) {
    record.first_step = before->second.first_step;
    record.count = before->second.count;
  } else {
    auto count = append_rows(context_.batch, board_.size(), request);
    if (!count) return fail(std::move(count.error()));
    record.first_step = static_cast<std::uint32_t>(board_.size());
    record.count = static_cast<std::uint32_t>(*count);
    ALLOT_FAULT_POINT("driver_added_rows");
  }
  record.at_ns = unix_nanoseconds();
  if (auto committed = context_.log.commit(record); !committed) return fail(std::move(committed.error()));
  ALLOT_FAULT_POINT("driver_added");
  additions_.emplace(record.parent.step, record);
  unanswered_.emplace(record.token, record);
  if (!was_there) grow(record);
  return AdditionAnswer{record.first_step, record.count, was_there};
}

void BatchRun::grow(const AddedRecord& record) {
  const std::uint64_t end = std::uint64_t{record.first_step} + record.count;
  board_.grow(end);
  plan_.task_count = end;
  plan_.is_array = true;  // the batch is one task no more
  if (!unmet_.empty()) unmet_.resize(end);
  auto table = TaskTableReader::open(context_.batch.task_data_path(), context_.batch.task_index_path());
  if (!table) return give_up(table.error());
  const bool is_held = board_[record.parent.step].is_held;  // as its next run is
  if (is_held) context_.log.note(HeldRecord{true, StepRanges(record.first_step, record.count), unix_nanoseconds()});
  for (std::uint64_t step = record.first_step; step < end;) {
    const auto row = table->row(step);
    if (!row) return give_up(row.error());
    const TaskSpec& task = **row;
    const std::uint64_t alike = std::min(table->row_count(), end - step);
    ReadyWork work;
    work.group = group_of(
        group_key(task, context_.batch.info().default_resources, context_.batch.info().priority, plan_.max_parallel));
    plan_.add_begin(step, alike, task.begin_ns);
    const bool is_later = task.begin_ns > unix_nanoseconds();
    for (const std::uint64_t stop = step + alike; step < stop; ++step) {
      board_.set_group(step, work.group);
      board_.edit(step).is_held = is_held;
      if (!task.after.empty() && unmet_.empty()) unmet_.resize(end);
      for (const Dependency& on : task.after) {
        plan_.graph.add_late(static_cast<std::uint32_t>(step), on);
        ++unmet_[step];
      }
      if (!task.after.empty()) continue;
      if (is_later || is_held) {
        let_start(static_cast<std::uint32_t>(step));
        continue;
      }
      board_.set_stage(step, TaskStage::ready);
      work.steps.append(step);
    }
    if (!work.steps.empty()) ready_.push(plan_.groups[work.group].priority, std::move(work));
  }
  has_news_ = true;
}

// Of a run that has ended well: true if the task waits for what it has added, and runs again then.
bool BatchRun::wait_for_added(std::uint64_t step) {
  const auto number = static_cast<std::uint32_t>(step);
  const auto [first, last] = additions_.equal_range(number);
  std::vector<Dependency> added;
  for (auto it = first; it != last; ++it) {
    const AddedRecord& record = it->second;
    if (!record.again || record.parent.submission != board_[step].submission) continue;
    for (std::uint32_t i = 0; i < record.count; ++i) added.push_back({record.first_step + i, record.when});
  }
  if (added.empty()) return false;
  if (board_[step].is_cancelled) {
    withdrawn_[board_[step].submission].push_back(number);
    board_.set_end(step, ExitClass::killed);
    end_cancelling(step);
    if (stop_requests_ == 0) release_dependents(step);
    return true;
  }
  if (unmet_.empty()) unmet_.resize(board_.size());
  plan_.graph.drop_late(number);  // of the round before
  GroupKey key = plan_.groups[board_[step].group].key();
  ++key.round;
  board_.set_group(step, group_of(std::move(key)));
  board_.set_stage(step, TaskStage::waiting);
  TaskCell& cell = board_.edit(step);
  cell.has_end = true;
  cell.exit_class = ExitClass::done;
  unmet_[step] = 0;
  std::optional<std::uint32_t> bad;
  for (const Dependency& on : added) {
    if (on.step >= board_.size()) continue;  // its row is gone, as the ledger has told
    plan_.graph.add_late(number, on);
    const TaskStage stage = board_[on.step].stage;
    if (!has_ended(stage)) {
      ++unmet_[step];
    } else if (judge_dependency(on.kind, stage == TaskStage::done) == DependencyVerdict::never) {
      bad = on.step;
    }
  }
  if (bad) {
    abandon(number, *bad);
    release_dependents(step);
  } else if (unmet_[step] == 0) {
    make_ready(step);
  }
  return true;
}

}  // namespace allot
