// SPDX-License-Identifier: MIT
#include "worker_node/worker_node.h"

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <cstring>
#include <new>

#include "process/control_group.h"
#include "process/fault_point.h"
#include "process/identity.h"
#include "process/machine.h"
#include "worker_node/worker_node_impl.h"

namespace allot {

namespace asio = boost::asio;

WorkerNode::WorkerNode(asio::io_context& io, WorkerNodeOptions options, WorkerNodeHandler handler)
    : impl_(std::make_shared<Impl>(io, std::move(options), std::move(handler))) {}
WorkerNode::~WorkerNode() {
  impl_->abandon();
}
Result<void> WorkerNode::start() {
  return impl_->start();
}
void WorkerNode::add_submission(const wire::SubmissionInfo& info) {
  impl_->submissions_[info.number] = info;
}
void WorkerNode::hand(const wire::Hand& hand) {
  impl_->hand(hand);
}
void WorkerNode::terminate(const wire::Terminate& request) {
  impl_->terminate(request);
}
void WorkerNode::recall(const wire::Recall& request) {
  impl_->recall(request);
}
void WorkerNode::set_limit(std::uint32_t slots) {
  impl_->set_limit(slots);
}
void WorkerNode::leave(std::chrono::milliseconds grace) {
  impl_->leave(grace);
}
std::vector<RunKey> WorkerNode::running() const {
  return impl_->running();
}
std::uint64_t WorkerNode::waiting() const {
  return impl_->waiting();
}
bool WorkerNode::has_left() const {
  return impl_->left_;
}

std::vector<wire::SlotState> WorkerNode::slots() const {
  std::vector<wire::SlotState> states;
  for (const NodeSlot& slot : impl_->slots_) states.push_back({slot.writer, slot.guard_pid, slot.guard_start_ticks});
  return states;
}

WorkerNode::Impl::Impl(asio::io_context& io, WorkerNodeOptions options, WorkerNodeHandler handler)
    : io_(io),
      options_(std::move(options)),
      handler_(std::move(handler)),
      wake_(io),
      gather_timer_(io),
      care_timer_(io),
      space_timer_(io) {}

WorkerNode::Impl::~Impl() {
  sync_thread_.join();
  if (queue_ != nullptr) ::munmap(queue_, sizeof(SharedQueue));
}

Result<void> WorkerNode::Impl::map_queue() {
  memory_.reset(::memfd_create("allot-queue", MFD_CLOEXEC));
  if (!memory_ || ::ftruncate(memory_.get(), sizeof(SharedQueue)) != 0) {
    return fail(errno_error(errno, "memory shared with the guards"));
  }
  void* memory = ::mmap(nullptr, sizeof(SharedQueue), PROT_READ | PROT_WRITE, MAP_SHARED, memory_.get(), 0);
  if (memory == MAP_FAILED) return fail(errno_error(errno, "memory shared with the guards"));
  queue_ = new (memory) SharedQueue;
  queue_->slot_count = options_.slots;
  queue_->limit.store(options_.slots);
  return {};
}

Result<void> WorkerNode::Impl::start() {
  if (options_.slots == 0 || options_.slots > kMaxSlots) {
    return fail(ErrorCode::fix_request, "a worker node has 1 to " + std::to_string(kMaxSlots) + " slots, not " +
                                            std::to_string(options_.slots));
  }
  auto batch = BatchDirectory::open(options_.batch_directory);
  if (!batch) return fail(batch.error());
  batch_ = std::move(*batch);
  const std::string runtime = runtime_directory();
  if (runtime.empty()) {
    return fail(ErrorCode::fix_request, "no directory for locks: neither $XDG_RUNTIME_DIR nor /tmp/allot-" +
                                            std::to_string(::geteuid()) + " can be made or is yours alone (mode 0700)");
  }
  if (auto mapped = map_queue(); !mapped) return mapped;
  const int wake = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake < 0) return fail(errno_error(errno, "an event descriptor"));
  wake_.assign(wake);

  guard_options_.batch_directory = batch_.path();
  guard_options_.cwd = batch_.info().cwd;
  if (batch_.info().umask) guard_options_.umask = static_cast<int>(*batch_.info().umask);
  guard_options_.shell = options_.shell;
  guard_options_.host = host_name();
  guard_options_.shared_fd = memory_.get();
  guard_options_.wake_fd = wake_.native_handle();
  guard_options_.kill_grace_milliseconds = options_.kill_grace.count();
  guard_options_.leftover_grace_milliseconds = options_.leftover_grace.count();
  guard_options_.sample_milliseconds = options_.sample_interval.count();

