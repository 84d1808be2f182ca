// SPDX-License-Identifier: MIT
// Which task goes to which worker node, and how many ahead of time.
#include <algorithm>
#include <boost/asio/post.hpp>

#include "distributors/multiprocess/multiprocess_distributor.h"
#include "distributors/multiprocess/schedule.h"
#include "process/machine.h"
#include "worker_node/node_slot.h"

namespace allot {

namespace {
/// Tasks handed out beyond those that can run: as many as end in this time, so that no slot waits for the driver.
constexpr double kAheadSeconds = 0.1;
constexpr std::uint64_t kMostAhead = 2000;
/// Slots of all worker nodes, of which only as many run tasks as the cluster has: so many for each of those.
constexpr std::uint64_t kMostSlotsForEach = 8;
constexpr std::uint64_t kAlwaysAllowedSlots = 64;

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

bool MultiprocessDistributor::fits(const Shape& shape, const Shape& promised) const {
  return reserved_cores_ + promised.cores + shape.cores <= settings_.slots &&
         reserved_memory_ + promised.memory_bytes + shape.memory_bytes <= settings_.memory_bytes;
}

std::uint32_t MultiprocessDistributor::most_at_once(const Shape& shape) const {
  std::uint64_t most = settings_.slots / shape.cores;
  if (shape.memory_bytes > 0) most = std::min(most, settings_.memory_bytes / shape.memory_bytes);
  return static_cast<std::uint32_t>(std::max<std::uint64_t>(1, most));
}

// The task of a batch that is to start next; drops those that were ended or held meanwhile.
std::optional<RunBook::Found> MultiprocessDistributor::next_pending(Pool& pool) {
  for (; !pool.pending.empty(); pool.pending.pop_front()) {
    const RunBook::Found task = pool.pending.front();
    const RunBook::Cell& cell = book_.entry(task.entry).cell(task.step);
    constexpr auto kStays = RunBook::kHeld | RunBook::kTerminating | RunBook::kHanded;
    if (cell.phase == TaskPhase::queued && (cell.flags & kStays) == 0) return task;
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

// Batches take their turns task by task: by the priority of their next task, then those with the fewest cores in use,
// then those that had to wait longest. Whoever is first and does not fit is waited for, so that nobody starves.
void MultiprocessDistributor::pump() {
  if (life_ != Life::running || !blocked_.empty()) return;
  drop_idle_pools();
  std::vector<Line> lines = waiting_lines();
  const auto active = std::count_if(pools_.begin(), pools_.end(),
                                    [](const auto& pool) { return !pool->pending.empty() || pool->handed() > 0; });
  const std::uint64_t served_before = served_;
  if (active > 1) {
    for (auto& pool : pools_) recall_waiting(*pool);
  }
  start_first(lines, active <= 1);
  // What waits at a worker node behind a long task counts as handed out, and may be all that fits.
  for (auto& pool : pools_) {
    if (pool->last_served <= served_before || !pool->pending.empty()) rebalance(*pool);
  }
}

void MultiprocessDistributor::drop_idle_pools() {
  std::erase_if(pools_, [this](const auto& pool) {
    if (pool->unfinished > 0 || !pool->workers.empty()) return false;
    remove_unused_scratch(book_.batch(pool->batch).directory.info().batch_id, runtime_directory());
    return true;
  });
}

std::vector<MultiprocessDistributor::Line> MultiprocessDistributor::waiting_lines() {
  std::vector<Line> lines;
  for (auto& pool : pools_) {
    if (const auto next = next_pending(*pool)) lines.push_back({pool.get(), *next});
  }
  return lines;
}

void MultiprocessDistributor::start_first(std::vector<Line>& lines, bool alone) {
  Outgoing out;
  Shape promised{0, 0};
  while (!lines.empty() && blocked_.empty()) {
    const auto first = std::min_element(lines.begin(), lines.end(),
                                        [](const Line& one, const Line& other) { return one.goes_before(other); });
    const Handed handed = hand_next(*first, alone, out, promised);
    if (handed == Handed::no_room) break;
    std::optional<RunBook::Found> next;
    if (handed == Handed::yes) next = next_pending(*first->pool);
    // A slot is kept for each task that it can use one for.
    const bool wants_more = first->pool->unfinished > first->pool->handed() + first->promises;
    if (handed == Handed::starting && wants_more) next = first->next;
    if (next) {
      first->next = *next;
    } else {
      lines.erase(first);
    }
  }
  send(out);
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

// The worker node with the most room, by its share of what may run; null: none has any.
WorkerLink* MultiprocessDistributor::roomiest(Pool& pool, std::uint32_t at_once, std::uint64_t ahead) const {
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
  return best;
}

MultiprocessDistributor::Handed MultiprocessDistributor::hand_next(Line& line, bool alone, Outgoing& out,
                                                                   Shape& promised) {
  Pool& pool = *line.pool;
  const Shape shape = shape_of(line.next.entry);
  const std::int32_t priority = pool.pending.priority();
  // With one shape only, tasks may wait at the worker nodes: each takes the place of one like it.
  const bool uniform =
      alone && (handed_shapes_.empty() || (handed_shapes_.size() == 1 && handed_shapes_.begin()->first == shape));
  std::uint64_t ahead = 0;
  std::uint32_t at_once = settings_.slots;
  if (priority > pool.lowest_ahead) recall_waiting(pool);
  if (uniform) {
    at_once = most_at_once(shape);
    ahead = std::min<std::uint64_t>(kMostAhead, static_cast<std::uint64_t>(pool.ends_per_second * kAheadSeconds));
  } else if (!fits(shape, promised)) {
    return Handed::no_room;
  }
  if (!line.is_prepared) {
    line.is_prepared = true;
    retire_idle_pools(pool);
    if (auto ready = ensure_workers(pool); !ready && pool.workers.empty()) {
      give_up(pool, ready.error().message);
      return Handed::unable;
    }
  }
  share_out(pool, at_once);
  WorkerLink* best = roomiest(pool, at_once, ahead);
  if (best == nullptr) {
    if (alone || !is_starting(pool)) return Handed::unable;
    promised.cores += shape.cores;
    promised.memory_bytes += shape.memory_bytes;
    line.promised_cores += shape.cores;
    ++line.promises;
    return Handed::starting;
  }
  if (best->handed.size() >= best->limit) pool.lowest_ahead = std::min(pool.lowest_ahead, priority);
  hand(*best, line.next);
  out.add(best, line.next);
  pool.pending.pop_front();
  pool.last_served = ++served_;
  return Handed::yes;
}

void MultiprocessDistributor::send(const Outgoing& out) {
  for (const auto& [worker, batches] : out.batches) {
    for (const auto& batch : batches) {
      const Submission& submission = book_.entry(batch.entry).submission;
      if (worker->told.insert(batch.entry).second) {
        wire::SubmissionInfo info;
        info.number = submission.number;
        info.id_base = book_.entry(batch.entry).ids.base;
        info.is_array = submission.is_array;
        info.step_origin = submission.step_origin;
        info.attempt = submission.attempt;
        info.round = submission.round;
        info.cores = cores_of(submission.resources);
        info.memory_limit_bytes = submission.resources.memory_bytes.value_or(0);
        info.runtime_limit_milliseconds = submission.resources.runtime_milliseconds.value_or(0);
        worker->channel->send(info);
      }
      worker->channel->send(wire::Hand{submission.number, batch.steps.ranges()});
    }
  }
}

// Somebody else is to have the slots for which tasks wait at the worker nodes of this batch: they come back.
void MultiprocessDistributor::recall_waiting(Pool& pool) {
  pool.lowest_ahead = std::numeric_limits<std::int32_t>::max();
  for (const auto& worker : pool.workers) {
    if (!takes_tasks(*worker) || worker->is_recalled || worker->handed.size() <= worker->limit) continue;
    worker->is_recalled = true;
    worker->channel->send(wire::Recall{});
  }
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

// Any thread, with the lock held.
void MultiprocessDistributor::ask_to_leave(Pool& pool) {
  for (auto& worker : pool.workers) {
    if (worker->leaving || worker->dead || !worker->handed.empty()) continue;
    worker->leaving = true;
    boost::asio::post(io_, [worker] { worker->channel->send(wire::Leave{-1}); });
  }
}

// Worker nodes of batches with nothing left to do leave when another batch needs some. Of the others those leave that
// have had nothing to do for longest, if there are too many: their number is bounded, however many batches there are.
void MultiprocessDistributor::retire_idle_pools(const Pool& except) {
  std::uint64_t slots = 0;
  std::vector<std::pair<Pool*, std::uint64_t>> idle;  // with their slots
  for (auto& pool : pools_) {
    if (pool.get() != &except && pool->unfinished == 0) ask_to_leave(*pool);
    std::uint64_t own = 0;
    bool is_idle = pool.get() != &except;
    for (const auto& worker : pool->workers) {
      if (worker->leaving || worker->dead) continue;
      own += worker->slot_count;
      is_idle = is_idle && worker->welcome && worker->handed.empty();
    }
    slots += own;
    if (is_idle && own > 0) idle.emplace_back(pool.get(), own);
  }
  const std::uint64_t most = std::max(kAlwaysAllowedSlots, kMostSlotsForEach * settings_.slots);
  if (slots < most) return;
  std::sort(idle.begin(), idle.end(),
            [](const auto& one, const auto& other) { return one.first->last_served < other.first->last_served; });
  for (const auto& [pool, own] : idle) {
    ask_to_leave(*pool);
    slots -= own;
    if (slots < most) return;
  }
}

}  // namespace allot
