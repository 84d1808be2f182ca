// SPDX-License-Identifier: MIT
// What follows when a guard ends: its tree is ended, its record file is asked what it was doing, the run gets a
// verdict.
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <set>

#include "ledger/record_file.h"
#include "process/control_group.h"
#include "process/fault_point.h"
#include "process/identity.h"
#include "process/wait_status.h"
#include "protocol/distributor_id.h"
#include "worker_node/worker_node_impl.h"

namespace allot {
namespace {

namespace asio = boost::asio;
constexpr std::uint32_t kMostDeathsInARow = 5;
constexpr int kLongestBurialMs = 10'000;
constexpr std::chrono::milliseconds kMendInterval{500};
constexpr std::chrono::milliseconds kCareInterval{5000};

std::int64_t real_ns() {
  timespec t;
  ::clock_gettime(CLOCK_REALTIME, &t);
  return static_cast<std::int64_t>(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
}

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

std::string WorkerNode::Impl::distributor_id_of(const QueueEntry& entry) const {
  return make_distributor_id(
      std::string_view(entry.id_base, kIdBaseLength),
      entry.is_array ? std::optional<std::uint64_t>(entry.step - entry.step_origin) : std::nullopt);
}

// False: something of it cannot be ended.
bool WorkerNode::Impl::end_orphans(NodeSlot& slot) {
  // Where there is a group, nothing can have left it; the walk below then only reaps.
  bool all = true;
  if (!slot.control_group.empty()) {
    all = empty_control_group(slot.control_group, std::chrono::milliseconds(kLongestBurialMs));
  }
  for (int waited_ms = 0; waited_ms < kLongestBurialMs; waited_ms += 5) {
    std::vector<pid_t> left;
    if (options_.adopts_orphans) {
      // Below this process are the living guards with their trees, and what the dead one left. One walk sees both: with
      // two, what a living guard spawns in between would pass for an orphan.
      std::vector<pid_t> guards;
      for (const NodeSlot& other : slots_) {
        if (other.guard_pid != 0) guards.push_back(other.guard_pid);
      }
      for (pid_t pid : descendants_of(::getpid(), guards)) {
        int status = 0;
        if (::waitpid(pid, &status, WNOHANG) != pid) left.push_back(pid);
      }
    }
    for (const std::uint32_t index : entries_of(slot)) {
      const std::string mark = "ALLOT_DISTRIBUTOR_ID=" + distributor_id_of(queue_->entries[index]);
      for (pid_t pid : processes_with_environment(mark)) {
        if (process_start_ticks(pid)) left.push_back(pid);
      }
    }
    if (left.empty()) return all;
    for (pid_t pid : left) ::kill(pid, SIGKILL);
    ::poll(nullptr, 0, 5);  // no descriptor tells of another's child
  }
  return false;
}

// Settles the runs that the slot's dead guard had claimed. On an error some are still claimed, and it is to be called
// again; a scan that fails is no proof that a run never began.
Result<void> WorkerNode::Impl::bury(NodeSlot& slot) {
  const std::vector<std::uint32_t> claimed = entries_of(slot);
  const bool is_clean = claimed.empty() || end_orphans(slot);

  // Its own records are the first witness.
  std::set<RunKey> started, finished;
  auto report = scan_record_file(batch_.record_path(slot.writer), slot.session_start,
                                 [&](const DecodedRecord& record, std::uint64_t) {
                                   if (const auto* begin = std::get_if<StartedRecord>(&record.record))
                                     started.insert(begin->key);
                                   if (const auto* end = std::get_if<FinishedRecord>(&record.record))
                                     finished.insert(end->key);
                                   return true;
                                 });
  if (!report) return fail(report.error());
  SlotLine& line = queue_->slots[slot.index];
  line.ends.store(report->valid_end);  // there may be some that it had no time to tell of
  line.written.store(std::max(line.written.load(), report->valid_end));

  for (const std::uint32_t index : claimed) {
    QueueEntry& entry = queue_->entries[index];
    const RunKey key{entry.step, entry.submission, entry.restart};
    if (finished.count(key) == 0 && started.count(key) == 0) {
      put_back(slot, index);  // the ledger knows nothing of it, so it is simply still to do
      continue;
    }
    if (finished.count(key) == 0) {
      if (auto written = record_loss(slot, entry, is_clean); !written) return written;
    }
    entry.state.store(entry_state(kEntryFinished, slot.index));
  }
  collect();
  return {};
}

Result<void> WorkerNode::Impl::record_loss(NodeSlot& slot, const QueueEntry& entry, bool is_clean) {
  FinishedRecord verdict;
  verdict.key = {entry.step, entry.submission, entry.restart};
  verdict.attempt = entry.attempt;
  verdict.ended_ns = real_ns();
  verdict.exit_info.exit_class = ExitClass::lost;
  verdict.exit_info.text = "its guard ended: " + describe(decode_wait_status(slot.death_status)) +
                           "; the worker node (pid " + std::to_string(::getpid()) + ") " +
                           (is_clean ? "ended what was left of its processes" : "cannot end a process that it left") +
                           " and found no end in its records";
  ALLOT_FAULT_POINT("node_before_lost");
  auto writer = RecordWriter::open(batch_.record_path(slot.writer));
  Result<void> written = writer ? writer->append(verdict) : Result<void>(fail(writer.error()));
  ALLOT_FAULT_POINT("node_after_lost");
  if (!written) return fail(written.error().with_context("the end of a lost run cannot be recorded"));
  queue_->slots[slot.index].ends.store(writer->offset());
  queue_->slots[slot.index].written.store(writer->offset());
  return {};
}

}  // namespace allot