  slots_.resize(options_.slots);
  for (std::uint32_t i = 0; i < options_.slots; ++i) {
    slots_[i].index = i;
    if (auto claimed = claim_slot_files(slots_[i], batch_, runtime); !claimed) return claimed;
    if (options_.control_groups) {
      slots_[i].control_group = make_control_group("allot-" + batch_.info().batch_id + "-" +
                                                   std::to_string(::getpid()) + "-" + std::to_string(i));
    }
    if (auto launched = launch(slots_[i]); !launched) return launched;
  }
  // Two output files for each slot, and what it takes to look into /proc and into a record file. Without them results
  // could not be made durable, and what is left of a dead guard's tasks not be found.
  if (auto spare = need_descriptors(2 * options_.slots + 8); !spare) return spare;
  wait_for_wake();
  look_after_slots();
  rest();
  return {};
}

Result<void> WorkerNode::Impl::launch(NodeSlot& slot) {
  GuardOptions options = guard_options_;
  if (slot.index < options_.cores.size()) options.cores = {options_.cores[slot.index]};
  SlotLine& line = queue_->slots[slot.index];
  // After a death the file may hold records that have not been told yet.
  line.written.store(std::max(line.written.load(), slot.sent));
  line.output_bytes.store(0);
  line.sleeping.store(0);
  line.stop_position.store(0);
  // What the one before it printed last may not be synced: no count that a guard can reach.
  slot.output_synced = slot.deaths_in_a_row > 0 ? UINT64_MAX : 0;
  slot.session_start = line.written.load();
  Fd exit_descriptor;
  auto started = start_guard(slot, std::move(options), options_.guard_program, spawner_, exit_descriptor);
  if (!started) return started;
  watch_guard(slot, std::move(exit_descriptor));
  return {};
}

// ---- the commit ---------------------------------------------------------------------------------------------------

bool WorkerNode::Impl::has_news() const {
  return std::any_of(slots_.begin(), slots_.end(),
                     [this](const NodeSlot& slot) { return queue_->slots[slot.index].written.load() > slot.sent; });
}

bool WorkerNode::Impl::slot_idles_with_news() const {
  return has_news() && std::any_of(slots_.begin(), slots_.end(), [this](const NodeSlot& slot) {
           return queue_->slots[slot.index].sleeping.load() != 0 && slot.index < queue_->limit.load();
         });
}

void WorkerNode::Impl::wait_for_wake() {
  auto self = shared_from_this();
  wake_.async_wait(asio::posix::stream_descriptor::wait_read, [self](const boost::system::error_code& error) {
    if (error || self->abandoned_) return;
    std::uint64_t count;
    while (::read(self->wake_.native_handle(), &count, sizeof count) < 0 && errno == EINTR) {
    }
    self->begin_commit();
    self->wait_for_wake();
  });
}

void WorkerNode::Impl::begin_commit() {
  if (committing_ || abandoned_) return;
  queue_->node_waiting.store(kNodeAwake);
  collect();  // before the offsets are read: what has ended is below them
  std::vector<CommitPart> parts;
  for (NodeSlot& slot : slots_) {
    SlotLine& line = queue_->slots[slot.index];
    const std::uint64_t written = line.written.load();
    if (written <= slot.sent) continue;
    CommitPart part;
    part.slot = slot.index;
    part.record_fd = slot.record_file.get();
    part.records.writer = slot.writer;
    part.records.offset = slot.sent;
    part.written = written;
    part.has_end = line.ends.load() > slot.sent;
    part.end = std::min<std::uint64_t>(written, slot.sent + wire::kMaxMessageBytes / 2);
    part.output_bytes = line.output_bytes.load();
    // What was printed before an end is synced before that end; what a task prints meanwhile can wait for its end.
    if (part.has_end && part.output_bytes != slot.output_synced) open_outputs(slot, part);
    parts.push_back(std::move(part));
  }
  if (parts.empty()) {
    free_ended();
    collect();
    publish();
    rest();
    return;
  }
  committing_ = true;
  auto self = shared_from_this();
  asio::post(sync_thread_, [self = std::move(self), parts = std::move(parts)]() mutable {
    commit(parts);
    // Handed over whole: the last one to let go joins this thread, and must not be this thread.
    asio::io_context& io = self->io_;
    asio::post(io, [self = std::move(self), parts = std::move(parts)]() { self->end_commit(parts); });
  });
}

void WorkerNode::Impl::open_outputs(NodeSlot& slot, CommitPart& part) {
  part.error = open_slot_outputs(slot, batch_.path());
  for (int i = 0; i < 2; ++i) part.output_fds[i] = slot.output_files[i].get();
}

