// SPDX-License-Identifier: MIT
// An element's side of the shared queue: steps are handed to guards, taken back, stopped, and let go when their end is
// on disk.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "process/fault_point.h"
#include "process/identity.h"
#include "process/wait_status.h"
#include "worker_node/burial.h"
#include "worker_node/element.h"
#include "worker_node/guard_state.h"

namespace allot {
namespace {

constexpr std::uint32_t kMostDeathsInARow = 5;
constexpr std::size_t kRecordsAtOnce = 200;
constexpr std::int64_t kWhyMs = 2000;  // guards wait longer for what becomes of the tasks that SIGTERM has ended
constexpr std::int64_t kLimitSlackMs = 60'000;  // a scheduler looks at limits now and then, and counts from earlier on

bool is_for_steps(const StopRequest& request) {
  return !request.all && !request.is_preemption;
}

}  // namespace

std::uint32_t Element::attempt_of(std::uint32_t step) const {
  const auto it = restarted_.find(step);
  return intent_.attempt + (it != restarted_.end() ? it->second : 0);
}

void Element::publish() {
  if (leaving_ || backlog_.empty() || live_.size() == kQueueCapacity) return;
  // As late as can be: once an entry is there a guard has it.
  const auto fence = read_fence(options_.batch, options_.submission);
  set_trouble(kFence, fence ? "" : "whether this job is still wanted cannot be told: " + fence.error().message);
  if (!fence) return;
  if (options_.try_number < *fence) {
    complain("this is try " + std::to_string(options_.try_number) + " of the submission, and those before try " +
             std::to_string(*fence) + " are void: nothing more is started");
    return stop_starting();
  }
  ALLOT_FAULT_POINT("element_before_publish");
  std::uint64_t tail = queue_->tail.load();
  while (!backlog_.empty() && live_.size() < kQueueCapacity) {
    // Past what is still in use: one long task must not hold up what comes after it. Guards step over it, too.
    while (in_use_.test(tail % kQueueCapacity)) ++tail;
    const auto index = static_cast<std::uint32_t>(tail % kQueueCapacity);
    QueueEntry& entry = queue_->entries[index];
    StepRange& next = backlog_.front();
    entry.step = static_cast<std::uint32_t>(next.first++);
    if (--next.count == 0) backlog_.pop_front();
    entry.submission = options_.submission;
    entry.attempt = attempt_of(entry.step);
    entry.round = intent_.round;
    entry.restart = options_.restart;
    entry.is_array = intent_.is_array;
    entry.cores = intent_.resources.cores.value_or(1);
    entry.step_origin = intent_.step_origin;
    entry.memory_limit_bytes = intent_.resources.memory_bytes.value_or(0);
    entry.runtime_limit_milliseconds = intent_.resources.runtime_milliseconds.value_or(0);
    std::memset(entry.id_base, 0, sizeof entry.id_base);
    std::memcpy(entry.id_base, intent_.id_base.data(), std::min(intent_.id_base.size(), sizeof entry.id_base));
    live_.push_back(index);
    in_use_.set(index);
    entry.state.store(kEntryQueued);
    queue_->tail.store(++tail);
  }
  ALLOT_FAULT_POINT("element_published");
  poke_sleepers();
  for (Slot& slot : slots_) {
    if (slot.guard_pid == 0 && troubles_[kGuards].empty()) mend(slot);
  }
}

void Element::poke(const Slot& slot) {
  const std::uint64_t one = 1;
  while (slot.poke && ::write(slot.poke.get(), &one, sizeof one) < 0 && errno == EINTR) {
  }
}

void Element::poke_sleepers() {
  for (Slot& slot : slots_) {
    SlotLine& line = queue_->slots[slot.index];
    // One that found no room is poked when it is time to look again.
    if (slot.guard_pid != 0 && line.out_of_space.load() == 0 && line.sleeping.exchange(0) != 0) poke(slot);
  }
}

// Takes note of entries whose end is written, puts back those that found no room, frees those taken back.
void Element::collect() {
  if (queue_ == nullptr) return;
  for (const std::uint32_t index : live_) {
    QueueEntry& entry = queue_->entries[index];
    switch (entry_kind(entry.state.load())) {
      case kEntryFinished:
        if (!has_ended_.test(index)) ended_.push_back(index);
        has_ended_.set(index);
        break;
      case kEntryReturned:
        put_back(index);
        set_trouble(kSpace, "no room for records in " + place_.batch_path + ": nothing more is started until there is");
        break;
      case kEntryRecalled:
        entry.state.store(kEntryFree);
        break;
      default:
        break;
    }
  }
  const auto is_free = [this](std::uint32_t index) {
    const bool free = entry_kind(queue_->entries[index].state.load()) == kEntryFree;
    if (free) in_use_.reset(index);
    return free;
  };
  live_.erase(std::remove_if(live_.begin(), live_.end(), is_free), live_.end());
}

// The ends of these entries are on disk.
void Element::free_ended() {
  for (const std::uint32_t index : ended_) {
    QueueEntry& entry = queue_->entries[index];
    Slot& slot = slots_[entry_slot(entry.state.load())];
    SlotLine& line = queue_->slots[slot.index];
    // A request to stop this entry must not meet the next one in its place.
    std::uint64_t expected = index + 1ull;
    line.stop_position.compare_exchange_strong(expected, 0);
    slot.deaths_in_a_row = 0;
    if (line.out_of_space.load() == 0) set_trouble(kSpace, "");
    entry.state.store(kEntryFree);
    has_ended_.reset(index);
  }
  ended_.clear();
  collect();
}

// An entry that was claimed and has not begun.
void Element::put_back(std::uint32_t index) {
  QueueEntry& entry = queue_->entries[index];
  Slot& slot = slots_[entry_slot(entry.state.load())];
  std::uint64_t expected = index + 1ull;
  queue_->slots[slot.index].stop_position.compare_exchange_strong(expected, 0);
  entry.state.store(kEntryFree);
  if (has_request_for(entry.step)) {
    removed_.push_back(entry.step);
  } else if (!leaving_) {
    backlog_.push_front({entry.step, 1});
  }
}

void Element::stop_starting() {
  if (leaving_) return;
  leaving_ = true;
  backlog_.clear();
  if (queue_ == nullptr) return;
  queue_->draining.store(1);
  for (const std::uint32_t index : live_) {
    std::uint32_t expected = kEntryQueued;
    queue_->entries[index].state.compare_exchange_strong(expected, kEntryRecalled);
  }
  collect();
  set_trouble(kSpace, "");
  set_trouble(kFence, "");
  for (const Slot& slot : slots_) poke(slot);
}

// ---- requests to stop

bool Element::has_request_for(std::uint32_t step) const {
  return std::any_of(requests_.begin(), requests_.end(), [step](const StopRequest& request) {
    return is_for_steps(request) && step >= request.first && step <= request.last;
  });
}

void Element::read_requests() {
  auto read = read_stop_requests(options_.batch, options_.submission, requests_read_);
  set_trouble(kRequests, read ? "" : "requests to stop cannot be read: " + read.error().message);
  if (!read) return;
  requests_read_ = read->end;
  if (read->unreadable > 0) {
    complain(stop_requests_path(options_.batch, options_.submission) + ": " + std::to_string(read->unreadable) +
             " lines are no requests; they are passed over");
  }
  for (const StopRequest& request : read->requests) obey(request);
  record_removed();
}

void Element::obey(const StopRequest& request) {
  requests_.push_back(request);
  if (request.is_preemption) return;
  const auto is_meant = [&request](std::uint64_t step) {
    return request.all || (step >= request.first && step <= request.last);
  };
  if (request.all) {
    stop_starting();  // whoever asked for that says what becomes of the rest
  } else {
    take_out_of_backlog(request);
  }
  if (queue_ == nullptr) return;
  for (const std::uint32_t index : live_) {
    QueueEntry& entry = queue_->entries[index];
    std::uint32_t expected = kEntryQueued;
    if (is_meant(entry.step) && entry.state.compare_exchange_strong(expected, kEntryRecalled)) {
      removed_.push_back(entry.step);
    }
  }
  collect();
  for (const std::uint32_t index : live_) {
    if (is_meant(queue_->entries[index].step)) stop_entry(index, ExitClass::killed, request.grace_milliseconds);
  }
}

void Element::take_out_of_backlog(const StopRequest& request) {
  std::deque<StepRange> kept;
  for (const StepRange& range : backlog_) {
    const std::uint64_t end = range.first + range.count;
    const std::uint64_t from = std::clamp<std::uint64_t>(request.first, range.first, end);
    const std::uint64_t to = std::clamp<std::uint64_t>(request.last + std::uint64_t{1}, from, end);
    if (from > range.first) kept.push_back({range.first, from - range.first});
    for (std::uint64_t step = from; step < to; ++step) removed_.push_back(static_cast<std::uint32_t>(step));
    if (end > to) kept.push_back({to, end - to});
  }
  backlog_.swap(kept);
}

void Element::stop_entry(std::uint32_t index, ExitClass reason, std::int64_t grace_milliseconds) {
  const std::uint32_t state = queue_->entries[index].state.load();
  if (entry_kind(state) != kEntryClaimed) return;
  Slot& slot = slots_[entry_slot(state)];
  SlotLine& line = queue_->slots[slot.index];
  line.stop_grace_milliseconds.store(grace_milliseconds);
  line.stop_reason.store(static_cast<std::uint32_t>(reason));
  line.stop_position.store(index + 1ull);
  poke(slot);
  if (slot.guard_pid != 0) ::kill(slot.guard_pid, SIGCONT);  // its task may have stopped it
}

// What the scheduler says of the job that it ends, by a program that asks it. Nothing: it cannot be told.
std::optional<ExitClass> Element::ask_why() {
  int ends[2];
  if (options_.why.empty() || options_.job.empty() || ::pipe2(ends, O_CLOEXEC) != 0) return std::nullopt;
  const Fd answers(ends[0]);
  Fd asks(ends[1]);
  const pid_t pid = ::fork();
  if (pid < 0) return std::nullopt;
  if (pid == 0) {
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::signal(SIGPIPE, SIG_DFL);
    ::dup2(asks.get(), STDOUT_FILENO);
    ::execl(options_.why.c_str(), options_.why.c_str(), "--why", options_.job.c_str(), nullptr);
    ::_exit(127);
  }
  asks.reset();
  std::string text;
  char bytes[256];
  for (const std::int64_t until = after(monotonic_ns(), kWhyMs);;) {
    const auto left = static_cast<int>(std::max<std::int64_t>(0, (until - monotonic_ns()) / 1'000'000));
    pollfd wait = {answers.get(), POLLIN, 0};
    const int ready = ::poll(&wait, 1, left);
    if (ready < 0 && errno == EINTR) continue;
    const ssize_t n = ready > 0 ? ::read(answers.get(), bytes, sizeof bytes) : -1;
    if (n <= 0) break;
    text.append(bytes, static_cast<std::size_t>(n));
  }
  ::kill(pid, SIGKILL);  // it has said all, or takes too long
  ::waitpid(pid, nullptr, 0);
  return exit_class_from_string(text.substr(0, text.find('\n')));
}

// SIGTERM: the scheduler ends the job. It does not say why.
void Element::end_by_scheduler() {
  queue_->scheduler.store(kSchedulerTerm);  // first: a guard that is stopped by a request says why its job ends
  read_requests();
  stop_starting();
  ExitClass reason = ExitClass::preempted;
  const std::int64_t allocation = options_.allocation_ms;
  const std::int64_t slack = std::min(kLimitSlackMs, allocation / 2);
  if (allocation > 0 && monotonic_ns() - begun_ >= after(0, allocation - slack)) reason = ExitClass::timed_out;
  const bool has_all = std::any_of(requests_.begin(), requests_.end(), [](const StopRequest& r) { return r.all; });
  const bool is_preempted =
      std::any_of(requests_.begin(), requests_.end(), [](const StopRequest& r) { return r.is_preemption; });
  if (has_all) {
    reason = ExitClass::killed;
  } else if (reason == ExitClass::preempted && !is_preempted && !live_.empty()) {
    if (!why_) why_ = ask_why().value_or(reason);  // once, though it may signal more than once
    reason = *why_;
  }
  const std::int64_t grace = std::min(options_.kill_grace_ms, options_.term_grace_ms);
  for (const std::uint32_t index : live_) {
    const bool is_asked_for = has_request_for(queue_->entries[index].step);
    stop_entry(index, is_asked_for ? ExitClass::killed : reason, grace);
  }
}

// ---- records of what never started, by the element itself

Result<void> Element::open_own_records() {
  if (own_records_) return {};
  if (!own_files_.lock) {
    if (auto claimed = claim_slot_files(own_files_, place_); !claimed) return claimed;
  }
  auto records = RecordWriter::open(place_.batch_path + "/records/" + own_files_.writer);
  if (!records) return fail(records.error());
  OpenedRecord opened;
  opened.host = host_name();
  opened.node = options_.node;
  opened.boot_id = boot_id();
  opened.pid = opened.worker_pid = guard_options_.worker_pid;
  opened.start_ticks = opened.worker_start_ticks = guard_options_.worker_start_ticks;
  opened.at_ns = clock_ns(CLOCK_REALTIME);
  if (auto written = records->append(opened); !written) return written;
  own_records_.emplace(std::move(*records));
  return {};
}

// A start and an end for each: a run that has an end has a start, as one that could not be launched.
void Element::record_removed() {
  if (removed_.empty() && !own_unsynced_) return;
  Result<void> kept = open_own_records();
  while (kept && !removed_.empty()) {
    const std::size_t count = std::min(removed_.size(), kRecordsAtOnce);
    const std::int64_t now = clock_ns(CLOCK_REALTIME);
    for (std::size_t i = removed_.size() - count; i < removed_.size(); ++i) {
      FinishedRecord end;
      end.key = {removed_[i], options_.submission, options_.restart};
      end.attempt = attempt_of(removed_[i]);
      end.started_ns = end.ended_ns = now;
      end.exit_info = {ExitClass::killed, {}, {}, "removed before it started"};
      own_records_->add(StartedRecord{end.key, end.attempt, now});
      own_records_->add(end);
    }
    ALLOT_FAULT_POINT("element_before_removed");
    kept = own_records_->write();
    ALLOT_FAULT_POINT("element_after_removed");
    if (!kept) {
      own_records_->discard();
      break;
    }
    removed_.resize(removed_.size() - count);
    own_unsynced_ = true;
  }
  if (kept) kept = own_records_->sync();
  if (kept) own_unsynced_ = false;
  set_trouble(kOwnRecords, kept ? "" : "what was removed cannot be recorded: " + kept.error().message);
}

// ---- a guard that has ended

// Settles what a dead guard was doing, and starts another one if there is something to do.
void Element::mend(Slot& slot) {
  Result<void> mended;
  if (slot.unburied) {
    mended = bury(slot);
    if (mended) slot.unburied = false;
  }
  const bool has_work = !backlog_.empty() || std::any_of(live_.begin(), live_.end(), [this](std::uint32_t index) {
    return entry_kind(queue_->entries[index].state.load()) == kEntryQueued;
  });
  if (mended && has_work && !leaving_ && !slot.broken) {
    if (slot.deaths_in_a_row >= kMostDeathsInARow) {
      slot.broken = true;
      fail_with("slot " + slot.writer + " is given up: its guard ended " + std::to_string(slot.deaths_in_a_row) +
                " times in a row, last " + describe(decode_wait_status(slot.death_status)));
      if (std::all_of(slots_.begin(), slots_.end(), [](const Slot& other) { return other.broken; })) stop_starting();
      return;
    }
    mended = start_guard(slot);
  }
  set_trouble(kGuards, mended ? "" : "slot " + slot.writer + " cannot go on: " + mended.error().message);
}

// On an error some runs are still unsettled, and it is to be called again.
Result<void> Element::bury(Slot& slot) {
  std::vector<std::uint32_t> claimed;
  Orphans orphans;
  orphans.control_group = slot.control_group;
  orphans.are_ours = true;
  for (const std::uint32_t index : live_) {
    if (queue_->entries[index].state.load() != entry_state(kEntryClaimed, slot.index)) continue;
    claimed.push_back(index);
    orphans.marks.push_back(mark_of(queue_->entries[index]));
  }
  if (claimed.empty() && slot.death_status == 0) return {};  // it has left in order
  for (const Slot& other : slots_) {
    if (other.guard_pid != 0) orphans.guards.push_back(other.guard_pid);
  }
  const bool is_clean = claimed.empty() || end_orphans(orphans);

  // Its own records are the first witness.
  const std::string path = place_.batch_path + "/records/" + slot.writer;
  auto runs = runs_of_session(path, slot.session_start);
  if (!runs) return fail(runs.error());
  SlotLine& line = queue_->slots[slot.index];
  line.ends.store(runs->end);  // there may be some that it had no time to tell of
  line.written.store(std::max(line.written.load(), runs->end));
  for (const std::uint32_t index : claimed) {
    QueueEntry& entry = queue_->entries[index];
    const RunKey key = key_of(entry);
    if (runs->finished.count(key) == 0 && runs->started.count(key) == 0) {
      put_back(index);  // the ledger knows nothing of it, so it is simply still to do
      continue;
    }
    if (runs->finished.count(key) == 0) {
      const auto end = record_loss(path, entry, slot.death_status, is_clean);
      if (!end) return fail(end.error());
      line.ends.store(*end);
      line.written.store(*end);
    }
    entry.state.store(entry_state(kEntryFinished, slot.index));
  }
  collect();
  record_removed();
  return {};
}

}  // namespace allot
