// SPDX-License-Identifier: MIT
// What a batch is to run: its steps by equal resources, and who waits for whom. Without the commands: they are in the
// task table.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/dependency_graph.h"
#include "engine/retry_policy.h"
#include "ledger/task_table.h"
#include "protocol/resources.h"
#include "protocol/result.h"
#include "protocol/step_ranges.h"

namespace allot {

/// What makes tasks alike, so that they may be submitted as one array.
struct GroupKey {
  RequestedResources resources;  ///< with the batch's defaults filled in
  std::int32_t priority = 0;
  std::string limited_name;  ///< of tasks with a max_parallel
  std::uint32_t round = 0;   ///< Submission::round
  friend auto operator<=>(const GroupKey&, const GroupKey&) = default;
};

struct PlannedGroup {
  RequestedResources resources;
  StepRanges steps;
  std::int32_t priority = 0;
  std::string limited_name;
  std::uint32_t round = 0;

  GroupKey key() const { return {resources, priority, limited_name, round}; }
};

/// Steps in a row that do not start before a time.
struct PlannedBegin {
  std::uint64_t first_step = 0;
  std::uint64_t count = 0;
  std::int64_t begin_ns = 0;  ///< Unix time
};

struct BatchPlan {
  std::uint64_t task_count = 0;
  bool is_array = true;  ///< false: one task that is no array element
  std::vector<PlannedGroup> groups;
  DependencyGraph graph;                              ///< sealed
  std::map<std::string, std::uint32_t> max_parallel;  ///< by name: tasks queued or running at once
  std::vector<PlannedBegin> begins;                   ///< of the tasks that have one, ascending

  /// Unix time before which the step does not start; 0: it has none.
  std::int64_t begin_of(std::uint64_t step) const;
  /// Of steps behind those that it has; 0: none.
  void add_begin(std::uint64_t first_step, std::uint64_t count, std::int64_t begin_ns);
};

/// `own` where it states something, else `defaults`; pass-through options are joined, own first.
RequestedResources with_defaults(const RequestedResources& own, const RequestedResources& defaults);

/// Where a task of a batch with that priority belongs; its max_parallel goes into `max_parallel`.
GroupKey group_key(const TaskSpec& task, const RequestedResources& defaults, std::int32_t priority,
                   std::map<std::string, std::uint32_t>& max_parallel);
PlannedGroup group_of_key(const GroupKey& key);

/// Sorts steps into groups as they come, ascending. Not thread-safe.
class PlanBuilder {
 public:
  /// `priority`: the batch's, which is added to that of each task.
  explicit PlanBuilder(RequestedResources defaults, std::int32_t priority = 0)
      : defaults_(std::move(defaults)), priority_(priority) {}

  void add(std::uint64_t first_step, std::uint64_t count, const TaskSpec& task, std::uint32_t round = 0);
  /// For steps that state no resources and wait for nothing.
  void add_plain(std::uint64_t first_step, std::uint64_t count);
  void add_dependency(std::uint32_t dependent, const Dependency& on) { plan_.graph.add_late(dependent, on); }

  /// Leaves the builder empty.
  BatchPlan finish(bool is_array);

 private:
  std::size_t group_of(GroupKey key);

  RequestedResources defaults_;
  std::int32_t priority_;
  BatchPlan plan_;
  std::map<GroupKey, std::size_t> groups_;
  std::optional<std::size_t> plain_group_;
};

/// Appends tasks to the table and plans them at once. Refuses more tasks than an array may have steps.
class TaskCollector {
 public:
  /// `rules`: the batch's own; what they say of exit codes that mean success goes into every row. `priority`: as of a
  /// PlanBuilder.
  TaskCollector(TaskTableWriter table, RequestedResources defaults, RetryRules rules = {}, std::int32_t priority = 0)
      : table_(std::move(table)),
        builder_(std::move(defaults), priority),
        rules_(std::move(rules)),
        success_codes_(allot::success_codes(rules_)) {}

  /// Errors as TaskTableWriter::append, and fix_request beyond kMaxArrayStep + 1 tasks.
  Result<void> add(const TaskSpec& task, std::uint64_t count = 1);
  Result<void> add_shell_line(std::string_view line, std::uint64_t source_line);

  std::uint64_t size() const { return table_.size(); }
  /// Makes the rows durable and gives the plan out. Once.
  Result<BatchPlan> finish(bool is_array);

 private:
  Result<void> check_room(std::uint64_t count) const;

  TaskTableWriter table_;
  PlanBuilder builder_;
  RetryRules rules_;
  std::string success_codes_;
};

}  // namespace allot
