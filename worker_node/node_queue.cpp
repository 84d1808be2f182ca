// SPDX-License-Identifier: MIT
// The worker node's side of the shared queue: steps are published to the guards, taken back, stopped, and freed when
// their end has been told.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <cstring>

#include "worker_node/worker_node_impl.h"

namespace allot {

namespace asio = boost::asio;

void WorkerNode::Impl::hand(const wire::Hand& hand) {
  const bool known = submissions_.count(hand.submission) != 0;
  std::vector<std::uint32_t> refused;
  for (const StepRange& range : hand.steps) {
    for (std::uint64_t i = 0; i < range.count; ++i) {
      const auto step = static_cast<std::uint32_t>(range.first + i);
      if (known && !leaving_) {
        backlog_.push_back({step, hand.submission});
      } else {
        refused.push_back(step);
      }
    }
  }
  give_back(hand.submission, std::move(refused), wire::Returned::Reason::recalled);
  publish();
}

void WorkerNode::Impl::publish() {
  std::uint64_t tail = queue_->tail.load();
  const std::uint64_t before = tail;
  while (!backlog_.empty() && live_.size() < kQueueCapacity) {
    // Past what is still in use: one long task must not hold up what comes after it. Guards step over it, too.
    while (in_use_.test(tail % kQueueCapacity)) ++tail;
    const Waiting next = backlog_.front();
    backlog_.pop_front();
    const wire::SubmissionInfo& info = submissions_[next.submission];
    QueueEntry& entry = queue_->entries[tail % kQueueCapacity];
    entry.step = next.step;
    entry.submission = next.submission;
    entry.attempt = info.attempt;
    entry.round = info.round;
    entry.restart = 0;
    entry.is_array = info.is_array;
    entry.cores = info.cores;
    entry.step_origin = info.step_origin;
    entry.memory_limit_bytes = info.memory_limit_bytes;
    entry.runtime_limit_milliseconds = info.runtime_limit_milliseconds;
    std::memset(entry.id_base, 0, sizeof entry.id_base);
    std::memcpy(entry.id_base, info.id_base.data(), std::min(info.id_base.size(), sizeof entry.id_base));
    const auto index = static_cast<std::uint32_t>(tail % kQueueCapacity);
    live_.push_back(index);
    in_use_.set(index);
    entry.state.store(kEntryQueued);
    queue_->tail.store(++tail);
  }
  if (tail != before) poke_sleepers();
}

void WorkerNode::Impl::poke(NodeSlot& slot) {
  const std::uint64_t one = 1;
  if (slot.poke)
    while (::write(slot.poke.get(), &one, sizeof one) < 0 && errno == EINTR) {
    }
}

void WorkerNode::Impl::poke_sleepers() {
  std::uint64_t open = queue_->tail.load() - std::min(queue_->head.load(), queue_->tail.load());
  for (NodeSlot& slot : slots_) {
    if (open == 0) return;
    if (slot.index >= queue_->limit.load()) return;
    if (slot.guard_pid == 0) continue;  // nobody is there to be woken; one that starts looks by itself
    if (queue_->slots[slot.index].out_of_space.load() != 0) continue;  // the space timer pokes it
    if (queue_->slots[slot.index].sleeping.exchange(0) != 0) {
      poke(slot);
      --open;
    }
  }
}

void WorkerNode::Impl::set_limit(std::uint32_t slots) {
  wanted_limit_ = slots;
  // Guards compare their slot's number: slots that are given up must not count.
  std::uint32_t limit = 0;
  for (std::uint32_t usable = 0; limit < options_.slots && usable < slots; ++limit) {
    if (!slots_[limit].broken) ++usable;
  }
  queue_->limit.store(limit);
  poke_sleepers();
}

namespace {
bool wanted(std::uint32_t submission, std::uint64_t step, std::uint32_t of, const std::vector<StepRange>& ranges) {
  if (submission != of) return false;
  return std::any_of(ranges.begin(), ranges.end(),
                     [step](const StepRange& r) { return step >= r.first && step - r.first < r.count; });
}
}  // namespace

void WorkerNode::Impl::recall(const wire::Recall& request) {
  const auto match = [&](std::uint32_t submission, std::uint32_t step) {
    return request.steps.empty() || wanted(submission, step, request.submission, request.steps);
  };
  std::map<std::uint32_t, std::vector<std::uint32_t>> back;
  for (const std::uint32_t index : live_) {
    QueueEntry& entry = queue_->entries[index];
    std::uint32_t expected = kEntryQueued;
    if (entry_kind(entry.state.load()) != kEntryQueued || !match(entry.submission, entry.step)) continue;
    if (entry.state.compare_exchange_strong(expected, kEntryRecalled)) back[entry.submission].push_back(entry.step);
  }
  std::deque<Waiting> kept;
  for (const Waiting& waiting : backlog_) {
    if (match(waiting.submission, waiting.step)) {
      back[waiting.submission].push_back(waiting.step);
    } else {
      kept.push_back(waiting);
    }
  }
  backlog_.swap(kept);
  for (auto& [submission, steps] : back) give_back(submission, std::move(steps), wire::Returned::Reason::recalled);
  collect();
}

void WorkerNode::Impl::terminate(const wire::Terminate& request) {
  recall({request.submission, request.steps});
  if (request.steps.empty()) return;
  for (const std::uint32_t index : live_) {
    QueueEntry& entry = queue_->entries[index];
    const std::uint32_t state = entry.state.load();
    if (entry_kind(state) != kEntryClaimed ||
        !wanted(entry.submission, entry.step, request.submission, request.steps)) {
      continue;
    }
    NodeSlot& slot = slots_[entry_slot(state)];
    SlotLine& line = queue_->slots[slot.index];
    line.stop_grace_milliseconds.store(request.grace_milliseconds);
    line.stop_reason.store(static_cast<std::uint32_t>(request.reason));
    line.stop_position.store(index + 1ull);
    poke(slot);
    if (slot.guard_pid != 0) ::kill(slot.guard_pid, SIGCONT);  // its task may have stopped it
  }
}

// An entry that was claimed and has not begun. One that is to be ended meanwhile goes back to the driver, which knows
// of that; and the request must not meet the next entry in its place.
void WorkerNode::Impl::put_back(NodeSlot& slot, std::uint32_t index) {
  QueueEntry& entry = queue_->entries[index];
  std::uint64_t expected = index + 1ull;
  const bool is_to_end = queue_->slots[slot.index].stop_position.compare_exchange_strong(expected, 0);
  entry.state.store(kEntryFree);
  if (leaving_ || is_to_end) {
    give_back(entry.submission, {entry.step}, wire::Returned::Reason::slot_lost);
  } else {
    backlog_.push_front({entry.step, entry.submission});
  }
}

void WorkerNode::Impl::give_back(std::uint32_t submission, std::vector<std::uint32_t> steps,
                                 wire::Returned::Reason reason) {
  if (steps.empty()) return;
  std::sort(steps.begin(), steps.end());
  StepRanges ranges;
  for (std::uint32_t step : steps) ranges.append(step);
  auto self = shared_from_this();
  asio::post(io_, [self, message = wire::Returned{reason, submission, ranges.ranges()}] {
    if (!self->abandoned_) self->handler_.returned(message);
  });
}

void WorkerNode::Impl::notify(wire::Notice::Kind kind, std::string text) {
  auto self = shared_from_this();
  asio::post(io_, [self, message = wire::Notice{kind, std::move(text)}] {
    if (!self->abandoned_) self->handler_.notice(message);
  });
}

std::vector<RunKey> WorkerNode::Impl::running() const {
  std::vector<RunKey> keys;
  if (queue_ == nullptr) return keys;
  for (const std::uint32_t index : live_) {
    const QueueEntry& entry = queue_->entries[index];
    const std::uint32_t kind = entry_kind(entry.state.load());
    if (kind == kEntryClaimed || kind == kEntryFinished) keys.push_back({entry.step, entry.submission, entry.restart});
  }
  return keys;
}

std::uint64_t WorkerNode::Impl::waiting() const {
  std::uint64_t count = backlog_.size();
  for (const std::uint32_t index : live_) {
    if (entry_kind(queue_->entries[index].state.load()) == kEntryQueued) ++count;
  }
  return count;
}

// Takes note of entries whose end is written, puts back those that found no room, frees those taken back.
void WorkerNode::Impl::collect() {
  for (const std::uint32_t index : live_) {
    QueueEntry& entry = queue_->entries[index];
    switch (entry_kind(entry.state.load())) {
      case kEntryFinished:
        // During a commit it is not known which ends it takes along.
        if (!committing_ && !has_ended_.test(index)) {
          ended_.push_back(index);
          has_ended_.set(index);
        }
        break;
      case kEntryReturned:
        put_back(slots_[entry_slot(entry.state.load())], index);
        if (!short_of_space_) {
          short_of_space_ = true;
          notify(wire::Notice::Kind::out_of_space, "no room for records in " + batch_.path() +
                                                       ": nothing more is started until there is (each slot keeps " +
                                                       "256K for records and wants 1M for output)");
        }
        break;
      case kEntryRecalled:
        entry.state.store(kEntryFree);
        break;
      default:
        break;
    }
  }
  live_.erase(std::remove_if(live_.begin(), live_.end(),
                             [this](std::uint32_t index) {
                               const bool is_free = entry_kind(queue_->entries[index].state.load()) == kEntryFree;
                               if (is_free) in_use_.reset(index);
                               return is_free;
                             }),
              live_.end());
}

// A guard tells what it did, then sets the entry's state, then wakes the node if that sleeps. A commit between the two
// saw the entry as it was, and the guard saw a node that was awake.
bool WorkerNode::Impl::has_settled_entries() const {
  return std::any_of(live_.begin(), live_.end(), [this](std::uint32_t index) {
    const std::uint32_t kind = entry_kind(queue_->entries[index].state.load());
    return kind == kEntryFinished || kind == kEntryReturned;
  });
}

// The ends of these entries have been told.
void WorkerNode::Impl::free_ended() {
  for (const std::uint32_t index : ended_) {
    QueueEntry& entry = queue_->entries[index];
    NodeSlot& slot = slots_[entry_slot(entry.state.load())];
    // A request to stop this entry must not meet the next one in its place.
    std::uint64_t expected = index + 1ull;
    queue_->slots[slot.index].stop_position.compare_exchange_strong(expected, 0);
    slot.deaths_in_a_row = 0;
    if (short_of_space_ && queue_->slots[slot.index].out_of_space.load() == 0) {
      short_of_space_ = false;
      notify(wire::Notice::Kind::space_again, "there is room for records again");
    }
    entry.state.store(kEntryFree);
    has_ended_.reset(index);
  }
  ended_.clear();
}

}  // namespace allot
