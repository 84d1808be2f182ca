// SPDX-License-Identifier: MIT
#include "engine/ready_queue.h"

#include <algorithm>

#include "engine/array_split.h"

namespace allot {

void ReadyQueue::push(std::int32_t priority, ReadyWork work) {
  if (!work.steps.empty()) work_[priority].push_back(std::move(work));
}

void ReadyQueue::push_front(std::int32_t priority, ReadyWork work) {
  if (!work.steps.empty()) work_[priority].push_front(std::move(work));
}

void ReadyQueue::push(std::int32_t priority, std::uint32_t group, std::uint16_t attempt, std::uint32_t step) {
  fresh_[{priority, group, attempt}].push_back(step);
}

void ReadyQueue::gather() {
  for (auto& [key, steps] : fresh_) {
    std::sort(steps.begin(), steps.end());
    steps.erase(std::unique(steps.begin(), steps.end()), steps.end());
    ReadyWork work{key.group, key.attempt, {}};
    for (const std::uint32_t step : steps) work.steps.append(step);
    push(key.priority, std::move(work));
  }
  fresh_.clear();
}

std::optional<ReadyWork> ReadyQueue::next(const std::function<std::uint64_t(std::uint32_t)>& room) {
  gather();
  for (auto level = work_.begin(); level != work_.end(); ++level) {
    auto& queue = level->second;
    for (auto work = queue.begin(); work != queue.end(); ++work) {
      const std::uint64_t most = room(work->group);
      if (most == 0) continue;
      ReadyWork taken{work->group, work->attempt, take_front(work->steps, most)};
      if (work->steps.empty()) queue.erase(work);
      if (queue.empty()) work_.erase(level);
      return taken;
    }
  }
  return std::nullopt;
}

void ReadyQueue::keep_if(const std::function<bool(std::uint64_t)>& is_ready) {
  gather();
  for (auto level = work_.begin(); level != work_.end();) {
    for (ReadyWork& work : level->second) {
      StepRanges left;
      work.steps.for_each([&](std::uint64_t step) {
        if (is_ready(step)) left.append(step);
      });
      work.steps = std::move(left);
    }
    std::erase_if(level->second, [](const ReadyWork& work) { return work.steps.empty(); });
    level = level->second.empty() ? work_.erase(level) : std::next(level);
  }
}

}  // namespace allot
