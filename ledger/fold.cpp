// SPDX-License-Identifier: MIT
#include "ledger/fold.h"

#include <fmt/format.h>

#include <algorithm>

#include "ledger/fold_builder.h"
#include "ledger/time_text.h"
#include "protocol/distributor_id.h"

namespace allot {
namespace {

// ": text" on the same line.
void append_text(std::string& line, const std::string& text) {
  if (text.empty()) return;
  line += ": ";
  std::replace_copy(text.begin(), text.end(), std::back_inserter(line), '\n', ' ');
}

}  // namespace

std::string_view to_string(TaskState state) {
  switch (state) {
    case TaskState::waiting:
      return "waiting";
    case TaskState::queued:
      return "queued";
    case TaskState::running:
      return "running";
    case TaskState::done:
      return "done";
    case TaskState::failed:
      return "failed";
    case TaskState::abandoned:
      return "abandoned";
  }
  return "waiting";
}

Result<Fold> Fold::load(const BatchDirectory& batch) {
  return FoldBuilder(batch).build();
}

std::uint64_t Fold::count(TaskState state) const {
  return counts_[static_cast<std::size_t>(state)];
}

const FoldedSubmission* Fold::submission(std::uint32_t number) const {
  auto it = std::lower_bound(
      submissions_.begin(), submissions_.end(), number,
      [](const FoldedSubmission& submission, std::uint32_t n) { return submission.intent.submission < n; });
  return it != submissions_.end() && it->intent.submission == number ? &*it : nullptr;
}

// All records of a step, oldest run first; of one run in the order of RefKind.
std::vector<Fold::RecordRef> Fold::refs_of(std::uint64_t step) const {
  auto below = [](const RecordRef& ref, std::uint64_t s) { return ref.step < s; };
  auto begin = std::lower_bound(other_records_.begin(), other_records_.end(), step, below);
  auto end = std::lower_bound(begin, other_records_.end(), step + 1, below);
  std::vector<RecordRef> refs(begin, end);
  const FoldedTask& task = tasks_[step];
  RecordRef ref{static_cast<std::uint32_t>(step), task.submission, task.restart, 0, RefKind::started, 0};
  if (task.started_offset != 0) {
    ref.file = task.file;
    ref.offset = task.started_offset;
    refs.push_back(ref);
  }
  if (task.end_kind != EndKind::none) {
    ref.kind = ref_kind(task.end_kind);
    ref.file = task.end_file;
    ref.offset = task.end_offset;
    refs.push_back(ref);
  }
  std::sort(refs.begin(), refs.end(), [](const RecordRef& a, const RecordRef& b) {
    return std::tie(a.submission, a.restart, a.kind, a.file, a.offset) <
           std::tie(b.submission, b.restart, b.kind, b.file, b.offset);
  });
  return refs;
}

bool Fold::is_decisive(const RecordRef& ref) const {
  const FoldedTask& task = tasks_[ref.step];
  const bool is_start = ref.offset == task.started_offset && ref.file == task.file;
  const bool is_end = task.end_kind != EndKind::none && ref.offset == task.end_offset && ref.file == task.end_file;
  return ref.submission == task.submission && ref.restart == task.restart && (is_start || is_end);
}

void Fold::take_facts(const RecordRef& ref, const Record& record, TaskDetail& detail) const {
  const bool by_worker = ref.kind == RefKind::started || ref.kind == RefKind::finished;
  if (by_worker && sessions_[ref.file]) detail.node = sessions_[ref.file]->host;
  if (const auto* started = std::get_if<StartedRecord>(&record)) {
    detail.started_ns = started->at_ns;
  } else if (const auto* finished = std::get_if<FinishedRecord>(&record)) {
    detail.started_ns = finished->started_ns;
    detail.ended_ns = finished->ended_ns;
    detail.exit_info = finished->exit_info;
    detail.usage = finished->usage;
    detail.usage.node = detail.node;
    detail.standard_output = finished->standard_output;
    detail.standard_error = finished->standard_error;
    detail.output_writer = record_files_[ref.file];
  } else if (const auto* verdict = std::get_if<VerdictRecord>(&record)) {
    detail.ended_ns = verdict->at_ns;
    detail.exit_info = verdict->exit_info;
  } else if (const auto* withdrawn = std::get_if<WithdrawnRecord>(&record)) {
    detail.ended_ns = withdrawn->at_ns;
    detail.exit_info = {ExitClass::killed, {}, {}, withdrawn->reason};
  } else if (const auto* abandoned = std::get_if<AbandonedRecord>(&record)) {
    detail.ended_ns = abandoned->at_ns;
    detail.exit_info.text = abandoned->reason;
  }
}

std::string Fold::describe(const RecordRef& ref, const Record& record) const {
  const std::string& file = record_files_[ref.file];
  const std::string worker = fmt::format("worker node record {} @{}: ", file, ref.offset);
  const std::string driver = file.starts_with("driver-") ? "epoch " + file.substr(7) : file;
  const FoldedTask& task = tasks_[ref.step];
  std::string line;
  if (ref.submission != task.submission || ref.restart != task.restart) {
    line = fmt::format("earlier run (submission {}{}): ", ref.submission,
                       ref.restart > 0 ? fmt::format(", restart {}", ref.restart) : "");
  }
  if (const auto* started = std::get_if<StartedRecord>(&record)) {
    line += worker + "started " + ledger::utc_text(started->at_ns) + ", no end recorded";
  } else if (const auto* finished = std::get_if<FinishedRecord>(&record)) {
    line += worker + allot::describe(finished->exit_info);
    if (finished->usage.wall_seconds) line += fmt::format(", wall {:.2f} s", *finished->usage.wall_seconds);
  } else if (const auto* verdict = std::get_if<VerdictRecord>(&record)) {
    line += fmt::format("driver's verdict ({}): {}{}", driver, allot::describe(verdict->exit_info),
                        verdict->started ? "" : ", never started");
    append_text(line, verdict->exit_info.text);
  } else if (const auto* withdrawn = std::get_if<WithdrawnRecord>(&record)) {
    line += fmt::format("driver's record ({}): withdrawn", driver);
    append_text(line, withdrawn->reason);
  } else if (const auto* abandoned = std::get_if<AbandonedRecord>(&record)) {
    line += fmt::format("driver's record ({}): abandoned because of step {}", driver, abandoned->cause_step);
    append_text(line, abandoned->reason);
  }
  return line;
}

Result<TaskDetail> Fold::detail(std::uint64_t step) const {
  if (step >= tasks_.size()) {
    return fail(ErrorCode::fix_request,
                fmt::format("{}: there is no step {}; the batch has {}", batch_.path(), step, tasks_.size()));
  }
  TaskDetail detail;
  detail.step = step;
  const FoldedTask& task = detail.folded = tasks_[step];
  if (const FoldedSubmission* newest = submission(task.submission)) {
    const IntentRecord& intent = newest->intent;
    detail.distributor_id =
        make_distributor_id(intent.id_base, intent.is_array ? std::optional(step - intent.step_origin) : std::nullopt);
  }

  const std::vector<RecordRef> refs = refs_of(step);
  for (auto ref = refs.begin(); ref != refs.end(); ++ref) {
    // A run's finished record tells when it started.
    const auto next = std::next(ref);
    const bool told_by_next = ref->kind == RefKind::started && next != refs.end() && next->kind == RefKind::finished &&
                              next->submission == ref->submission && next->restart == ref->restart;
    if (told_by_next) continue;
    auto record = read_record_at(batch_.record_path(record_files_[ref->file]), ref->offset);
    if (!record) {
      if (is_decisive(*ref)) return fail(std::move(record.error()));
      detail.evidence.push_back(record.error().message);
      continue;
    }
    detail.evidence.push_back(describe(*ref, record->record));
    if (is_decisive(*ref)) take_facts(*ref, record->record, detail);
  }
  for (const FoldedSubmission& refused : submissions_) {
    if (refused.error.empty() || !refused.intent.steps.contains(step)) continue;
    detail.evidence.push_back(fmt::format("submission {} was refused: {}", refused.intent.submission, refused.error));
  }
  return detail;
}

}  // namespace allot
