// SPDX-License-Identifier: MIT
#include "engine/recovery.h"

#include <poll.h>

#include <algorithm>
#include <map>
#include <unordered_set>

#include <fmt/format.h>

#include "engine/batch_run.h"
#include "ledger/detail_reader.h"
#include "ledger/environment.h"
#include "ledger/fold.h"
#include "ledger/task_table.h"
#include "process/fault_point.h"
#include "process/identity.h"

namespace allot {
namespace {

using Answer = Reconciliation::Answer;
using Clock = std::chrono::steady_clock;

constexpr int kAskAgainMilliseconds = 500;
constexpr std::size_t kMostDamageTold = 10;

// Ends that resume does not let stand: the user, the machine or the cluster was the cause, not the task.
bool is_let_stand(ExitClass exit_class) {
  switch (exit_class) {
    case ExitClass::killed:
    case ExitClass::lost:
    case ExitClass::node_failed:
    case ExitClass::preempted:
    case ExitClass::queueing_error:  // it never ran, and this cluster may have what it asks for
      return false;
    default:
      return true;
  }
}

// It has ended well, and is to run again after what it has added.
bool is_waiting_for_added(const FoldedTask& task) {
  return task.state == TaskState::waiting && task.is_again_due && task.end_kind == EndKind::finished &&
         task.exit_class == ExitClass::done;
}

bool is_unfinished(const FoldedTask& task) {
  return task.state == TaskState::queued || task.state == TaskState::running;
}

class Recovery {
 public:
  Recovery(const DriverContext& context, const std::optional<DriverIdentity>& previous, const RecoveryRequest& request)
      : context_(context), previous_(previous), request_(request) {}

  Result<Recovered> run() {
    if (auto environment = read_environment(context_.batch.environment_path()); !environment) {
      return fail(ErrorCode::gave_up, environment.error().message);
    }
    auto before = Fold::load(context_.batch);
    if (!before) return fail(std::move(before.error()));
    if (before->missing_steps() > 0) {
      return fail(
          ErrorCode::gave_up,
          fmt::format("{}: damaged: it names the rows of {} tasks, and the batch has {}; the batch cannot be "
                      "finished without them, and what it has is left as it is",
                      context_.batch.task_index_path(), before->size(), before->size() + before->missing_steps()));
    }
    // A writer that opens its file again cuts off what is behind the last whole record: the first look counts.
    gap_ = before->gap();
    if (auto asked = ask_about_submissions(*before); !asked) return fail(std::move(asked.error()));
    // What ended while the distributor was asked has been recorded before it answered.
    auto fold = Fold::load(context_.batch);
    if (!fold) return fail(std::move(fold.error()));
    for (std::size_t i = 0; i < fold->damage().size() && i < kMostDamageTold; ++i) {
      context_.observer.notice("the ledger is damaged: " + fold->damage()[i]);
    }
    if (fold->gap() && (!gap_ || !gap_->is_proven)) gap_ = fold->gap();
    fold_ = &*fold;
    settle_tasks(*fold);
    if (auto planned = make_plan(*fold); !planned) return fail(std::move(planned.error()));
    if (auto flushed = context_.log.flush(); !flushed) return fail(std::move(flushed.error()));
    return std::move(recovered_);
  }

 private:
  Result<void> ask_about_submissions(const Fold& fold) {
    std::map<std::uint32_t, std::uint64_t> unfinished;  // submission → steps
    for (std::uint64_t step = 0; step < fold.size(); ++step) {
      if (is_unfinished(fold.task(step))) ++unfinished[fold.task(step).submission];
    }
    const auto deadline = Clock::now() + context_.settings.reconcile_patience;
    for (const auto& [number, count] : unfinished) {
      const FoldedSubmission* submission = fold.submission(number);
      if (submission == nullptr) {  // its intent is damaged: nobody can be asked by a token
        answers_[number] = {Answer::unknown, {}, "the record of its intent is damaged"};
        continue;
      }
      for (bool told = false;; told = true) {
        auto answer = context_.distributor.reconcile(context_.batch.path(), submission->intent.token);
        Reconciliation& known = answers_[number];
        known = answer ? std::move(*answer) : Reconciliation{Answer::unknown, {}, answer.error().message};
        if (known.answer != Answer::unknown || Clock::now() > deadline) break;
        if (!told) {
          context_.observer.notice(
              fmt::format("it is not known yet what became of {} task{} of submission {}: {}; asking again", count,
                          count == 1 ? "" : "s", number, known.evidence));
        }
        pollfd waiting{context_.stop.descriptor(), POLLIN, 0};
        ::poll(&waiting, 1, kAskAgainMilliseconds);
        if (context_.stop.take() > 0) {
          return fail(ErrorCode::gave_up, "interrupted while asking what became of the tasks of the driver before");
        }
      }
      ALLOT_FAULT_POINT("driver_reconciled");
    }
    return {};
  }

