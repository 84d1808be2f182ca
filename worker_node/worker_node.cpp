// SPDX-License-Identifier: MIT
#include "worker_node/worker_node.h"

#include <fcntl.h>
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
  wait_for_wake();
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
  slot.output_synced = 0;
  slot.session_start = line.written.load();
  Fd exit_descriptor;
  auto started = start_guard(slot, std::move(options), options_.guard_program, spawner_, exit_descriptor);
  if (!started) return started;
  watch_guard(slot, std::move(exit_descriptor));
  return {};
}

// ---- the queue ----------------------------------------------------------------------------------------------------

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
  while (!backlog_.empty() && tail - oldest_ < kQueueCapacity) {
    const Waiting next = backlog_.front();
    backlog_.pop_front();
    const wire::SubmissionInfo& info = submissions_[next.submission];
    QueueEntry& entry = entry_at(tail);
    entry.step = next.step;
    entry.submission = next.submission;
    entry.attempt = info.attempt;
    entry.restart = 0;
    entry.is_array = info.is_array;
    entry.cores = info.cores;
    entry.step_origin = info.step_origin;
    entry.memory_limit_bytes = info.memory_limit_bytes;
    entry.runtime_limit_milliseconds = info.runtime_limit_milliseconds;
    std::memset(entry.id_base, 0, sizeof entry.id_base);
    std::memcpy(entry.id_base, info.id_base.data(), std::min(info.id_base.size(), sizeof entry.id_base));
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
    if (queue_->slots[slot.index].out_of_space.load() != 0) continue;  // the space timer pokes it
    if (queue_->slots[slot.index].sleeping.exchange(0) != 0) {
      poke(slot);
      --open;
    }
  }
}

void WorkerNode::Impl::set_limit(std::uint32_t slots) {
  queue_->limit.store(std::min(slots, options_.slots));
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
  for (std::uint64_t at = oldest_; at < queue_->tail.load(); ++at) {
    QueueEntry& entry = entry_at(at);
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
  for (std::uint64_t at = oldest_; at < queue_->tail.load(); ++at) {
    QueueEntry& entry = entry_at(at);
    const std::uint32_t state = entry.state.load();
    if (entry_kind(state) != kEntryClaimed ||
        !wanted(entry.submission, entry.step, request.submission, request.steps)) {
      continue;
    }
    NodeSlot& slot = slots_[entry_slot(state)];
    SlotLine& line = queue_->slots[slot.index];
    line.stop_grace_milliseconds.store(request.grace_milliseconds);
    line.stop_reason.store(static_cast<std::uint32_t>(request.reason));
    line.stop_position.store(at % kQueueCapacity + 1);
    poke(slot);
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
  for (std::uint64_t at = oldest_; at < queue_->tail.load(); ++at) {
    const QueueEntry& entry = entry_at(at);
    const std::uint32_t kind = entry_kind(entry.state.load());
    if (kind == kEntryClaimed || kind == kEntryFinished) keys.push_back({entry.step, entry.submission, entry.restart});
  }
  return keys;
}

std::uint64_t WorkerNode::Impl::waiting() const {
  std::uint64_t count = backlog_.size();
  for (std::uint64_t at = oldest_; at < queue_->tail.load(); ++at) {
    if (entry_kind(entry_at(at).state.load()) == kEntryQueued) ++count;
  }
  return count;
}

// ---- the commit ---------------------------------------------------------------------------------------------------

// Takes note of entries whose end is written, puts back those that found no room, frees those taken back.
// True if a task has ended since the last commit began.
bool WorkerNode::Impl::collect() {
  bool some_ended = false;
  bool at_the_oldest = true;
  for (std::uint64_t at = oldest_; at < queue_->tail.load(); ++at) {
    QueueEntry& entry = entry_at(at);
    const std::uint32_t state = entry.state.load();
    switch (entry_kind(state)) {
      case kEntryFinished:
        if (std::find(ended_.begin(), ended_.end(), at) == ended_.end() && !committing_) {
          ended_.push_back(at);
          some_ended = true;
        }
        break;
      case kEntryReturned:
        backlog_.push_front({entry.step, entry.submission});
        entry.state.store(kEntryFree);
        if (!short_of_space_) {
          short_of_space_ = true;
          notify(wire::Notice::Kind::out_of_space,
                 "no room for records in " + batch_.path() + ": nothing more is started until there is");
        }
        break;
      case kEntryRecalled:
        entry.state.store(kEntryFree);
        break;
      default:
        break;
    }
    if (at_the_oldest && entry_kind(entry.state.load()) == kEntryFree) {
      oldest_ = at + 1;
    } else {
      at_the_oldest = false;
    }
  }
  for (const NodeSlot& slot : slots_) {
    if (queue_->slots[slot.index].out_of_space.load() != 0) arm_space_timer();
  }
  return some_ended;
}

bool WorkerNode::Impl::has_news() const {
  return std::any_of(slots_.begin(), slots_.end(),
                     [this](const NodeSlot& slot) { return queue_->slots[slot.index].written.load() > slot.sent; });
}

// A guard writes the end of a run before it says so in the entry's state: a commit in between takes the record along and
// leaves the entry.
bool WorkerNode::Impl::has_ended_entries() const {
  for (std::uint64_t at = oldest_; at < queue_->tail.load(); ++at) {
    if (entry_kind(entry_at(at).state.load()) == kEntryFinished) return true;
  }
  return false;
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
    part.end = std::min<std::uint64_t>(written, slot.sent + wire::kMaxMessageBytes / 2);
    const std::uint64_t output = line.output_bytes.load();
    if (output != slot.output_synced) {
      slot.output_synced = output;
      for (int i = 0; i < 2; ++i) {
        if (!slot.output_files[i]) {
          const auto stream = i == 0 ? OutputStream::standard_output : OutputStream::standard_error;
          slot.output_files[i].reset(::open(batch_.output_path(slot.writer, stream).c_str(), O_RDWR | O_CLOEXEC));
        }
        part.output_fds[i] = slot.output_files[i].get();
      }
    }
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
    asio::post(io, [self = std::move(self), parts = std::move(parts)]() mutable { self->end_commit(std::move(parts)); });
  });
}

