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
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  slot.guard_pid = 0;
  slot.guard_exit.reset();
  bury(slot, status);
  if (!leaving_) {
    const ExitInfo how = decode_wait_status(status);
    const bool again = ++slot.deaths_in_a_row < kMostDeathsInARow;
    Result<void> restarted = again ? launch(slot) : Result<void>();
    if (!again || !restarted) {
      slot.broken = true;
      notify(wire::Notice::Kind::slot_broken, "slot " + slot.writer + " is given up: its guard ended " +
                                                  std::to_string(slot.deaths_in_a_row) + " times in a row, last " +
                                                  describe(how) + (restarted ? "" : "; " + restarted.error().message));
    }
  }
  publish();
  poke_sleepers();
  begin_commit();
}

std::vector<std::uint64_t> WorkerNode::Impl::positions_of(const NodeSlot& slot) const {
  std::vector<std::uint64_t> positions;
  for (std::uint64_t at = oldest_; at < queue_->tail.load(); ++at) {
    if (entry_at(at).state.load() == entry_state(kEntryClaimed, slot.index)) positions.push_back(at);
  }
  return positions;
}

std::string WorkerNode::Impl::distributor_id_of(const QueueEntry& entry) const {
  return make_distributor_id(
      std::string_view(entry.id_base, kIdBaseLength),
      entry.is_array ? std::optional<std::uint64_t>(entry.step - entry.step_origin) : std::nullopt);
}

void WorkerNode::Impl::end_orphans(NodeSlot& slot) {
  // Where there is a group, nothing can have left it; the walk below then only reaps.
  if (!slot.control_group.empty()) {
    empty_control_group(slot.control_group, std::chrono::milliseconds(kLongestBurialMs));
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
    for (std::uint64_t at : positions_of(slot)) {
      for (pid_t pid : processes_with_environment("ALLOT_DISTRIBUTOR_ID=" + distributor_id_of(entry_at(at)))) {
        if (process_start_ticks(pid)) left.push_back(pid);
      }
    }
    if (left.empty()) return;
    for (pid_t pid : left) ::kill(pid, SIGKILL);
    ::poll(nullptr, 0, 5);  // no descriptor tells of another's child
  }
}

void WorkerNode::Impl::bury(NodeSlot& slot, int status) {
  const std::vector<std::uint64_t> claimed = positions_of(slot);
  if (!claimed.empty()) end_orphans(slot);

  // Its own records are the first witness.
  std::set<RunKey> started, finished;
  const std::string path = batch_.record_path(slot.writer);
  auto report = scan_record_file(path, slot.session_start, [&](const DecodedRecord& record, std::uint64_t) {
    if (const auto* begin = std::get_if<StartedRecord>(&record.record)) started.insert(begin->key);
    if (const auto* end = std::get_if<FinishedRecord>(&record.record)) finished.insert(end->key);
    return true;
  });
  SlotLine& line = queue_->slots[slot.index];
  if (report) line.written.store(std::max(line.written.load(), report->valid_end));

  for (std::uint64_t at : claimed) {
    QueueEntry& entry = entry_at(at);
    const RunKey key{entry.step, entry.submission, entry.restart};
    if (finished.count(key) != 0) {
      entry.state.store(entry_state(kEntryFinished, slot.index));
      continue;
    }
    if (started.count(key) == 0) {
      // Claimed and not begun: the ledger knows nothing of it, so it is simply still to do.
      entry.state.store(kEntryFree);
      if (leaving_) {
        give_back(entry.submission, {entry.step}, wire::Returned::Reason::slot_lost);
      } else {
        backlog_.push_front({entry.step, entry.submission});
      }
      continue;
    }
    FinishedRecord verdict;
    verdict.key = key;
    verdict.attempt = entry.attempt;
    verdict.ended_ns = real_ns();
    verdict.exit_info.exit_class = ExitClass::lost;
    verdict.exit_info.text = "its guard ended: " + describe(decode_wait_status(status)) + "; the worker node (pid " +
                             std::to_string(::getpid()) +
                             ") ended what was left of its processes and found no end in its records";
    ALLOT_FAULT_POINT("node_before_lost");
    auto writer = RecordWriter::open(path);
    Result<void> written = writer ? writer->append(verdict) : Result<void>(fail(writer.error()));
    ALLOT_FAULT_POINT("node_after_lost");
    if (!written) {
      notify(wire::Notice::Kind::out_of_space, "the end of a lost run cannot be recorded: " + written.error().message);
      give_back(entry.submission, {entry.step}, wire::Returned::Reason::slot_lost);
      entry.state.store(kEntryFree);
      continue;
    }
    line.written.store(writer->offset());
    entry.state.store(entry_state(kEntryFinished, slot.index));
  }
  collect();
}

}  // namespace allot