  // Whether this host was booted since the submission was intended, so that started records may have been lost with the
  // page cache. The driver that intended it says so, not the last one: that one may have come after the boot and died
  // before it recorded a verdict.
  bool is_rebooted_since(std::uint32_t number) {
    const auto [known, is_new] = rebooted_.try_emplace(number, false);
    if (!is_new) return known->second;
    const FoldedSubmission* submission = fold_->submission(number);
    const std::string writer = submission == nullptr ? "" : fold_->record_files()[submission->file];
    const auto* opened =
        submission != nullptr && fold_->sessions()[submission->file] ? &*fold_->sessions()[submission->file] : nullptr;
    const bool is_last = !previous_ || opened == nullptr || writer == "driver-" + std::to_string(previous_->epoch);
    std::string host = opened != nullptr ? opened->host : "", boot = opened != nullptr ? opened->boot_id : "";
    if (is_last && previous_) {
      host = previous_->host;
      boot = previous_->boot_id;
    }
    if (host != host_name() || boot == boot_id()) return false;
    return known->second = !(is_last && previous_ && context_.batch.has_left(previous_->epoch));
  }

  void settle_tasks(const Fold& fold) {
    TaskBoard& board = recovered_.state.board;
    board = TaskBoard(fold.size());
    DetailReader details(fold);
    for (std::uint64_t step = 0; step < fold.size(); ++step) {
      const FoldedTask& task = fold.task(step);
      TaskCell& cell = board.edit(step);
      cell.submission = task.submission;
      cell.is_held = task.is_held;
      cell.is_cancelled = request_.keep_cancelled && task.is_cancelled;
      cell.attempt = static_cast<std::uint16_t>(std::min<std::uint32_t>(task.attempts, UINT16_MAX - 1));
      switch (task.state) {
        case TaskState::waiting:
          cell.has_end = task.is_retry_due || is_waiting_for_added(task);
          if (is_waiting_for_added(task)) {
            cell.exit_class = ExitClass::done;
          } else if (task.is_retry_due) {
            cell.exit_class = task.exit_class;
            note_history(details, step);
          }
          cell.is_left_out = request_.leave_others;
          break;
        case TaskState::abandoned:
          cell.was_abandoned = true;  // whether that still holds is decided when all is known
          break;
        case TaskState::done:
        case TaskState::failed:
          if (is_asked_for(step, task)) {
            ++recovered_.run_again;
            asked_for_.insert(step);
            cell.has_end = true;
            cell.exit_class = task.exit_class;
            break;
          }
          if (!request_.leave_others &&
              (runs_again(task, request_.keep_cancelled) || ALLOT_SABOTAGED("engine_rerun_finished"))) {
            cell.has_end = true;
            cell.exit_class = task.exit_class;
            if (task.attempts > 1) note_history(details, step);
            break;
          }
          board.set_end(step, task.exit_class);
          ++recovered_.ended_before;
          if (task.output_incomplete) ++recovered_.state.incomplete_outputs;
          note_highlights(details, step);
          break;
        case TaskState::queued:
        case TaskState::running:
          // Only what has run before can have a history, and of those that run now there are few.
          if (task.attempts > 0) note_history(details, step);
          settle_unfinished(step, task);
          break;
      }
    }
    for (const auto& [number, answer] : answers_) {
      if (!answer.ids) continue;
      recovered_.state.submissions[number] = {answer.ids->base, answer.ids->is_array, answer.ids->step_origin};
    }
    recovered_.state.max_running = fold.max_running();
    // A damaged intent's number is known by what followed it, and is not given to another submission.
    recovered_.state.next_submission = std::max(recovered_.state.next_submission, fold.highest_submission() + 1);
  }

