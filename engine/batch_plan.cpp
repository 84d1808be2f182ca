// SPDX-License-Identifier: MIT
#include "engine/batch_plan.h"

#include <algorithm>
#include <iterator>

#include <fmt/format.h>

#include "protocol/distributor_id.h"

namespace allot {

RequestedResources with_defaults(const RequestedResources& own, const RequestedResources& defaults) {
  RequestedResources merged = own;
  if (!merged.cores) merged.cores = defaults.cores;
  if (!merged.memory_bytes) merged.memory_bytes = defaults.memory_bytes;
  if (!merged.runtime_milliseconds) merged.runtime_milliseconds = defaults.runtime_milliseconds;
  if (!merged.gpus) merged.gpus = defaults.gpus;
  if (!merged.ranks) merged.ranks = defaults.ranks;
  if (!merged.nodes) merged.nodes = defaults.nodes;
  if (merged.queue.empty()) merged.queue = defaults.queue;
  if (merged.account.empty()) merged.account = defaults.account;
  if (merged.constraint.empty()) merged.constraint = defaults.constraint;
  merged.pass_through.insert(defaults.pass_through.begin(), defaults.pass_through.end());
  return merged;
}

void BatchPlan::add_begin(std::uint64_t first_step, std::uint64_t count, std::int64_t begin_ns) {
  if (begin_ns == 0) return;
  auto* const last = begins.empty() ? nullptr : &begins.back();
  if (last != nullptr && last->begin_ns == begin_ns && last->first_step + last->count == first_step) {
    last->count += count;
  } else {
    begins.push_back({first_step, count, begin_ns});
  }
}

std::int64_t BatchPlan::begin_of(std::uint64_t step) const {
  const auto behind = std::upper_bound(begins.begin(), begins.end(), step,
                                       [](std::uint64_t of, const PlannedBegin& one) { return of < one.first_step; });
  if (behind == begins.begin()) return 0;
  const PlannedBegin& last = *std::prev(behind);
  return step - last.first_step < last.count ? last.begin_ns : 0;
}

GroupKey group_key(const TaskSpec& task, const RequestedResources& defaults, std::int32_t priority,
                   std::map<std::string, std::uint32_t>& max_parallel) {
  // Both may be as large as they can be; more than that is as good as that.
  const std::int64_t sum = std::int64_t{task.priority} + priority;
  GroupKey key{with_defaults(task.resources, defaults),
               static_cast<std::int32_t>(std::clamp<std::int64_t>(sum, INT32_MIN, INT32_MAX)),
               {}};
  if (task.max_parallel > 0) {
    key.limited_name = task.name;
    // Where tasks of one name differ, the least counts.
    auto& most = max_parallel.try_emplace(task.name, task.max_parallel).first->second;
    most = std::min(most, task.max_parallel);
  }
  return key;
}

PlannedGroup group_of_key(const GroupKey& key) {
  return {key.resources, {}, key.priority, key.limited_name, key.round};
}

std::size_t PlanBuilder::group_of(GroupKey key) {
  const auto [found, is_new] = groups_.try_emplace(std::move(key), plan_.groups.size());
  if (is_new) plan_.groups.push_back(group_of_key(found->first));
  return found->second;
}

void PlanBuilder::add(std::uint64_t first_step, std::uint64_t count, const TaskSpec& task, std::uint32_t round) {
  GroupKey key = group_key(task, defaults_, priority_, plan_.max_parallel);
  key.round = round;
  plan_.groups[group_of(std::move(key))].steps.append_range(first_step, count);
  plan_.task_count = first_step + count;
  plan_.add_begin(first_step, count, task.begin_ns);
  for (const auto& dependency : task.after) {
    for (std::uint64_t i = 0; i < count; ++i) plan_.graph.add(static_cast<std::uint32_t>(first_step + i), dependency);
  }
}

void PlanBuilder::add_plain(std::uint64_t first_step, std::uint64_t count) {
  if (!plain_group_) plain_group_ = group_of(group_key({}, defaults_, priority_, plan_.max_parallel));
  plan_.groups[*plain_group_].steps.append_range(first_step, count);
  plan_.task_count = first_step + count;
}

BatchPlan PlanBuilder::finish(bool is_array) {
  plan_.is_array = is_array;
  plan_.graph.seal();
  groups_.clear();
  plain_group_.reset();
  return std::exchange(plan_, {});
}

Result<void> TaskCollector::check_room(std::uint64_t count) const {
  if (count <= kMaxArrayStep + 1 - table_.size()) return {};
  return fail(
      ErrorCode::fix_request,
      fmt::format("a batch may have {} tasks at most; split the input into several batches", kMaxArrayStep + 1));
}

Result<void> TaskCollector::add(const TaskSpec& task, std::uint64_t count) {
  if (auto room = check_room(count); !room) return room;
  Result<std::uint64_t> first;
  if (success_codes_.empty() && task.retry.empty()) {
    first = table_.append(task, count);
  } else {
    TaskSpec own = task;
    const auto rules = parse_retry_rules(task.retry);
    if (!rules) return fail(rules.error());
    own.success_codes = success_codes(merged(*rules, rules_));
    first = table_.append(own, count);
  }
  if (!first) return fail(std::move(first.error()));
  builder_.add(*first, count, task);
  return {};
}

Result<void> TaskCollector::add_shell_line(std::string_view line, std::uint64_t source_line) {
  if (!success_codes_.empty()) {
    TaskSpec task;
    task.shell_line = line;
    task.source_line = source_line;
    return add(task);
  }
  if (auto room = check_room(1); !room) return room;
  auto step = table_.append_shell_line(line, source_line);
  if (!step) return fail(std::move(step.error()));
  builder_.add_plain(*step, 1);
  return {};
}

Result<BatchPlan> TaskCollector::finish(bool is_array) {
  if (auto synced = table_.sync(); !synced) return fail(std::move(synced.error()));
  return builder_.finish(is_array);
}

}  // namespace allot
