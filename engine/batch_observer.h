// SPDX-License-Identifier: MIT
// What a driver tells while it works, and how it is told to stop. The engine prints nothing itself.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "protocol/exit_info.h"

namespace allot {

struct BatchProgress {
  std::uint64_t total = 0;
  std::uint64_t done = 0;
  std::uint64_t failed = 0;  ///< ended otherwise
  std::uint64_t abandoned = 0;
  std::uint64_t running = 0;
  std::uint64_t queued = 0;   ///< submitted
  std::uint64_t waiting = 0;  ///< not submitted
  bool is_stopping = false;

  std::uint64_t ended() const { return done + failed + abandoned; }
};

/// Called by the thread that drives, after what is told has been stored.
class BatchObserver {
 public:
  virtual ~BatchObserver() = default;
  /// After every round of events; cheap when there is nothing to show.
  virtual void progress(const BatchProgress& progress) = 0;
  /// A run ended otherwise than done. `will_rerun`: it is submitted again.
  virtual void failed(std::uint64_t step, const ExitInfo& info, bool will_rerun) = 0;
  /// A sentence for a person about the batch as a whole.
  virtual void notice(const std::string& text) = 0;
  /// progress() is called at least this often, whether something happened or not.
  virtual std::chrono::milliseconds interval() const { return std::chrono::seconds(10); }
};

/// Requests to stop: the first cancels, the second kills.
class StopSignal {
 public:
  virtual ~StopSignal() = default;
  /// Polls readable while take() would return more than 0; -1: there are never any.
  virtual int descriptor() const = 0;
  /// Requests since the last call.
  virtual int take() = 0;
};

}  // namespace allot