  bool is_asked_for(std::uint64_t step, const FoldedTask& task) const {
    return task.state == TaskState::failed && request_.run_again && request_.run_again->contains(step) &&
           (!request_.only_class || *request_.only_class == task.exit_class);
  }

  // What the summary is to name of the tasks that are left alone.
  void note_highlights(DetailReader& details, std::uint64_t step) {
    const auto detail = details.detail(step);
    if (!detail) {  // the fold has just read it
      context_.observer.notice(detail.error().message);
      return;
    }
    Highlights& highlights = recovered_.state.highlights;
    if (detail->usage.wall_seconds) highlights.add_wall_seconds(step, *detail->usage.wall_seconds);
    if (detail->usage.max_rss_bytes) highlights.add_max_rss(step, *detail->usage.max_rss_bytes);
    if (detail->exit_info.is_done()) return;
    note_retries(*detail);
    if (request_.leave_others) return highlights.add_failure(step, detail->exit_info);
    recovered_.state.undecided.push_back({step, detail->exit_info});
  }

  void note_history(DetailReader& details, std::uint64_t step) {
    if (const auto detail = details.detail(step)) note_retries(*detail);
  }

  // What a task has had of its budgets, and what it asks for since.
  void note_retries(const TaskDetail& detail) {
    if (!detail.retry) return;
    RetryState& state = recovered_.state.retries[static_cast<std::uint32_t>(detail.step)];
    state.used = detail.retries;
    state.first_deferral_ns = detail.first_deferral_ns;
    TaskCell& cell = recovered_.state.board.edit(detail.step);
    cell.attempt -= static_cast<std::uint16_t>(std::min<std::uint32_t>(cell.attempt, detail.deferrals));
    state.not_before_ns = detail.folded.is_retry_due ? detail.retry->not_before_ns : 0;
    grown_[detail.step] = detail.retry->resources;
  }

  void settle_unfinished(std::uint64_t step, const FoldedTask& task) {
    TaskBoard& board = recovered_.state.board;
    const bool is_running = task.state == TaskState::running;
    const auto found = answers_.find(task.submission);
    const Answer answer = found == answers_.end() ? Answer::unknown : found->second.answer;
    if (answer == Answer::found) {
      if (!is_running) ++board.edit(step).attempt;  // the one under way; of a running one the ledger has counted it
      board.set_stage(step, is_running ? TaskStage::running : TaskStage::queued);
      ++recovered_.adopted;
    } else if (answer == Answer::unknown) {
      board.set_stage(step, TaskStage::unknown);
    } else if (is_running) {
      bury(step, task, true,
           "it started, and no end of it was recorded" + (gap_ && gap_->is_proven ? " (" + gap_->text + "); " : "; ") +
               found->second.evidence);
    } else if (gap_) {
      bury(step, task, gap_->is_proven,
           gap_->text + ", so a record of its start or end may be missing; " + found->second.evidence);
    } else if (is_rebooted_since(task.submission)) {
      bury(step, task, false,
           "the host was booted again since it was queued, so a record of its start may be missing; " +
               found->second.evidence);
    }
  }

  // Records that a run is lost, or may have been one: without that it must not run again.
  void bury(std::uint64_t step, const FoldedTask& task, bool counts_as_run, std::string evidence) {
    VerdictRecord verdict;
    verdict.key = {static_cast<std::uint32_t>(step), task.submission, task.restart};
    verdict.started = counts_as_run;
    verdict.exit_info.exit_class = ExitClass::lost;
    verdict.exit_info.text = std::move(evidence);
    verdict.at_ns = unix_nanoseconds();
    if (!ALLOT_SABOTAGED("engine_no_verdict")) context_.log.note(verdict);
    TaskCell& cell = recovered_.state.board.edit(step);
    // Of a run with a started record the ledger has counted the attempt.
    if (counts_as_run && (task.state == TaskState::queued || cell.attempt == 0)) ++cell.attempt;
    ++recovered_.lost;
  }

