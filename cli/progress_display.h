// SPDX-License-Identifier: MIT
// What a person sees while a batch runs: a bar on a terminal, now and then a line elsewhere, failures as they come.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <utility>

#include "engine/batch_observer.h"

namespace allot::cli {

/// Tasks per second over the last seconds. Not thread-safe.
class RateMeter {
 public:
  using Clock = std::chrono::steady_clock;
  void add(Clock::time_point now, std::uint64_t ended);
  double per_second() const;

 private:
  std::deque<std::pair<Clock::time_point, std::uint64_t>> samples_;
};

/// The bar's text for a terminal of that width: counts, percentage, rate, time left.
std::string progress_line(const BatchProgress& progress, double per_second, std::size_t columns);

class ProgressDisplay final : public BatchObserver {
 public:
  enum class Mode { quiet, lines, bar };
  /// stderr's kind: a bar where it is a terminal that can move its cursor.
  static Mode detect_mode(bool quiet);

  /// `describe` gives a step's command for the lines about failures.
  ProgressDisplay(Mode mode, std::function<std::string(std::uint64_t)> describe);
  ~ProgressDisplay() override { clear(); }

  void progress(const BatchProgress& progress) override;
  void failed(std::uint64_t step, const ExitInfo& info, bool will_rerun) override;
  void notice(const std::string& text) override;
  std::chrono::milliseconds interval() const override;

  /// Takes the bar away.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;
  void draw(const BatchProgress& progress, Clock::time_point now);
  void print(const std::string& line);

  Mode mode_;
  std::function<std::string(std::uint64_t)> describe_;
  RateMeter rate_;
  BatchProgress shown_;
  Clock::time_point last_drawn_{};
  Clock::time_point last_line_;
  bool is_drawn_ = false;
  bool is_stale_ = false;  // something has changed that the bar does not show yet
  std::uint64_t failures_told_ = 0;
};

}  // namespace allot::cli