// The ends of these entries have been told.
void WorkerNode::Impl::free_ended() {
  for (std::uint64_t position : ended_) {
    QueueEntry& entry = entry_at(position);
    NodeSlot& slot = slots_[entry_slot(entry.state.load())];
    // A request to stop this entry must not meet the next one in its place.
    std::uint64_t expected = position % kQueueCapacity + 1;
    queue_->slots[slot.index].stop_position.compare_exchange_strong(expected, 0);
    slot.deaths_in_a_row = 0;
    if (short_of_space_ && queue_->slots[slot.index].out_of_space.load() == 0) {
      short_of_space_ = false;
      notify(wire::Notice::Kind::space_again, "there is room for records again");
    }
    entry.state.store(kEntryFree);
  }
  ended_.clear();
}

void WorkerNode::Impl::end_commit(std::vector<CommitPart> parts) {
  committing_ = false;
  if (abandoned_) return;
  bool failed = false;
  for (CommitPart& part : parts) {
    NodeSlot& slot = slots_[part.slot];
    if (part.error != 0) {
      failed = true;
      if (sync_error_ != part.error) {
        sync_error_ = part.error;
        notify(wire::Notice::Kind::out_of_space,
               batch_.record_path(slot.writer) + ": results cannot be made durable: " + errno_text(part.error));
      }
      continue;
    }
    sync_error_ = 0;
    slot.sent = part.end;
    ALLOT_FAULT_POINT("node_before_tell");
    handler_.records(part.records);
    ALLOT_FAULT_POINT("node_after_tell");
  }
  if (!failed) {
    free_ended();
    collect();
  }
  auto deaths = std::move(deaths_);
  deaths_.clear();
  for (const auto& [index, pid] : deaths) on_guard_exit(index, pid);
  publish();
  if (failed) {
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
  const bool missed = gathering_ ? slot_idles_with_news() : has_news() || has_ended_entries();
  if (missed && sync_error_ == 0) {
    auto self = shared_from_this();
    asio::post(io_, [self] { self->begin_commit(); });
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
    if (slot.guard_pid != 0) return;
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
  space_timer_.cancel();
  for (NodeSlot& slot : slots_) {
    slot.lifeline.reset();
    if (slot.guard_exit) slot.guard_exit->close(ignored);
    if (left_ || slot.guard_pid == 0) release_slot_files(slot);
  }
}

}  // namespace allot
