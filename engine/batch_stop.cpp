// SPDX-License-Identifier: MIT
// How a driver ends what it has submitted: queued work is taken out in portions while the running trees get their TERM.
#include <algorithm>

#include <fmt/format.h>

#include "engine/batch_run.h"
#include "protocol/units.h"

namespace allot {
namespace {

constexpr int kQueuedCall = 1;
constexpr int kRunningCall = 2;
// So that a million ids are never in memory at once.
constexpr std::size_t kMostIds = 65'536;
// While one call is with the distributor the next one waits at its door: nothing starts in between.
constexpr std::size_t kMostQueuedCalls = 2;
constexpr std::chrono::milliseconds kPassPause{100};

}  // namespace

void BatchRun::request_stop(int requests) {
  has_news_ = true;
  if (stop_requests_ == 0) {
    context_.observer.notice(fmt::format(
        "cancelling: what is queued is taken out, what runs is asked to end (killed after {}; once more kills it now)",
        format_duration(context_.settings.grace.count())));
    last_change_ = stop_since_ = Clock::now();
  }
  stop_requests_ += requests;
  for (auto pending = pending_.begin(); pending != pending_.end();) {
    if (!pending->second.again_at) {
      ++pending;
      continue;
    }
    // It was refused for the time being, and so is with nobody.
    const Submission submission = std::move(pending->second.submission);
    pending = pending_.erase(pending);
    context_.log.note(SubmittedRecord{submission.number, {}, "cancelled before it was accepted", unix_nanoseconds()});
    put_back(submission);
  }
}

std::optional<std::string> BatchRun::id_of(std::uint64_t step) const {
  const auto found = submissions_.find(board_[step].submission);
  if (found == submissions_.end()) return std::nullopt;
  const SubmissionIds& ids = found->second;
  return make_distributor_id(ids.base, ids.is_array ? std::optional(step - ids.step_origin) : std::nullopt);
}

void BatchRun::take_call_reports() {
  for (auto& report : calls_.take_reports()) {
    if (report.snapshot) {
      take_snapshot(*report.snapshot);
      continue;
    }
    if (report.findings) {
      take_findings(std::move(*report.findings));
      continue;
    }
    if (report.error) context_.observer.notice(report.error->message);
    if (!report.outcomes) {
      context_.observer.notice("ending tasks: " + report.outcomes.error().message);
      continue;
    }
    std::uint64_t unreachable = 0;
    std::string first;
    for (const auto& [id, termination] : *report.outcomes) {
      if (termination.outcome != TerminationOutcome::unreachable) continue;
      if (unreachable++ == 0) first = id + ": " + termination.text;
    }
    if (unreachable > 0) {
      context_.observer.notice(fmt::format("{} tasks cannot be ended ({})", unreachable, first));
    }
  }
}

std::chrono::milliseconds BatchRun::grace() const {
  if (stop_requests_ > 1) return std::chrono::milliseconds(0);
  return stop_requests_ > 0 ? context_.settings.grace : cancel_grace_;
}

void BatchRun::pump_termination() {
  const auto now = Clock::now();
  const bool is_kill = stop_requests_ > 1;
  // A slot that becomes free takes the next queued task: so those go first, if that does not take too long.
  const bool queue_is_out = terminate_queued(now);
  if (queue_is_out || is_kill || now - stop_since_ > context_.settings.queue_first) terminate_running();
}

void BatchRun::terminate_running() {
  std::vector<std::string> ids;
  const bool ask_again = kills_sent_ < std::min(stop_requests_, 2);
  for (const std::uint32_t step : running_) {
    if (!is_to_end(board_[step]) || (board_[step].is_tried && !ask_again)) continue;
    if (auto id = id_of(step)) {
      board_.edit(step).is_tried = true;
      ids.push_back(std::move(*id));
    }
  }
  kills_sent_ = std::min(stop_requests_, 2);
  if (!ids.empty()) calls_.terminate(kRunningCall, std::move(ids), grace());
}

bool BatchRun::terminate_queued(Clock::time_point now) {
  const auto is_over = [this] { return stop_cursor_ == board_.size() && calls_.busy(kQueuedCall) == 0; };
  if (is_over() && board_.count(TaskStage::queued) > 0 && now >= next_stop_pass_) {
    stop_cursor_ = 0;  // what was on its way to the distributor, or back from it, is found by another pass
  }
  while (stop_cursor_ < board_.size() && calls_.busy(kQueuedCall) < kMostQueuedCalls) {
    std::vector<std::string> ids;
    for (; stop_cursor_ < board_.size() && ids.size() < kMostIds; ++stop_cursor_) {
      const TaskCell& cell = board_[stop_cursor_];
      if (cell.stage != TaskStage::queued || !is_to_end(cell)) continue;
      if (auto id = id_of(stop_cursor_)) ids.push_back(std::move(*id));
    }
    if (!ids.empty()) calls_.terminate(kQueuedCall, std::move(ids), grace());
    next_stop_pass_ = now + kPassPause;
  }
  return is_over();
}

bool BatchRun::is_stopped() const {
  if (under_way() == 0) return true;
  return Clock::now() - last_change_ > context_.settings.grace + context_.settings.termination_bound;
}

}  // namespace allot
