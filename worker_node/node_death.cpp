// SPDX-License-Identifier: MIT
// What follows when a guard ends: its tree is ended, its record file is asked what it was doing, the run gets a
// verdict.
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>

#include "process/wait_status.h"
#include "worker_node/burial.h"
#include "worker_node/worker_node_impl.h"

namespace allot {
namespace {

namespace asio = boost::asio;
constexpr std::uint32_t kMostDeathsInARow = 5;
constexpr std::chrono::milliseconds kMendInterval{500};
constexpr std::chrono::milliseconds kCareInterval{5000};

}  // namespace

void WorkerNode::Impl::watch_guard(NodeSlot& slot, Fd exit_descriptor) {
  slot.guard_exit = std::make_unique<asio::posix::stream_descriptor>(io_, exit_descriptor.release());
  auto self = shared_from_this();
  slot.guard_exit->async_wait(asio::posix::stream_descriptor::wait_read,
                              [self, index = slot.index, pid = slot.guard_pid](const boost::system::error_code& error) {
                                if (error || self->abandoned_) return;
                                self->on_guard_exit(index, pid);
                              });
}

void WorkerNode::Impl::on_guard_exit(std::uint32_t index, pid_t pid) {
  if (committing_) {  // offsets of this slot are in use
    deaths_.emplace_back(index, pid);
    return;
  }
  NodeSlot& slot = slots_[index];
  while (::waitpid(pid, &slot.death_status, 0) < 0 && errno == EINTR) {
  }
  slot.guard_pid = 0;
  slot.guard_exit.reset();
  slot.unburied = true;
  queue_->slots[index].sleeping.store(0);
  ++slot.deaths_in_a_row;
  mend(slot);
  publish();
  poke_sleepers();
  begin_commit();
}

// Settles what a dead guard was doing and starts another. What the system refuses now (descriptors, processes, room on
// the disk) is tried again: until then nothing of the slot is given to anybody else.
void WorkerNode::Impl::mend(NodeSlot& slot) {
  Result<void> mended;
  if (slot.unburied) {
    mended = bury(slot);
    if (mended) slot.unburied = false;
  }
  if (mended && !leaving_ && !slot.broken) {
    if (slot.deaths_in_a_row >= kMostDeathsInARow) {
      slot.broken = true;
      set_limit(wanted_limit_);
      notify(wire::Notice::Kind::slot_broken, "slot " + slot.writer + " is given up: its guard ended " +
                                                  std::to_string(slot.deaths_in_a_row) + " times in a row, last " +
                                                  describe(decode_wait_status(slot.death_status)));
      return;
    }
    mended = launch(slot);
  }
  if (!mended) {
    look_after_slots();  // sooner than it would
    if (slot.trouble == mended.error().message) return;
    slot.trouble = mended.error().message;
    notify(wire::Notice::Kind::out_of_space, "slot " + slot.writer + " cannot go on: " + slot.trouble);
  } else if (!slot.trouble.empty()) {
    slot.trouble.clear();
    notify(wire::Notice::Kind::space_again, "slot " + slot.writer + " goes on");
  }
}

void WorkerNode::Impl::look_after_slots() {
  const bool is_troubled = std::any_of(slots_.begin(), slots_.end(), [this](const NodeSlot& slot) {
    return slot.unburied || (slot.guard_pid == 0 && !slot.broken && !leaving_);
  });
  care_timer_.expires_after(is_troubled ? kMendInterval : kCareInterval);
  auto self = shared_from_this();
  care_timer_.async_wait([self](const boost::system::error_code& error) {
    if (error || self->abandoned_) return;
    for (NodeSlot& slot : self->slots_) {
      // A guard that its task has stopped would see no limit and no request.
      if (slot.guard_pid != 0) {
        ::kill(slot.guard_pid, SIGCONT);
      } else if (!self->committing_ && (slot.unburied || (!slot.broken && !self->leaving_))) {
        self->mend(slot);
        self->publish();
        self->begin_commit();
      }
    }
    self->look_after_slots();
  });
}

std::vector<std::uint32_t> WorkerNode::Impl::entries_of(const NodeSlot& slot) const {
  std::vector<std::uint32_t> entries;
  for (const std::uint32_t index : live_) {
    if (queue_->entries[index].state.load() == entry_state(kEntryClaimed, slot.index)) entries.push_back(index);
  }
  return entries;
}

// Settles the runs that the slot's dead guard had claimed. On an error some are still claimed, and it is to be called
// again.
Result<void> WorkerNode::Impl::bury(NodeSlot& slot) {
  const std::vector<std::uint32_t> claimed = entries_of(slot);
  Orphans orphans;
  orphans.control_group = slot.control_group;
  orphans.are_ours = options_.adopts_orphans;
  for (const NodeSlot& other : slots_) {
    if (other.guard_pid != 0) orphans.guards.push_back(other.guard_pid);
  }
  for (const std::uint32_t index : claimed) orphans.marks.push_back(mark_of(queue_->entries[index]));
  const bool is_clean = claimed.empty() || end_orphans(orphans);

  // Its own records are the first witness.
  auto runs = runs_of_session(batch_.record_path(slot.writer), slot.session_start);
  if (!runs) return fail(runs.error());
  SlotLine& line = queue_->slots[slot.index];
  line.ends.store(runs->end);  // there may be some that it had no time to tell of
  line.written.store(std::max(line.written.load(), runs->end));

  for (const std::uint32_t index : claimed) {
    QueueEntry& entry = queue_->entries[index];
    const RunKey key = key_of(entry);
    if (runs->finished.count(key) == 0 && runs->started.count(key) == 0) {
      put_back(slot, index);  // the ledger knows nothing of it, so it is simply still to do
      continue;
    }
    if (runs->finished.count(key) == 0) {
      const auto end = record_loss(batch_.record_path(slot.writer), entry, slot.death_status, is_clean);
      if (!end) return fail(end.error());
      line.ends.store(*end);
      line.written.store(*end);
    }
    entry.state.store(entry_state(kEntryFinished, slot.index));
  }
  collect();
  return {};
}

}  // namespace allot
