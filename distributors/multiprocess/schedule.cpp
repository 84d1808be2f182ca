// SPDX-License-Identifier: MIT
// Which task goes to which worker node, and how many ahead of time.
#include <algorithm>
#include <boost/asio/post.hpp>

#include "distributors/multiprocess/multiprocess_distributor.h"
#include "distributors/multiprocess/pool.h"

namespace allot {

namespace {
/// Tasks handed out beyond those that can run: as many as end in this time, so that no slot waits for the driver.
constexpr double kAheadSeconds = 0.1;
constexpr std::uint64_t kMostAhead = 2000;

std::uint32_t most_there(const WorkerLink& worker) {
  return worker.slot_count - worker.broken_slots;
}

bool takes_tasks(const WorkerLink& worker) {
  return worker.welcome && !worker.dead && !worker.leaving;
}
}  // namespace

MultiprocessDistributor::Shape MultiprocessDistributor::shape_of(std::uint32_t entry) const {
  const RequestedResources& resources = book_.entry(entry).submission.resources;
  return {cores_of(resources), resources.memory_bytes.value_or(0)};
}

bool MultiprocessDistributor::fits(const Shape& shape) const {
  return reserved_cores_ + shape.cores <= settings_.slots &&
         reserved_memory_ + shape.memory_bytes <= settings_.memory_bytes;
}

std::uint32_t MultiprocessDistributor::most_at_once(const Shape& shape) const {
  std::uint64_t most = settings_.slots / shape.cores;
  if (shape.memory_bytes > 0) most = std::min(most, settings_.memory_bytes / shape.memory_bytes);
  return static_cast<std::uint32_t>(std::max<std::uint64_t>(1, most));
}

// The oldest task that waits and may start; drops those that were ended or held meanwhile.
std::optional<RunBook::Found> MultiprocessDistributor::next_pending(Pool& pool) {
  while (!pool.pending.empty()) {
    PendingRange& range = pool.pending.front();
    if (range.count == 0) {
      pool.pending.pop_front();
      continue;
    }
    const RunBook::Cell& cell = book_.entry(range.entry).cell(range.first);
    const std::uint64_t key = task_key({range.entry, range.first});
    const bool is_out = std::any_of(pool.workers.begin(), pool.workers.end(),
                                    [key](const auto& worker) { return worker->handed.count(key) != 0; });
    if (!is_out && cell.phase == TaskPhase::queued && (cell.flags & (RunBook::kHeld | RunBook::kTerminating)) == 0) {
      return RunBook::Found{range.entry, range.first};
    }
    ++range.first;
    --range.count;
  }
  return std::nullopt;
}

void MultiprocessDistributor::schedule_pump() {
  boost::asio::post(io_, [this] {
    std::lock_guard lock(mutex_);
    pump();
    changed_.notify_all();
  });
}

void MultiprocessDistributor::pump() {
  if (life_ != Life::running || !blocked_.empty()) return;
  std::size_t active = 0;
  for (const auto& pool : pools_) active += pool->handed() > 0 || !pool->pending.empty() ? 1 : 0;
  for (auto& pool : pools_) pump_pool(*pool, active <= 1);
}

// How many may run at each worker node, `at_once` in all. What may run there already keeps its place: a limit below it
// would end nothing, and its place would be given twice.
void MultiprocessDistributor::share_out(Pool& pool, std::uint32_t at_once) {
  const auto busy_there = [](const WorkerLink& worker) {
    return std::min({worker.limit, most_there(worker), static_cast<std::uint32_t>(worker.handed.size())});
  };
  std::uint32_t left = at_once;
  for (const auto& worker : pool.workers) {
    if (takes_tasks(*worker)) left -= std::min(left, busy_there(*worker));
  }
  for (const auto& worker : pool.workers) {
    if (!takes_tasks(*worker)) continue;
    const std::uint32_t busy = busy_there(*worker);
    const std::uint32_t more = std::min(most_there(*worker) - busy, left);
    left -= more;
    if (worker->limit == busy + more) continue;
    worker->limit = busy + more;
    worker->channel->send(wire::Limit{worker->limit});
  }
}

void MultiprocessDistributor::pump_pool(Pool& pool, bool alone) {
  auto next = next_pending(pool);
  if (!next) {
    rebalance(pool);
    return;
  }
  retire_idle_pools(pool.batch);
  if (auto ready = ensure_workers(pool); !ready) {
    if (pool.workers.empty()) {
      set_blocked(ready.error().message);
      return;
    }
  }
  struct Batch {
    std::uint32_t entry = 0;
    StepRanges steps;
  };
  std::map<WorkerLink*, std::vector<Batch>> out;
  for (; next; next = next_pending(pool)) {
    const Shape shape = shape_of(next->entry);
    // With one shape only, tasks may wait at the worker nodes: each takes the place of one like it.
    const bool uniform =
        alone && (handed_shapes_.empty() || (handed_shapes_.size() == 1 && handed_shapes_.begin()->first == shape));
    std::uint64_t ahead = 0;
    std::uint32_t at_once = settings_.slots;
    if (uniform) {
      at_once = most_at_once(shape);
      ahead = std::min<std::uint64_t>(kMostAhead, static_cast<std::uint64_t>(pool.ends_per_second * kAheadSeconds));
    } else if (!fits(shape)) {
      break;
    }
    share_out(pool, at_once);
    // The worker node with the most room, by its share of what may run.
    WorkerLink* best = nullptr;
    double best_load = 0;
    for (const auto& worker : pool.workers) {
      if (!takes_tasks(*worker)) continue;
      const std::uint32_t share = worker->limit;
      if (share == 0) continue;
      const double load = static_cast<double>(worker->handed.size()) / share;
      // No more than its share, also while the others are not ready yet: what waits here is theirs to take then.
      // And nothing ahead where not all slots may run: a slot that ran before the limit sank goes on beside the others.
      const bool all_may_run = share == most_there(*worker);
      const std::uint64_t waiting = all_may_run ? (ahead * share + at_once - 1) / at_once : 0;
      if (worker->handed.size() >= share + waiting) continue;
      if (best == nullptr || load < best_load) {
        best = worker.get();
        best_load = load;
      }
    }
    if (best == nullptr) break;
    best->handed.insert(task_key(*next));
    ++handed_shapes_[shape];
    reserved_cores_ += shape.cores;
    reserved_memory_ += shape.memory_bytes;
    auto& batches = out[best];
    if (batches.empty() || batches.back().entry != next->entry ||
        (!batches.back().steps.empty() && batches.back().steps.back() >= next->step)) {
      batches.push_back({next->entry, {}});
    }
    batches.back().steps.append(next->step);
    PendingRange& range = pool.pending.front();
    ++range.first;
    --range.count;
  }
  for (auto& [worker, batches] : out) {
    for (const Batch& batch : batches) {
      const Submission& submission = book_.entry(batch.entry).submission;
      if (worker->told.insert(batch.entry).second) {
        wire::SubmissionInfo info;
        info.number = submission.number;
        info.id_base = book_.entry(batch.entry).ids.base;
        info.is_array = submission.is_array;
        info.step_origin = submission.step_origin;
        info.attempt = submission.attempt;
        info.cores = cores_of(submission.resources);
        info.memory_limit_bytes = submission.resources.memory_bytes.value_or(0);
        info.runtime_limit_milliseconds = submission.resources.runtime_milliseconds.value_or(0);
        worker->channel->send(info);
      }
      worker->channel->send(wire::Hand{submission.number, batch.steps.ranges()});
    }
  }
  // What waits at a worker node behind a long task counts as handed out, and may be all that fits.
  if (next) rebalance(pool);
}

// No more can be handed out, but one worker node idles while tasks queue at another: they come back and go to the idle
// one.
void MultiprocessDistributor::rebalance(Pool& pool) {
  if (pool.workers.size() < 2) return;
  const auto idle = [](const auto& worker) { return takes_tasks(*worker) && worker->handed.size() < worker->limit; };
  if (std::none_of(pool.workers.begin(), pool.workers.end(), idle)) return;
  for (auto& worker : pool.workers) {
    if (worker->welcome && !worker->dead && worker->handed.size() > worker->limit)
      worker->channel->send(wire::Recall{});
  }
}

// Worker nodes of batches with nothing left to do leave when another batch needs some: their number stays bounded.
void MultiprocessDistributor::retire_idle_pools(std::uint32_t except) {
  for (auto& pool : pools_) {
    if (pool->batch == except || pool->unfinished > 0) continue;
    for (auto& worker : pool->workers) {
      if (worker->leaving || worker->dead || !worker->handed.empty()) continue;
      worker->leaving = true;
      worker->channel->send(wire::Leave{-1});
    }
  }
}

}  // namespace allot