void WorkerNode::Impl::end_commit(const std::vector<CommitPart>& parts) {
  committing_ = false;
  if (abandoned_) return;
  const int error_before = sync_error_;
  sync_error_ = 0;
  bool whole = true;
  for (const CommitPart& part : parts) {
    NodeSlot& slot = slots_[part.slot];
    whole = whole && (part.error == 0 || part.error == ENOENT) && part.end == part.written;
    if (part.error == ENOENT) {
      // Nobody will ever read it: it is not told, and nothing is waited for.
      if (!std::exchange(ledger_is_gone_, true)) {
        notify(wire::Notice::Kind::ledger_gone, batch_.record_path(slot.writer) +
                                                    ", or the output that belongs to it, was removed while tasks ran: "
                                                    "what became of them is not kept");
      }
      slot.sent = part.end;
      if (part.has_end) slot.output_synced = part.output_bytes;
      continue;
    }
    if (part.error != 0) {
      sync_error_ = part.error;
      if (error_before != part.error) {
        notify(wire::Notice::Kind::out_of_space,
               batch_.record_path(slot.writer) + ": results cannot be made durable: " + errno_text(part.error));
      }
      continue;
    }
    slot.sent = part.end;
    if (part.has_end) slot.output_synced = part.output_bytes;
    ALLOT_FAULT_POINT("node_before_tell");
    handler_.records(part.records);
    ALLOT_FAULT_POINT("node_after_tell");
  }
  if (error_before != 0 && sync_error_ == 0) notify(wire::Notice::Kind::space_again, "results are durable again");
  if (whole) {
    free_ended();
    collect();
  }
  auto deaths = std::move(deaths_);
  deaths_.clear();
  for (const auto& [index, pid] : deaths) on_guard_exit(index, pid);
  publish();
  if (sync_error_ != 0) {
    arm_space_timer();
  } else if (slot_idles_with_news()) {
    begin_commit();
    return;
  }
  rest();
}

// Between two commits: while tasks keep ending, records are gathered for a while; after a round without news the node
// sleeps until a guard wakes it.
void WorkerNode::Impl::rest() {
  if (committing_ || abandoned_) return;
  leave_if_done();
  if (!gathering_ && has_news()) {
    gathering_ = true;
    gather_timer_.expires_after(options_.commit_interval);
    auto self = shared_from_this();
    gather_timer_.async_wait([self](const boost::system::error_code& error) {
      self->gathering_ = false;
      if (!error && !self->abandoned_) self->begin_commit();
    });
  }
  queue_->node_waiting.store(gathering_ ? kNodeGathers : kNodeSleeps);
  // What was written before the store above woke nobody.
  const bool missed = gathering_ ? slot_idles_with_news() : has_news() || has_settled_entries();
  if (missed && sync_error_ == 0) {
    auto self = shared_from_this();
    asio::post(io_, [self] { self->begin_commit(); });
  }
  for (const NodeSlot& slot : slots_) {
    if (queue_->slots[slot.index].out_of_space.load() != 0) arm_space_timer();
  }
}

void WorkerNode::Impl::arm_space_timer() {
  if (space_timer_armed_) return;
  space_timer_armed_ = true;
  space_timer_.expires_after(std::chrono::milliseconds(500));
  auto self = shared_from_this();
  space_timer_.async_wait([self](const boost::system::error_code& error) {
    self->space_timer_armed_ = false;
    if (error || self->abandoned_) return;
    for (NodeSlot& slot : self->slots_) {
      if (self->queue_->slots[slot.index].out_of_space.load() != 0) self->poke(slot);
    }
    self->begin_commit();
  });
}

void WorkerNode::Impl::leave(std::chrono::milliseconds grace) {
  leaving_ = true;
  recall({});
  if (grace.count() >= 0) {
    for (const RunKey& key : running()) {
      terminate({key.submission, {{key.step, 1}}, grace.count(), ExitClass::preempted});
    }
  }
  queue_->draining.store(1);
  for (NodeSlot& slot : slots_) poke(slot);
  begin_commit();
}

void WorkerNode::Impl::leave_if_done() {
  if (!leaving_ || left_ || committing_ || has_news() || !deaths_.empty()) return;
  for (const NodeSlot& slot : slots_) {
    if (slot.guard_pid != 0 || slot.unburied) return;
  }
  left_ = true;
  for (NodeSlot& slot : slots_) release_slot_files(slot);
  auto self = shared_from_this();
  asio::post(io_, [self] {
    if (!self->abandoned_ && self->handler_.left) self->handler_.left();
  });
}

void WorkerNode::Impl::abandon() {
  abandoned_ = true;
  boost::system::error_code ignored;
  wake_.close(ignored);
  gather_timer_.cancel();
  care_timer_.cancel();
  space_timer_.cancel();
  for (NodeSlot& slot : slots_) {
    slot.lifeline.reset();
    if (slot.guard_exit) slot.guard_exit->close(ignored);
    if (left_ || slot.guard_pid == 0) release_slot_files(slot);
  }
}

}  // namespace allot
