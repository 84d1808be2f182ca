// SPDX-License-Identifier: MIT
// Tasks that went silent: asked about now and then, given time to come back, judged when that is over.
#include <algorithm>

#include <fmt/format.h>

#include "engine/batch_run.h"
#include "ledger/time_text.h"

namespace allot {
namespace {

constexpr int kLookCall = 10;
constexpr int kHearCall = 11;
// What runs is bounded by slots and asked about every time; what is queued may be a million, and takes its turn.
constexpr std::size_t kMostQueuedAsked = 10'000;
constexpr std::size_t kMostHeard = 256;
// An end may be on its way while it is asked: one answer proves nothing.
constexpr std::uint32_t kFewestMisses = 2;
constexpr std::chrono::milliseconds kShortestPause{10};

}  // namespace

void BatchRun::look_for_silent_tasks() {
  const auto now = Clock::now();
  const bool is_asking = calls_.busy(kLookCall) > 0 || calls_.busy(kHearCall) > 0;
  if (now < triage_.next_look || is_asking || stop_requests_ > 0 || result_.trouble) return;
  triage_.next_look = now + context_.settings.retry.triage.interval;
  triage_.asked.clear();
  const auto ask_about = [this](std::uint64_t step) {
    const std::uint32_t submission = board_[step].submission;
    if (pending_.count(submission) != 0) return;
    if (auto id = id_of(step))
      triage_.asked.push_back({static_cast<std::uint32_t>(step), submission, std::move(*id), {}});
  };
  for (const std::uint32_t step : running_) ask_about(step);
  if (board_.count(TaskStage::queued) > 0) {
    const std::size_t most = triage_.asked.size() + kMostQueuedAsked;
    for (std::uint64_t seen = 0; seen < board_.size() && triage_.asked.size() < most; ++seen) {
      if (triage_.cursor >= board_.size()) triage_.cursor = 0;
      const std::uint64_t step = triage_.cursor++;
      if (board_[step].stage == TaskStage::queued) ask_about(step);
    }
  }
  if (triage_.asked.empty()) return;
  std::vector<std::string> ids;
  for (const SilentTask& task : triage_.asked) ids.push_back(task.id);
  calls_.look(kLookCall, std::move(ids));
}

void BatchRun::take_snapshot(const Result<Snapshot>& snapshot) {
  const auto now = Clock::now();
  const auto& rules = context_.settings.retry.triage;
  if (!snapshot) {
    // A scheduler that cannot be asked has said nothing against anybody: that time does not count.
    for (auto& [step, suspect] : triage_.suspects) suspect.since = now;
    return;
  }
  std::erase_if(triage_.suspects, [this](const auto& item) {
    const TaskCell& cell = board_[item.first];
    return cell.submission != item.second.submission || !is_under_way(cell.stage);
  });
  for (const SilentTask& task : triage_.asked) {
    const TaskCell& cell = board_[task.step];
    if (cell.submission != task.submission || !is_under_way(cell.stage)) continue;
    if (snapshot->phases.count(task.id) != 0) {
      if (triage_.suspects.erase(task.step) > 0) {
        context_.observer.notice(fmt::format("step {}: the distributor has it again", task.step));
      }
      continue;
    }
    const auto [found, is_new] = triage_.suspects.try_emplace(task.step);
    if (is_new) {
      found->second.submission = task.submission;
      found->second.since = now;
      found->second.since_ns = unix_nanoseconds();
    }
    ++found->second.misses;
  }
  std::vector<SilentTask> overdue;
  for (auto& [step, suspect] : triage_.suspects) {
    if (suspect.misses < kFewestMisses || now - suspect.since < rules.patience) continue;
    auto id = id_of(step);
    if (!id) continue;
    overdue.push_back({step, suspect.submission, std::move(*id),
                       fmt::format("it was not among what it has, asked {} times since {}", suspect.misses,
                                   ledger::utc_text(suspect.since_ns))});
    if (overdue.size() == kMostHeard) break;
  }
  if (!overdue.empty()) calls_.hear(kHearCall, context_.batch, std::move(overdue));
  if (triage_.suspects.empty()) return;
  const auto soon = std::clamp(rules.patience / 4, kShortestPause, std::max(kShortestPause, rules.interval));
  triage_.next_look = std::min(triage_.next_look, now + soon);
}

void BatchRun::take_findings(Result<std::vector<TriageFinding>> findings) {
  triage_.next_look = Clock::now() + (findings ? kShortestPause : context_.settings.retry.triage.interval);
  if (!findings) {
    context_.observer.notice("tasks went silent, and what became of them cannot be read: " + findings.error().message);
    return;
  }
  for (TriageFinding& finding : *findings) {
    Event& end = finding.end;
    const TaskCell& cell = board_[end.step];
    triage_.suspects.erase(static_cast<std::uint32_t>(end.step));
    if (cell.submission != end.submission || !is_under_way(cell.stage)) continue;  // told meanwhile
    if (finding.has_started && cell.stage == TaskStage::queued) {
      Event start = end;
      start.phase = TaskPhase::running;
      take_event(start);
    }
    if (finding.has_record) {
      context_.observer.notice(
          fmt::format("step {} has ended, by its record; the distributor had not told it", end.step));
    }
    take_end(end, !finding.has_record);
  }
}

}  // namespace allot
