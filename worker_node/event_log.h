// SPDX-License-Identifier: MIT
// The events of one distributor: numbered, kept until acknowledged, with a descriptor to poll.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <vector>

#include "process/fd.h"
#include "protocol/exit_info.h"
#include "protocol/result.h"
#include "protocol/submission.h"

namespace allot {

/// One event as it is kept: no strings, so that a million of them are small.
struct EventItem {
  std::uint32_t entry = 0;  ///< RunBook's number of the submission
  std::uint32_t step = 0;
  TaskPhase phase = TaskPhase::queued;
  bool has_usage = false;
  bool output_incomplete = false;
  std::uint8_t generation = 0;  ///< of the entry
  float wall_seconds = 0;
  std::int64_t at_ns = 0;
  std::uint64_t max_rss_bytes = 0;
};

/// Thread rule: any thread.
class EventLog {
 public:
  EventLog();
  /// Returns the event's sequence.
  std::uint64_t push(const EventItem& item);
  /// Makes every waiter return, now and later: the distributor has stopped, or something is wrong (`why`).
  void interrupt(std::optional<Error> why);
  void resume();

  struct Batch {
    std::uint64_t first_sequence = 0;  ///< of items[0]
    std::vector<EventItem> items;
  };
  /// As ClusterDistributor::wait_for_events.
  Result<Batch> wait(std::uint64_t cursor, std::chrono::milliseconds timeout);
  int descriptor() const { return ready_.get(); }
  /// The highest cursor passed so far.
  std::uint64_t acknowledged() const;

 private:
  void update_descriptor();

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<EventItem> items_;
  std::uint64_t first_ = 1;   // sequence of items_.front()
  std::uint64_t cursor_ = 0;  // highest passed
  bool interrupted_ = false;
  bool signaled_ = false;
  std::optional<Error> why_;
  Fd ready_;
};

}  // namespace allot