  Result<void> make_plan(const Fold& fold) {
    auto table = TaskTableReader::open(context_.batch.task_data_path(), context_.batch.task_index_path());
    if (!table) return fail(std::move(table.error()));
    const TaskBoard& board = recovered_.state.board;
    PlanBuilder builder(context_.batch.info().default_resources, context_.batch.info().priority);
    std::uint64_t damaged = 0;
    for (std::uint64_t step = 0; step < fold.size(); ++step) {
      const TaskStage stage = board[step].stage;
      if (stage == TaskStage::done) continue;
      const auto row = table->row(step);
      const auto grown = grown_.find(step);
      if (asked_for_.count(step) != 0) {
        const auto number = static_cast<std::uint32_t>(step);
        const RequestedResources own = row ? (*row)->resources : RequestedResources{};
        context_.log.note(requested_retry(number, board[step].submission, board[step].exit_class, own));
      }
      if (row) {
        if (grown == grown_.end()) {
          builder.add(step, 1, **row, round_of(fold, fold.task(step)));
        } else {
          TaskSpec with_more = **row;
          with_more.resources = grown->second;
          builder.add(step, 1, with_more, round_of(fold, fold.task(step)));
        }
      } else {
        // The worker node will say what is wrong with it.
        builder.add_plain(step, 1);
        if (++damaged == 1) context_.observer.notice(row.error().message);
      }
    }
    for (const AddedRecord& added : fold.additions()) {
      if (added.parent.step >= fold.size()) continue;
      const FoldedTask& parent = fold.task(added.parent.step);
      const bool waits = is_waiting_for_added(parent) || parent.state == TaskState::abandoned;
      if (!added.again || !waits || parent.submission != added.parent.submission) continue;
      for (std::uint32_t i = 0; i < added.count && added.first_step + i < fold.size(); ++i) {
        builder.add_dependency(added.parent.step, {added.first_step + i, added.when});
      }
    }
    recovered_.state.additions = fold.additions();
    const bool is_array = fold.submissions().empty()
                              ? fold.size() != 1
                              : fold.submissions().front().intent.is_array || !fold.additions().empty();
    recovered_.state.plan = builder.finish(is_array);
    recovered_.state.plan.task_count = fold.size();
    return {};
  }

  // Of its next run, or of the one under way.
  static std::uint32_t round_of(const Fold& fold, const FoldedTask& task) {
    if (fold.additions().empty()) return 0;
    const FoldedSubmission* submission = fold.submission(task.submission);
    const std::uint32_t latest = submission == nullptr ? 0 : submission->intent.round;
    const bool was_waiting =
        task.is_again_due && (task.state == TaskState::abandoned || task.end_kind == EndKind::withdrawn);
    return is_waiting_for_added(task) || was_waiting ? latest + 1 : latest;
  }

  std::unordered_set<std::uint64_t> asked_for_;
  std::map<std::uint64_t, RequestedResources> grown_;  // by step: of tasks that run again with other resources
  const DriverContext& context_;
  const std::optional<DriverIdentity>& previous_;
  const RecoveryRequest& request_;
  std::map<std::uint32_t, Reconciliation> answers_;  // by submission
  std::map<std::uint32_t, bool> rebooted_;           // by submission
  std::optional<RecordGap> gap_;
  const Fold* fold_ = nullptr;
  Recovered recovered_;
};

}  // namespace

bool runs_again(const FoldedTask& task, bool keep_cancelled) {
  if (task.state != TaskState::done && task.state != TaskState::failed) return false;
  return !is_let_stand(task.exit_class) && !(keep_cancelled && task.is_cancelled);
}

Result<Recovered> recover(const DriverContext& context, const std::optional<DriverIdentity>& previous,
                          const RecoveryRequest& request) {
  return Recovery(context, previous, request).run();
}

}  // namespace allot
