// SPDX-License-Identifier: MIT
#include "ledger/detail_reader.h"
#include "ledger/writer_name.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "ledger/time_text.h"
#include "protocol/distributor_id.h"

namespace allot {
namespace {

constexpr std::size_t kMaxOpenFiles = 64;

// ": text" on the same line.
void append_text(std::string& line, const std::string& text) {
  if (text.empty()) return;
  line += ": ";
  std::replace_copy(text.begin(), text.end(), std::back_inserter(line), '\n', ' ');
}

}  // namespace

Result<DecodedRecord> DetailReader::read(const RecordRef& ref) {
  std::optional<RecordReader>& reader = readers_[ref.file];
  if (!reader) {
    if (open_ == kMaxOpenFiles) {
      for (auto& other : readers_) other.reset();
      open_ = 0;
    }
    auto opened = RecordReader::open(fold_.batch_.record_path(fold_.record_files_[ref.file]));
    if (!opened) return fail(std::move(opened.error()));
    reader = std::move(*opened);
    ++open_;
  }
  return reader->read(ref.offset);
}

bool DetailReader::is_decisive(const RecordRef& ref) const {
  const FoldedTask& task = fold_.tasks_[ref.step];
  const bool is_start = ref.offset == task.started_offset && ref.file == task.file;
  const bool is_end = task.end_kind != EndKind::none && ref.offset == task.end_offset && ref.file == task.end_file;
  return ref.submission == task.submission && ref.restart == task.restart && (is_start || is_end);
}

void DetailReader::take_facts(const RecordRef& ref, const Record& record, TaskDetail& detail) const {
  const bool by_worker = ref.kind == Fold::RefKind::started || ref.kind == Fold::RefKind::finished;
  if (by_worker && fold_.sessions_[ref.file]) detail.node = fold_.sessions_[ref.file]->node_name();
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
    detail.leftover_processes = finished->leftover_processes;
    detail.output_writer = fold_.record_files_[ref.file];
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

std::string DetailReader::describe(const RecordRef& ref, const Record& record) const {
  const std::string& file = fold_.record_files_[ref.file];
  const std::string worker = fmt::format("worker node record {} @{}: ", file, ref.offset);
  const std::string driver = is_driver_writer(file) ? "epoch " + file.substr(7) : file;
  std::string line;
  if (const auto* started = std::get_if<StartedRecord>(&record)) {
    line += worker + "started " + ledger::utc_text(started->at_ns) + ", no end recorded";
  } else if (const auto* finished = std::get_if<FinishedRecord>(&record)) {
    line += worker + allot::describe(finished->exit_info);
    if (finished->usage.wall_seconds) line += fmt::format(", wall {:.2f} s", *finished->usage.wall_seconds);
    if (const auto left = finished->leftover_processes; left > 0) {
      line += left == 1 ? ", 1 process that outlived the command was ended"
                        : fmt::format(", {} processes that outlived the command were ended", left);
    }
  } else if (const auto* verdict = std::get_if<VerdictRecord>(&record)) {
    line += fmt::format("driver's verdict ({}): {}{}", driver, allot::describe(verdict->exit_info),
                        verdict->started                                   ? ""
                        : verdict->exit_info.exit_class == ExitClass::lost ? ", no start is known"
                                                                           : ", never started");
    append_text(line, verdict->exit_info.text);
  } else if (const auto* withdrawn = std::get_if<WithdrawnRecord>(&record)) {
    line += fmt::format("driver's record ({}): withdrawn", driver);
    append_text(line, withdrawn->reason);
  } else if (const auto* retry = std::get_if<RetryRecord>(&record)) {
    line += fmt::format("driver's decision ({}): runs again{}", driver,
                        retry->not_before_ns > 0 ? " after " + ledger::utc_text(retry->not_before_ns) : "");
    append_text(line, retry->reason);
  } else if (const auto* abandoned = std::get_if<AbandonedRecord>(&record)) {
    line += fmt::format("driver's record ({}): abandoned because of step {}", driver, abandoned->cause_step);
    append_text(line, abandoned->reason);
  }
  return line;
}

Result<TaskDetail> DetailReader::detail(std::uint64_t step) {
  if (step >= fold_.tasks_.size()) {
    return fail(ErrorCode::fix_request, fmt::format("{}: there is no step {}; the batch has {}", fold_.batch_.path(),
                                                    step, fold_.tasks_.size()));
  }
  TaskDetail detail;
  detail.step = step;
  const FoldedTask& task = detail.folded = fold_.tasks_[step];
  if (const FoldedSubmission* newest = fold_.submission(task.submission)) {
    const IntentRecord& intent = newest->intent;
    detail.distributor_id =
        make_distributor_id(intent.id_base, intent.is_array ? std::optional(step - intent.step_origin) : std::nullopt);
  }

  const std::vector<RecordRef> refs = fold_.refs_of(step);
  for (auto ref = refs.begin(); ref != refs.end(); ++ref) {
    // A run's finished record tells when it started.
    const auto next = std::next(ref);
    const bool told_by_next = ref->kind == Fold::RefKind::started && next != refs.end() &&
                              next->kind == Fold::RefKind::finished && next->submission == ref->submission &&
                              next->restart == ref->restart;
    if (told_by_next) continue;
    auto record = read(*ref);
    if (!record) {
      if (is_decisive(*ref)) return fail(std::move(record.error()));
      detail.evidence.push_back(record.error().message);
      continue;
    }
    std::string earlier;
    if (ref->submission != task.submission || ref->restart != task.restart) {
      earlier = fmt::format("earlier run (submission {}{}): ", ref->submission,
                            ref->restart > 0 ? fmt::format(", restart {}", ref->restart) : "");
    }
    detail.evidence.push_back(earlier + describe(*ref, record->record));
    if (auto* retry = std::get_if<RetryRecord>(&record->record)) {
      if (retry->retry == kRetryOnRequest) {
        detail.retries = {};
        detail.deferrals = 0;
        detail.first_deferral_ns = 0;
      } else if (retry->retry == kRetryDeferred) {
        if (detail.deferrals++ == 0) detail.first_deferral_ns = retry->at_ns;
      } else {
        ++detail.retries[static_cast<std::size_t>(retry->because)];
      }
      detail.retry = std::move(*retry);
      continue;
    }
    if (is_decisive(*ref)) take_facts(*ref, record->record, detail);
  }
  // Who says that a run is lost may not know when it began.
  if (detail.started_ns == 0 && task.started_offset != 0) {
    const auto began = read({static_cast<std::uint32_t>(step), task.submission, task.restart, task.file,
                             Fold::RefKind::started, task.started_offset});
    const auto* started = began ? std::get_if<StartedRecord>(&began->record) : nullptr;
    if (started != nullptr) detail.started_ns = started->at_ns;
  }
  for (const FoldedSubmission& refused : fold_.submissions_) {
    if (refused.error.empty() || !refused.intent.steps.contains(step)) continue;
    detail.evidence.push_back(fmt::format("submission {} was refused: {}", refused.intent.submission, refused.error));
  }
  return detail;
}

}  // namespace allot
