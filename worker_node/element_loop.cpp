// SPDX-License-Identifier: MIT
// The loop of an element: signals, the ends of guards, and group commit.
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "process/fault_point.h"
#include "worker_node/element.h"
#include "worker_node/guard_state.h"

namespace allot {
namespace {

constexpr std::int64_t kCareMs = 5000;
constexpr std::int64_t kMendMs = 500;

}  // namespace

// A passing fault, for all we know: told once, tried again, and endured for a while. An empty text ends it.
void Element::set_trouble(Trouble kind, const std::string& text) {
  std::string& held = troubles_[kind];
  if (held == text) return;
  const bool was_troubled = is_troubled();
  complain(text.empty() ? "that is over: " + held : text);
  held = text;
  if (!is_troubled()) return;
  const std::int64_t now = monotonic_ns();
  if (!was_troubled) trouble_since_ = now;
  care_at_ = std::min(care_at_, after(now, kMendMs));
}

bool Element::is_troubled() const {
  return std::any_of(std::begin(troubles_), std::end(troubles_), [](const std::string& text) { return !text.empty(); });
}

void Element::loop() {
  requests_at_ = after(monotonic_ns(), options_.requests_ms);
  care_at_ = after(monotonic_ns(), is_troubled() ? kMendMs : kCareMs);
  hear_signals();  // one that came while it got ready keeps it from starting anything
  std::vector<pollfd> waits;
  for (;;) {
    const std::int64_t now = monotonic_ns();
    if (now >= requests_at_) {
      read_requests();
      requests_at_ = after(now, options_.requests_ms);
    }
    if (now >= care_at_) look_after_slots();
    collect();
    publish();
    if (is_commit_due(now)) commit();
    if (backlog_.empty() && live_.empty()) stop_starting();
    keep_trouble_bounded(now);
    if (is_done()) return;

    if (gather_until_ == 0 && has_news()) gather_until_ = after(now, options_.commit_ms);
    queue_->node_waiting.store(gather_until_ != 0 ? kNodeGathers : kNodeSleeps);
    // What was written before the store above woke nobody; and what ended during the commit is to be let go.
    const bool is_missed = is_commit_due(now) || (gather_until_ == 0 && (has_news() || has_settled_entries()));
    const std::int64_t until = std::min({care_at_, requests_at_, gather_until_ != 0 ? gather_until_ : kNever});
    const std::int64_t wait_ms = (until - monotonic_ns() + 999'999) / 1'000'000;
    waits.assign({{signals_.get(), POLLIN, 0}, {wake_.get(), POLLIN, 0}});
    for (const Slot& slot : slots_) waits.push_back({slot.guard_exit.get(), POLLIN, 0});
    const auto timeout = static_cast<int>(is_missed ? 0 : std::clamp<std::int64_t>(wait_ms, 0, 1'000'000));
    const int ready = ::poll(waits.data(), waits.size(), timeout);
    queue_->node_waiting.store(kNodeAwake);
    if (ready <= 0) continue;
    if (waits[0].revents != 0) hear_signals();
    if (waits[1].revents != 0) clear_event(wake_.get());
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      if (waits[i + 2].revents != 0 && slots_[i].guard_pid != 0) on_guard_exit(slots_[i]);
    }
  }
}

void Element::hear_signals() {
  signalfd_siginfo info;
  while (::read(signals_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
    if (info.ssi_signo == SIGUSR2) {
      read_requests();
    } else if (info.ssi_signo == SIGUSR1) {
      stop_starting();  // the allocation's end is near
    } else {
      end_by_scheduler();
    }
  }
}

bool Element::is_done() const {
  if (!leaving_) return false;
  bool is_kept = removed_.empty() && !own_unsynced_;
  for (const Slot& slot : slots_) {
    if (slot.guard_pid != 0) return false;
    is_kept = is_kept && !slot.unburied && queue_->slots[slot.index].ends.load() <= slot.synced;
  }
  return is_kept || gave_up_;
}

void Element::keep_trouble_bounded(std::int64_t now) {
  if (gave_up_ || !is_troubled() || now - trouble_since_ < after(0, options_.space_ms)) return;
  gave_up_ = true;
  fail_with("gives up after " + std::to_string(options_.space_ms / 1000) +
            " s: what has not started stays queued, and what could not be written is not kept");
  stop_starting();
}

// ---- guards

void Element::on_guard_exit(Slot& slot) {
  while (::waitpid(slot.guard_pid, &slot.death_status, 0) < 0 && errno == EINTR) {
  }
  slot.guard_pid = 0;
  slot.guard_exit.reset();
  slot.unburied = true;
  queue_->slots[slot.index].sleeping.store(0);
  ++slot.deaths_in_a_row;
  mend(slot);
}

void Element::look_after_slots() {
  for (Slot& slot : slots_) {
    if (slot.guard_pid == 0) {
      mend(slot);
      continue;
    }
    ::kill(slot.guard_pid, SIGCONT);  // one that its task has stopped would see no limit and no request
    if (queue_->slots[slot.index].out_of_space.load() == 0) continue;
    poke(slot);
    // Its task has ended, and it tries to write that down for as long as there is somebody to do it for.
    if (gave_up_) slot.lifeline.reset();
  }
  record_removed();
  care_at_ = after(monotonic_ns(), is_troubled() ? kMendMs : kCareMs);
}

// ---- group commit

bool Element::has_news() const {
  return std::any_of(slots_.begin(), slots_.end(), [this](const Slot& slot) {
    const SlotLine& line = queue_->slots[slot.index];
    return line.written.load() > slot.seen || line.ends.load() > slot.synced;
  });
}

bool Element::slot_idles_with_news() const {
  return has_news() && std::any_of(slots_.begin(), slots_.end(), [this](const Slot& slot) {
           return slot.guard_pid == 0 || queue_->slots[slot.index].sleeping.load() != 0;
         });
}

// A guard tells what it did, then sets the entry's state, then wakes the element if that sleeps.
bool Element::has_settled_entries() const {
  return std::any_of(live_.begin(), live_.end(), [this](std::uint32_t index) {
    const std::uint32_t kind = entry_kind(queue_->entries[index].state.load());
    return kind == kEntryReturned || (kind == kEntryFinished && !has_ended_.test(index));
  });
}

bool Element::is_commit_due(std::int64_t now) const {
  if (gather_until_ != 0 && now >= gather_until_) return true;
  if (!troubles_[kSync].empty()) return false;  // it is tried again when that time is over
  return slot_idles_with_news() || (!ended_.empty() && !has_news());
}

// The slots that have somebody's end to keep are synced one after the other, and nothing else is done meanwhile: guards
// see to limits by themselves. The output first: what a record speaks of must not be gone when the record is there.
void Element::commit() {
  collect();  // before the offsets are read: what has ended is below them
  gather_until_ = 0;
  int error = 0;
  for (Slot& slot : slots_) {
    const int failed = commit_slot(slot);
    if (failed == ENOENT && !ledger_is_gone_) {
      ledger_is_gone_ = true;
      fail_with(place_.batch_path + "/records/" + slot.writer +
                ", or the output that belongs to it, was removed while tasks ran: what became of them is not kept");
    } else if (failed != 0 && failed != ENOENT) {
      error = failed;
    }
  }
  set_trouble(kSync, error == 0 ? "" : "results cannot be made durable: " + errno_text(error));
  if (error != 0) {
    gather_until_ = after(monotonic_ns(), kMendMs);
    return;
  }
  free_ended();
}

int Element::commit_slot(Slot& slot) {
  const SlotLine& line = queue_->slots[slot.index];
  // In the order in which a guard sets them, backwards.
  const std::uint64_t written = line.written.load(), ends = line.ends.load();
  const std::uint64_t output_bytes = line.output_bytes.load();
  if (ends > slot.synced) {
    int error = 0;
    if (output_bytes != slot.output_synced) {
      error = open_slot_outputs(slot, place_.batch_path);
      for (const Fd& file : slot.output_files) {
        if (file && error == 0) error = sync_named(file.get());
      }
    }
    ALLOT_FAULT_POINT("node_before_sync");
    if (error == 0) error = sync_named(slot.record_file.get());
    ALLOT_FAULT_POINT("node_after_sync");
    if (error != 0 && error != ENOENT) return error;
    slot.synced = ends;
    slot.output_synced = output_bytes;
    slot.seen = written;
    return error;
  }
  slot.seen = written;
  return 0;
}

}  // namespace allot
