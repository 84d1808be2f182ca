// SPDX-License-Identifier: MIT
#include "engine/triage.h"

#include <fmt/format.h>

#include "ledger/detail_reader.h"
#include "ledger/fold.h"
#include "ledger/time_text.h"
#include "protocol/units.h"

namespace allot {
namespace {

void take_record(const TaskDetail& detail, TriageFinding& finding) {
  finding.has_record = true;
  finding.end.exit_info = detail.exit_info;
  finding.end.wall_seconds = detail.usage.wall_seconds;
  finding.end.max_rss_bytes = detail.usage.max_rss_bytes;
  finding.end.output_incomplete = detail.folded.output_incomplete;
}

ExitInfo verdict_on(const SilentTask& task, const TaskDetail& detail, const Result<ExitInfo>& told) {
  ExitInfo info;
  info.exit_class = ExitClass::lost;
  std::string text = "records: ";
  if (detail.started_ns == 0) {
    text += "no start of it, and no end";
  } else {
    text += "it started at " + ledger::utc_text(detail.started_ns) + ", and there is no end";
  }
  text += "; distributor: " + task.absence + "; exit info: ";
  if (!told) {
    text += told.error().message;
  } else if (told->is_done()) {
    // Only the worker node can say that: nobody else has seen that the task's output was stored.
    text += "it is said to have ended well, which its worker node should have recorded";
  } else {
    info = *told;
    text += describe(*told) + (told->text.empty() ? "" : ": " + told->text);
  }
  info.text = std::move(text);
  return info;
}

}  // namespace

Result<std::vector<TriageFinding>> hear_witnesses(const BatchDirectory& batch, ClusterDistributor& distributor,
                                                  const std::vector<SilentTask>& tasks) {
  auto fold = Fold::load(batch);
  if (!fold) return fail(std::move(fold.error()));
  DetailReader details(*fold);
  std::vector<TriageFinding> findings;
  for (const SilentTask& task : tasks) {
    auto detail = details.detail(task.step);
    if (!detail) return fail(std::move(detail.error()));
    if (detail->folded.submission != task.submission) continue;
    TriageFinding finding;
    finding.end.distributor_id = task.id;
    finding.end.batch_directory = batch.path();
    finding.end.submission = task.submission;
    finding.end.step = task.step;
    finding.end.phase = TaskPhase::finished;
    finding.end.at = std::chrono::system_clock::now();
    finding.end.node = detail->node;
    finding.has_started = detail->started_ns != 0;
    if (detail->folded.end_kind == EndKind::finished) {
      take_record(*detail, finding);
    } else {
      finding.end.exit_info = verdict_on(task, *detail, distributor.get_remote_exit_info(task.id));
    }
    findings.push_back(std::move(finding));
  }
  return findings;
}

std::string Triage::explain(std::uint64_t step, std::chrono::milliseconds patience) const {
  const auto found = suspects.find(static_cast<std::uint32_t>(step));
  if (found == suspects.end()) return "";
  return fmt::format(
      "it went silent: the distributor does not have it any more since {}, and has told no end; if it does not come "
      "back its witnesses are heard {} later",
      ledger::utc_text(found->second.since_ns), format_duration(patience.count()));
}

}  // namespace allot
