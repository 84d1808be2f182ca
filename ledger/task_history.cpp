// SPDX-License-Identifier: MIT
#include "ledger/task_history.h"

#include <fmt/format.h>

#include "ledger/detail_reader.h"
#include "protocol/distributor_id.h"

namespace allot {
namespace {

// How much a record says about how a run ended.
int rank_of(const Record& record) {
  if (std::holds_alternative<FinishedRecord>(record)) return 3;
  if (std::holds_alternative<VerdictRecord>(record)) return 2;
  return std::holds_alternative<WithdrawnRecord>(record) ? 1 : 0;
}

// Into `run`, of whose end `rank` tells who has said so.
void take(const Record& record, int& rank, TaskRun& run) {
  if (const auto* started = std::get_if<StartedRecord>(&record)) {
    run.started_ns = started->at_ns;
    run.number = started->attempt;
    return;
  }
  if (const auto* retry = std::get_if<RetryRecord>(&record)) {
    run.retry = *retry;
    return;
  }
  const int this_rank = rank_of(record);
  if (this_rank == 0 || this_rank < rank) return;
  rank = this_rank;
  if (const auto* finished = std::get_if<FinishedRecord>(&record)) {
    run.number = finished->attempt;
    if (finished->started_ns != 0) run.started_ns = finished->started_ns;
    run.ended_ns = finished->ended_ns;
    run.end = finished->exit_info;
    run.usage = finished->usage;
    run.standard_output = finished->standard_output;
    run.standard_error = finished->standard_error;
  } else if (const auto* verdict = std::get_if<VerdictRecord>(&record)) {
    run.ended_ns = verdict->at_ns;
    run.end = verdict->exit_info;
  } else if (const auto* withdrawn = std::get_if<WithdrawnRecord>(&record)) {
    // Of a task that had run before: only its next run was taken back.
    if (run.started_ns != 0) return;
    run.ended_ns = withdrawn->at_ns;
    run.end = ExitInfo{ExitClass::killed, {}, {}, withdrawn->reason};
  }
}

}  // namespace

TaskRun DetailReader::begin_run(std::uint64_t step, std::uint32_t submission, std::uint16_t restart) const {
  TaskRun run;
  run.key = {static_cast<std::uint32_t>(step), submission, restart};
  const FoldedSubmission* known = fold_.submission(submission);
  if (known == nullptr) return run;
  const IntentRecord& intent = known->intent;
  run.submitted_ns = intent.at_ns;
  run.resources = intent.resources;
  run.distributor_id =
      make_distributor_id(intent.id_base, intent.is_array ? std::optional(step - intent.step_origin) : std::nullopt);
  return run;
}

Result<TaskHistory> DetailReader::history(std::uint64_t step) {
  if (step >= fold_.tasks_.size()) {
    return fail(ErrorCode::fix_request, fmt::format("{}: there is no step {}; the batch has {}", fold_.batch_.path(),
                                                    step, fold_.tasks_.size()));
  }
  TaskHistory history;
  int rank = 0;
  const std::vector<RecordRef> refs = fold_.refs_of(step);
  for (std::size_t i = 0; i < refs.size(); ++i) {
    const RecordRef& ref = refs[i];
    auto record = read(ref);
    if (!record) {
      history.notes.push_back(record.error().message);
      continue;
    }
    std::string line = describe(ref, record->record);
    if (ref.kind == Fold::RefKind::abandoned) {
      history.abandonment.push_back(std::move(line));
      continue;
    }
    const bool is_new = history.runs.empty() || history.runs.back().key.submission != ref.submission ||
                        history.runs.back().key.restart != ref.restart;
    if (is_new) {
      history.runs.push_back(begin_run(step, ref.submission, ref.restart));
      rank = 0;
    }
    TaskRun& run = history.runs.back();
    const bool by_worker = ref.kind == Fold::RefKind::started || ref.kind == Fold::RefKind::finished;
    if (by_worker && fold_.sessions_[ref.file]) run.node = fold_.sessions_[ref.file]->node_name();
    take(record->record, rank, run);
    if (ref.kind == Fold::RefKind::finished) run.output_writer = fold_.record_files_[ref.file];
    // That a run has started is told by its end.
    const bool is_told = ref.kind == Fold::RefKind::started && i + 1 < refs.size() &&
                         refs[i + 1].kind == Fold::RefKind::finished && refs[i + 1].submission == ref.submission &&
                         refs[i + 1].restart == ref.restart;
    if (!is_told) run.evidence.push_back(std::move(line));
  }
  const FoldedTask& task = fold_.tasks_[step];
  const bool is_known = !history.runs.empty() && history.runs.back().key.submission == task.submission;
  if (task.submission != 0 && !is_known) history.runs.push_back(begin_run(step, task.submission, task.restart));
  for (const FoldedSubmission& refused : fold_.submissions_) {
    if (refused.error.empty() || !refused.intent.steps.contains(step)) continue;
    history.notes.push_back(fmt::format("submission {} was refused: {}", refused.intent.submission, refused.error));
  }
  return history;
}

}  // namespace allot
