// SPDX-License-Identifier: MIT
// Which tasks run again after an end that was not good, when, and with what.
#include <algorithm>

#include <fmt/format.h>

#include "engine/batch_run.h"
#include "process/fault_point.h"
#include "protocol/units.h"

namespace allot {

// Decides on an end; true if the task runs again. The decision is in the ledger before anything is submitted, so that
// the budgets outlive this driver.
bool BatchRun::retry(std::uint64_t step, const ExitInfo& info, bool has_started) {
  if (info.is_done() || result_.trouble || is_to_end(board_[step])) return false;
  const RetryRules own = own_rules(step);
  if (const auto deferral = deferral_for(info, own, context_.settings.retry))
    return defer(step, info, *deferral, has_started);
  const auto rule = rule_for(info, own, context_.settings.retry);
  if (!rule) return false;
  const auto number = static_cast<std::uint32_t>(step);
  const auto found = retries_.find(number);
  const auto index = static_cast<std::size_t>(info.exit_class);
  const std::uint16_t used = found == retries_.end() ? std::uint16_t{0} : found->second.used[index];
  if (used >= rule->retries) return false;
  const RequestedResources& asked = plan_.groups[board_[step].group].resources;
  const bool may_grow = info.exit_class == ExitClass::out_of_memory || info.exit_class == ExitClass::timed_out;
  const auto next = escalate(asked, info.exit_class, may_grow ? usage_of(step) : UsageStats{}, context_.settings.retry,
                             context_.queues);
  if (!next) {
    end_for_good(step, info, has_started, "no queue gives more than it has asked for");
    return false;
  }

  RetryRecord decision;
  decision.key = {number, board_[step].submission, 0};
  decision.because = info.exit_class;
  decision.retry = static_cast<std::uint16_t>(used + 1);
  decision.resources = next->resources;
  decision.at_ns = unix_nanoseconds();
  const auto pause = rule->delay_before(decision.retry);
  if (pause.count() > 0) decision.not_before_ns = decision.at_ns + pause.count() * 1'000'000;
  decision.reason = fmt::format("{}: {} of {}{}{}", describe(info), decision.retry, rule->retries,
                                next->text.empty() ? "" : ", ", next->text);
  if (!ALLOT_SABOTAGED("engine_no_verdict")) context_.log.note(decision);
  RetryState& state = retries_[number];
  state.used[index] = decision.retry;
  state.not_before_ns = decision.not_before_ns;

  TaskCell& cell = board_.edit(step);
  if (next->resources != asked) board_.set_group(step, group_of(cell.group, next->resources));
  if (!has_started && cell.attempt > 0) --cell.attempt;
  cell.has_end = true;
  cell.exit_class = info.exit_class;
  context_.observer.failed(step, info, true);
  delay(number, decision.not_before_ns);
  return true;
}

// A rule would let it run again, and yet it does not: the reason is said, and recorded as the driver's verdict.
void BatchRun::end_for_good(std::uint64_t step, const ExitInfo& info, bool has_started, const std::string& reason) {
  context_.observer.notice(fmt::format("step {}: {}; it is not run again: {}", step, describe(info), reason));
  VerdictRecord verdict;
  verdict.key = {static_cast<std::uint32_t>(step), board_[step].submission, 0};
  verdict.started = has_started;
  verdict.exit_info = info;
  verdict.exit_info.text = "it is not run again: " + reason;
  verdict.at_ns = unix_nanoseconds();
  context_.log.note(verdict);
}

// The task has asked to be run again later: that takes of no budget and is no other attempt.
bool BatchRun::defer(std::uint64_t step, const ExitInfo& info, const DeferRule& rule, bool has_started) {
  const auto number = static_cast<std::uint32_t>(step);
  RetryRecord decision;
  decision.at_ns = unix_nanoseconds();
  const auto found = retries_.find(number);
  const std::int64_t first = found != retries_.end() && found->second.first_deferral_ns != 0
                                 ? found->second.first_deferral_ns
                                 : decision.at_ns;
  decision.not_before_ns = decision.at_ns + rule.delay.count() * 1'000'000;
  if (decision.not_before_ns - first > rule.longest.count() * 1'000'000) {
    end_for_good(step, info, has_started,
                 "it asks for another run later, and has done so for " + format_duration(rule.longest.count()));
    return false;
  }
  TaskCell& cell = board_.edit(step);
  decision.key = {number, cell.submission, 0};
  decision.because = info.exit_class;
  decision.retry = kRetryDeferred;
  decision.resources = plan_.groups[cell.group].resources;
  decision.reason = describe(info) + ": it asks for another run later";
  context_.log.note(decision);
  RetryState& state = retries_[number];
  state.first_deferral_ns = first;
  state.not_before_ns = decision.not_before_ns;
  if (cell.attempt > 0) --cell.attempt;
  cell.has_end = true;
  cell.exit_class = info.exit_class;
  delay(number, decision.not_before_ns);
  return true;
}

// Of what failed before this driver: while none was there to hear of it, or while one was being stopped. What has used
// up its budget has failed for good.
void BatchRun::decide_undecided() {
  for (const FailureNote& failure : undecided_) {
    if (!retry(failure.step, failure.exit_info, true)) {
      result_.highlights.add_failure(failure.step, failure.exit_info);
    }
  }
  undecided_.clear();
}

RetryRules BatchRun::own_rules(std::uint64_t step) {
  TaskTableReader* tasks = table();
  if (tasks == nullptr) return {};
  const auto row = tasks->row(step);
  if (!row) return {};  // damaged: its worker node has said so
  auto rules = parse_retry_rules((*row)->retry);
  return rules ? std::move(*rules) : RetryRules{};
}

UsageStats BatchRun::usage_of(std::uint64_t step) {
  const auto id = id_of(step);
  if (!id) return {};
  auto usage = context_.distributor.get_usage_stats({*id});
  const auto found = usage ? usage->find(*id) : std::map<std::string, UsageStats>::iterator{};
  return usage && found != usage->end() ? std::move(found->second) : UsageStats{};
}

std::uint32_t BatchRun::group_of(std::uint32_t like, const RequestedResources& resources) {
  GroupKey key = plan_.groups[like].key();
  key.resources = resources;
  return group_of(std::move(key));
}

std::uint32_t BatchRun::group_of(GroupKey key) {
  const auto [known, is_new] =
      more_groups_.try_emplace(std::move(key), static_cast<std::uint32_t>(plan_.groups.size()));
  if (is_new) plan_.groups.push_back(group_of_key(known->first));
  return known->second;
}

// What waits for no other task: at its time.
void BatchRun::let_start(std::uint32_t step) {
  const auto due = retries_.find(step);
  delay(step, due == retries_.end() ? 0 : due->second.not_before_ns);
}

void BatchRun::delay(std::uint32_t step, std::int64_t not_before_ns) {
  if (board_[step].is_held) return make_ready(step);
  const std::int64_t now = unix_nanoseconds();
  if (const std::int64_t begin = plan_.begin_of(step); begin > now) {
    board_.set_stage(step, TaskStage::delayed);
    // By the time of day, which a machine that slept, or whose clock was set, has to look at again.
    not_begun_[begin].push_back(step);
    return;
  }
  const std::int64_t left = not_before_ns - now;
  if (not_before_ns == 0 || left <= 0) return make_ready(step);
  board_.set_stage(step, TaskStage::delayed);
  delayed_.emplace(Clock::now() + std::chrono::nanoseconds(left), step);
}

void BatchRun::release_delayed() {
  while (!not_begun_.empty() && not_begun_.begin()->first <= unix_nanoseconds()) {
    const auto begun = not_begun_.extract(not_begun_.begin());
    for (const std::uint32_t step : begun.mapped()) let_start(step);
  }
  const auto now = Clock::now();
  while (!delayed_.empty() && delayed_.begin()->first <= now) {
    const std::uint32_t step = delayed_.begin()->second;
    delayed_.erase(delayed_.begin());
    make_ready(step);
  }
}

}  // namespace allot
