// SPDX-License-Identifier: MIT
// The end of a run: what ended it, and the record of it.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "process/fault_point.h"
#include "process/wait_status.h"
#include "protocol/units.h"
#include "worker_node/guard_state.h"
#include "worker_node/memory_witness.h"
#include "worker_node/shell_line.h"
#include "worker_node/slot_files.h"

namespace allot {
namespace {

constexpr std::size_t kTailBytes = 40'000;     // 10 000 characters of up to four bytes
constexpr std::int64_t kTermHeardMs = 100;     // from the signal that ended a task to that of whoever started it
constexpr std::int64_t kTermAnswerMs = 5'000;  // until that one, which has a sync under way perhaps, says why
constexpr int kShellTermCode = 128 + SIGTERM;  // what a shell makes of a command that SIGTERM ended

constexpr const char* kTermText = "the scheduler sent SIGTERM";

}  // namespace

// All signals are blocked in a guard: one that came is pending until somebody takes it.
bool Guard::is_term_pending() {
  sigset_t pending;
  return ::sigpending(&pending) == 0 && ::sigismember(&pending, SIGTERM) == 1;
}

void Guard::forget_term() {
  sigset_t term;
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  const timespec at_once = {0, 0};
  ::sigtimedwait(&term, nullptr, &at_once);
}

std::optional<Guard::StopOrder> Guard::take_stop_order(const Running& running) {
  if (line_->stop_position.load() != running.index + 1ull) return std::nullopt;
  line_->stop_position.store(0);
  StopOrder order;
  order.reason = static_cast<ExitClass>(line_->stop_reason.load());
  order.grace_milliseconds = line_->stop_grace_milliseconds.load();
  if (queue_->scheduler.load() == kSchedulerTerm) {
    order.text = kTermText;
  } else {
    order.text = order.reason == ExitClass::killed ? "ended on request" : "ended because its distributor was stopped";
  }
  return order;
}

// A scheduler that ends a job signals every process of it, one after the other, and a task may be gone by that before
// the worker node has said that it is to be stopped. This guard has been signalled as well then, or soon is.
void Guard::hear_about_term(Running& running, int status) {
  const ExitInfo end = decode_wait_status(status);
  const bool by_term = end.signal == SIGTERM || end.exit_code == kShellTermCode;
  if (!by_term || running.stop_reason || queue_->scheduler.load() == kNoScheduler) return;
  const std::int64_t begun = monotonic_ns();
  for (;;) {
    if (auto order = take_stop_order(running)) {
      running.stop_reason = order->reason;
      running.stop_text = std::move(order->text);
      return;
    }
    const bool is_signalled = is_term_pending();
    if (monotonic_ns() >= after(begun, is_signalled ? kTermAnswerMs : kTermHeardMs) || orphaned_) {
      if (!is_signalled) return;  // somebody ended this task alone
      running.stop_reason = ExitClass::preempted;
      running.stop_text = kTermText;
      return;
    }
    pollfd waits[2] = {{options_.poke_fd, POLLIN, 0}, {options_.lifeline_fd, POLLIN, 0}};
    ::poll(waits, 2, 5);  // no descriptor tells of a signal that stays blocked
    if (waits[0].revents != 0) clear_event(options_.poke_fd);
    if (waits[1].revents != 0) orphaned_ = true;
  }
}

// What the shell would have added to stderr. The pipe has just been emptied, so the write does not block.
void Guard::tell_death(int status, const Running& running, const Launch& launch) {
  std::string text;
  append_death_message(status, text);
  if (text.empty()) return;
  if (running.watch_err) {
    write_all(err_.write_end(), text);
    err_.drain();
    return;
  }
  const Fd file = open_regular(launch.stderr_path, O_WRONLY | O_APPEND);
  if (file) write_all(file.get(), text);
}

void Guard::classify(Running& running, int status, const Launch& launch) {
  FinishedRecord& record = running.record;
  ExitInfo& info = record.exit_info;
  info = decode_wait_status(ALLOT_SABOTAGED("always_done") ? 0 : status);
  if (info.exit_class == ExitClass::error && launch.success_codes != nullptr && info.exit_code &&
      launch.success_codes->find(static_cast<char>(*info.exit_code)) != std::string::npos) {
    info.exit_class = ExitClass::done;
  }
  // A command that fails because the kernel took a process of it (a shell tells 137 then) has run out of memory, too.
  const bool failed_alone = info.exit_class == ExitClass::error && has_group_alone() && kernel_kills_->has_killed();
  const bool killed_by_kernel = kernel_kills_->after_end(info) || failed_alone;
  const std::uint64_t limit = running.entry->memory_limit_bytes;
  if (running.stop_reason) {
    info.exit_class = *running.stop_reason;
    info.text = running.stop_text;
  } else if (killed_by_kernel) {
    info.exit_class = ExitClass::out_of_memory;
    info.text = text_of_kernel_kill(running);
  } else if (const std::uint64_t peak = limit > 0 ? memory_peak(running) : 0; peak > limit) {
    info.exit_class = ExitClass::out_of_memory;
    info.text = "its processes peaked at " + format_size_rounded(peak) + " of the " + format_size_rounded(limit) +
                " allowed; seen when they had ended";
  }
  const auto add_text = [&info](const std::string& text) {
    if (text.empty()) return;
    if (!info.text.empty()) info.text += "\n";
    info.text += text;
  };
  add_text(take_file(options_.scratch + ".error", kTailBytes));
  take_file(options_.scratch + ".progress", 0);
  record.standard_output = out_.extent();
  record.standard_error = err_.extent();
  if (!running.watch_out) record.standard_output = {0, 0, 0, true};
  if (!running.watch_err) record.standard_error = {0, 0, 0, true};
  if (info.exit_class != ExitClass::done) {
    const std::string tail = running.watch_err ? err_.tail(kTailBytes) : tail_of_file(launch.stderr_path, kTailBytes);
    add_text(std::string(utf8_tail(tail, 10'000)));
  }
  if (!running.unkillable.empty()) add_text("cannot be ended: " + running.unkillable);
  const std::uint64_t lost = record.standard_output.lost_bytes + record.standard_error.lost_bytes;
  if (lost > 0) {
    const int error = out_.write_error() != 0 ? out_.write_error() : err_.write_error();
    add_text(std::to_string(lost) + " bytes of its output could not be kept: " + errno_text(error));
    if (error == ENOSPC || error == EDQUOT) line_->out_of_space.store(1);
  }
  if (info.text.size() > kTailBytes) info.text = std::string(utf8_tail(info.text, 10'000));
}

// Does what the kernel counts in the control group concern this slot's task only? A group of its own, or that of a
// scheduler's job with a single slot.
bool Guard::has_group_alone() const {
  return !options_.cgroup.empty() || (queue_->scheduler.load() != kNoScheduler && queue_->slot_count == 1);
}

std::string Guard::text_of_kernel_kill(const Running& running) const {
  std::string text = has_group_alone()
                         ? "the kernel killed for memory in its control group"
                         : "it was killed while the kernel killed for memory in the control group that all slots share";
  const std::uint64_t limit = running.entry->memory_limit_bytes;
  const std::uint64_t seen =
      std::max(running.record.usage.max_rss_bytes.value_or(0), running.record.usage.tree_peak_bytes.value_or(0));
  if (limit > 0) {
    text += "; it was seen with " + format_size_rounded(seen) + " of the " + format_size_rounded(limit) + " allowed";
  }
  return text;
}

// What the run had at once for sure: sums of resident sets do not count, for pages that processes share are in each.
std::uint64_t Guard::memory_peak(const Running& running) const {
  const std::uint64_t largest = running.record.usage.max_rss_bytes.value_or(0);
  if (largest <= running.entry->memory_limit_bytes) return running.exact_peak;
  // The kernel begins a child's maximum with that of its spawner, which is this process.
  return largest > own_peak_bytes() ? std::max(largest, running.exact_peak) : running.exact_peak;
}

void Guard::finish(QueueEntry& entry, FinishedRecord& record) {
  ALLOT_FAULT_POINT("guard_before_finished");
  records_->add(record);
  if (ALLOT_SABOTAGED("double_finish")) records_->add(record);
  // The reserve was checked before the start; if the file system breaks its word, keep trying: the verdict must not be
  // lost while there is someone to keep it. The worker node shows the slot as out of space meanwhile.
  while (!flush(true)) {
    line_->out_of_space.store(1);
    wake_node(true);
    pollfd waits[2] = {{options_.poke_fd, POLLIN, 0}, {options_.lifeline_fd, POLLIN, 0}};
    ::poll(waits, 2, 1000);
    if (waits[0].revents != 0) clear_event(options_.poke_fd);
    if (waits[1].revents != 0) {
      orphaned_ = true;
      break;
    }
  }
  ALLOT_FAULT_POINT("guard_after_finished");
  entry.state.store(entry_state(kEntryFinished, options_.slot));
  wake_node(false);
}

// Whoever claims this slot next need not read its records.
void Guard::close_records() {
  if (has_unkillable_) return;  // it may print yet
  records_->add(closing_record(options_.batch_directory, options_.writer));
  if (!records_->write()) records_->discard();
}

}  // namespace allot
