// SPDX-License-Identifier: MIT
#include "worker_node/event_log.h"

#include <sys/eventfd.h>

#include <algorithm>

namespace allot {
namespace {
constexpr std::size_t kMostAtOnce = 4096;
constexpr std::chrono::milliseconds kLongestWait = std::chrono::hours(24 * 365);  // more overflows the clock
}  // namespace

EventLog::EventLog() : ready_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

void EventLog::update_descriptor() {
  const bool wanted = first_ + items_.size() > cursor_ + 1 || why_;
  if (wanted == signaled_ || !ready_) return;
  std::uint64_t count = 1;
  const ssize_t n = wanted ? ::write(ready_.get(), &count, sizeof count) : ::read(ready_.get(), &count, sizeof count);
  if (n == sizeof count) signaled_ = wanted;
}

std::uint64_t EventLog::push(const EventItem& item) {
  std::lock_guard lock(mutex_);
  items_.push_back(item);
  update_descriptor();
  changed_.notify_all();
  return first_ + items_.size() - 1;
}

std::uint64_t EventLog::acknowledged() const {
  std::lock_guard lock(mutex_);
  return cursor_;
}

void EventLog::interrupt(std::optional<Error> why) {
  std::lock_guard lock(mutex_);
  interrupted_ = true;
  why_ = std::move(why);
  update_descriptor();
  changed_.notify_all();
}

void EventLog::resume() {
  std::lock_guard lock(mutex_);
  interrupted_ = false;
  why_.reset();
  update_descriptor();
}

Result<EventLog::Batch> EventLog::wait(std::uint64_t cursor, std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  const std::uint64_t last = first_ + items_.size() - 1;
  if (cursor > last) {
    return fail(ErrorCode::fix_request,
                "cursor " + std::to_string(cursor) + " is beyond the last event (" + std::to_string(last) + ")");
  }
  if (cursor > cursor_) {
    cursor_ = cursor;
    while (!items_.empty() && first_ <= cursor_) {
      items_.pop_front();
      ++first_;
    }
    update_descriptor();
  }
  // A cursor below what was acknowledged asks for events that are forgotten: it gets what is still there. While this
  // waits, another caller may acknowledge more.
  const auto available = [&] { return first_ + items_.size() > std::max(cursor + 1, first_); };
  changed_.wait_for(lock, std::min(timeout, kLongestWait), [&] { return available() || interrupted_; });
  const std::uint64_t from = std::max(cursor + 1, first_);
  Batch batch;
  batch.first_sequence = from;
  if (!available()) {
    if (why_) return fail(*why_);
    return batch;
  }
  const auto begin = items_.begin() + static_cast<std::ptrdiff_t>(from - first_);
  const auto count = std::min<std::size_t>(kMostAtOnce, static_cast<std::size_t>(items_.end() - begin));
  batch.items.assign(begin, begin + static_cast<std::ptrdiff_t>(count));
  return batch;
}

}  // namespace allot
