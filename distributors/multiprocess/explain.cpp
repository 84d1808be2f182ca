// SPDX-License-Identifier: MIT
// Why a task waits, in a sentence that is true at the moment it is said.
#include "distributors/multiprocess/schedule.h"
#include "protocol/units.h"

namespace allot {
namespace {

std::string count_of(std::uint64_t count, const std::string& thing) {
  return std::to_string(count) + " " + thing + (count == 1 ? "" : "s");
}

}  // namespace

Result<std::map<std::string, std::string>> MultiprocessDistributor::explain_pending(
    const std::vector<std::string>& ids) {
  std::lock_guard lock(mutex_);
  std::map<std::string, std::string> reasons;
  std::optional<std::vector<Line>> lines;
  for (const std::string& id : ids) {
    const auto found = book_.find(id);
    if (!found || book_.entry(found->entry).cell(found->step).phase != TaskPhase::queued) continue;
    if (!lines) lines = waiting_lines();
    reasons.emplace(id, explain(*found, *lines));
  }
  return reasons;
}

// What of the cluster is too little for this shape now; empty: nothing.
std::string MultiprocessDistributor::shortage(const Shape& shape, const Pool* pool) const {
  if (reserved_cores_ + shape.cores > settings_.slots) {
    // Tasks that wait at worker nodes are booked beyond what there is.
    const std::uint64_t used = std::min<std::uint64_t>(reserved_cores_, settings_.slots);
    const std::uint64_t own = std::min(used, pool != nullptr ? pool->cores_handed() : 0);
    std::string text = count_of(shape.cores, "core") + ": of " + std::to_string(settings_.slots) + ", " +
                       std::to_string(used) + (used == 1 ? " is" : " are") + " in use";
    if (own < used) text += ", " + (own == 0 ? "all" : std::to_string(used - own)) + " by other batches";
    return text;
  }
  if (reserved_memory_ + shape.memory_bytes > settings_.memory_bytes) {
    return format_size(shape.memory_bytes) + " of memory: of " + format_size_exact(settings_.memory_bytes) + ", " +
           format_size_exact(reserved_memory_) + " are promised to tasks that run";
  }
  return {};
}

// `lines`: who waits now, with the first of each batch.
std::string MultiprocessDistributor::explain(RunBook::Found task, const std::vector<Line>& lines) const {
  const RunBook::Entry& entry = book_.entry(task.entry);
  const RunBook::Cell& cell = entry.cells[entry.index_of(task.step)];
  const auto found = std::find_if(pools_.begin(), pools_.end(), [&](const auto& p) { return p->batch == entry.batch; });
  const Pool* pool = found == pools_.end() ? nullptr : found->get();
  if (entry.is_left_by_stop) return kLeftByStop;
  if (!blocked_.empty()) return blocked_;
  if (life_ != Life::running) return "the distributor is stopped";
  if ((cell.flags & RunBook::kHeld) != 0) return "held; it waits for a release";
  if (pool != nullptr) {
    for (const auto& worker : pool->workers) {
      if (!worker->trouble.empty()) return worker->trouble;
    }
  }
  if ((cell.flags & RunBook::kHanded) != 0) return "a worker node has it and starts it in the next free slot";
  const std::int32_t priority = entry.submission.priority;
  const auto first = std::min_element(lines.begin(), lines.end(),
                                      [](const Line& one, const Line& other) { return one.goes_before(other); });
  if (first != lines.end() && first->pool->pending.priority() > priority) {
    return "tasks of priority " + std::to_string(first->pool->pending.priority()) + " start first; its own is " +
           std::to_string(priority);
  }
  if (const std::string text = shortage(shape_of(task.entry), pool); !text.empty()) return "waits for " + text;
  const auto own = std::find_if(lines.begin(), lines.end(), [&](const Line& line) { return line.pool == pool; });
  for (const auto& line : {own, first}) {
    if (line == lines.end() || (line->next.entry == task.entry && line->next.step == task.step)) continue;
    const std::string text = shortage(shape_of(line->next.entry), line->pool);
    const std::string who = line->pool == pool ? "the task before it" : "a task of another batch, whose turn it is,";
    if (!text.empty()) return who + " waits for " + text;
  }
  if (pool != nullptr && is_starting(*pool)) return "its worker node is being started";
  return "tasks that were submitted before it start first";
}

}  // namespace allot
