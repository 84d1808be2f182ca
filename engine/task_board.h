// SPDX-License-Identifier: MIT
// What the driver knows of every task of its batch: 16 bytes each, and how many there are of each kind.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "protocol/exit_info.h"

namespace allot {

enum class TaskStage : std::uint8_t {
  waiting,  ///< for the end of other tasks
  ready,    ///< may be submitted
  queued,   ///< submitted (or about to be: its intent is recorded)
  running,
  done,
  failed,     ///< ended otherwise, for good
  abandoned,  ///< will not run because of another task
  unknown,    ///< submitted by an earlier driver; what became of it could not be found out
  delayed,    ///< to run again, or for the first time, later
  held,       ///< would be ready, but for a hold
};
inline constexpr std::size_t kTaskStageCount = 10;

inline bool is_under_way(TaskStage stage) {
  return stage == TaskStage::queued || stage == TaskStage::running;
}
inline bool has_ended(TaskStage stage) {
  return stage == TaskStage::done || stage == TaskStage::failed || stage == TaskStage::abandoned;
}

struct TaskCell {
  std::uint32_t submission = 0;  ///< number of the newest one; 0: none
  std::uint32_t group = 0;       ///< index into BatchPlan::groups
  std::uint16_t attempt = 0;     ///< of the newest submission; 0: none
  TaskStage stage = TaskStage::waiting;
  ExitClass exit_class = ExitClass::lost;  ///< with done, failed and has_end
  bool was_abandoned : 1 = false;          ///< the ledger has it as abandoned already
  bool is_tried : 1 = false;               ///< termination has been asked for
  bool is_cancelled : 1 = false;           ///< by the user: to be ended, not to run again
  bool is_held : 1 = false;                ///< not to start until released
  bool has_end : 1 = false;                ///< a run has ended, by exit_class, and another one is to follow
  bool is_left_out : 1 = false;            ///< this driver is not to run it
};
static_assert(sizeof(TaskCell) <= 16);

/// Not thread-safe.
class TaskBoard {
 public:
  explicit TaskBoard(std::uint64_t count) : cells_(count) { counts_[0] = count; }

  std::uint64_t size() const { return cells_.size(); }
  const TaskCell& operator[](std::uint64_t step) const { return cells_[step]; }
  /// For everything but stage, group and, of what has ended, exit_class.
  TaskCell& edit(std::uint64_t step) { return cells_[step]; }

  void set_stage(std::uint64_t step, TaskStage stage) {
    TaskCell& cell = cells_[step];
    forget_end(cell);
    --counts_[index(cell.stage)];
    ++counts_[index(stage)];
    if (is_under_way(cell.stage) != is_under_way(stage)) {
      std::uint64_t& under_way = under_way_of(cell.group);
      is_under_way(stage) ? ++under_way : --under_way;
    }
    cell.stage = stage;
  }
  /// The task's final end: done, or failed.
  void set_end(std::uint64_t step, ExitClass exit_class) {
    set_stage(step, exit_class == ExitClass::done ? TaskStage::done : TaskStage::failed);
    cells_[step].exit_class = exit_class;
    ++by_class_[static_cast<std::size_t>(exit_class)];
  }

  /// New tasks are waiting.
  void grow(std::uint64_t size) {
    counts_[index(TaskStage::waiting)] += size - cells_.size();
    cells_.resize(size);
  }

  void set_group(std::uint64_t step, std::uint32_t group) {
    TaskCell& cell = cells_[step];
    if (is_under_way(cell.stage)) --under_way_[cell.group];
    cell.group = group;
    if (is_under_way(cell.stage)) ++under_way_of(group);
  }
  /// Of a group's tasks, how many are queued or running.
  std::uint64_t under_way(std::uint32_t group) const {
    return group < under_way_.size() ? under_way_[group] : std::uint64_t{0};
  }

  std::uint64_t count(TaskStage stage) const { return counts_[index(stage)]; }
  /// Ends by class.
  const std::array<std::uint64_t, kExitClassCount>& by_class() const { return by_class_; }

 private:
  std::uint64_t& under_way_of(std::uint32_t group) {
    if (group >= under_way_.size()) under_way_.resize(group + std::size_t{1});
    return under_way_[group];
  }
  static std::size_t index(TaskStage stage) { return static_cast<std::size_t>(stage); }
  void forget_end(const TaskCell& cell) {
    if (cell.stage == TaskStage::done || cell.stage == TaskStage::failed) {
      --by_class_[static_cast<std::size_t>(cell.exit_class)];
    }
  }

  std::vector<TaskCell> cells_;
  std::array<std::uint64_t, kTaskStageCount> counts_{};
  std::vector<std::uint64_t> under_way_;  // by group
  std::array<std::uint64_t, kExitClassCount> by_class_{};
};

}  // namespace allot
