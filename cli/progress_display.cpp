// SPDX-License-Identifier: MIT
#include "cli/progress_display.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include <fmt/format.h>

#include "cli/console.h"
#include "process/fd.h"

namespace allot::cli {
namespace {

constexpr std::chrono::milliseconds kShortestRedraw{100};
constexpr std::chrono::seconds kIdleRedraw{1};
constexpr std::chrono::seconds kLineInterval{10};
constexpr std::chrono::seconds kIdleLineInterval{60};
constexpr std::chrono::seconds kRateWindow{15};
constexpr std::uint64_t kMostFailuresTold = 10;
constexpr std::size_t kCommandCharacters = 100;

bool same_counts(const BatchProgress& a, const BatchProgress& b) {
  return a.done == b.done && a.failed == b.failed && a.abandoned == b.abandoned && a.running == b.running &&
         a.is_stopping == b.is_stopping;
}

std::size_t terminal_columns() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

std::string counts_text(const BatchProgress& progress) {
  std::string text = fmt::format("{}/{} done", progress.done, progress.total);
  if (progress.failed > 0) text += fmt::format(", {} failed", progress.failed);
  if (progress.abandoned > 0) text += fmt::format(", {} abandoned", progress.abandoned);
  return text + fmt::format(", {} running", progress.running);
}

std::string pace_text(const BatchProgress& progress, double per_second) {
  if (progress.is_stopping) return "cancelling";
  if (per_second <= 0) return "";
  std::string text = fmt::format("{:.{}f}/s", per_second, per_second < 10 ? 1 : 0);
  const std::uint64_t left = progress.total - progress.ended();
  if (left > 0) text += ", " + seconds_text(std::max(1.0, static_cast<double>(left) / per_second)) + " left";
  return text;
}

}  // namespace

void RateMeter::add(Clock::time_point now, std::uint64_t ended) {
  constexpr std::chrono::milliseconds kSampleInterval{250};
  // The newest sample moves until it is old enough to stay.
  const std::size_t n = samples_.size();
  if (n > 1 && now - samples_[n - 2].first < kSampleInterval) {
    samples_.back() = {now, ended};
  } else {
    samples_.emplace_back(now, ended);
  }
  while (samples_.size() > 2 && now - samples_.front().first > kRateWindow) samples_.pop_front();
}

double RateMeter::per_second() const {
  if (samples_.size() < 2) return 0;
  const double seconds = std::chrono::duration<double>(samples_.back().first - samples_.front().first).count();
  if (seconds < 0.05) return 0;
  return static_cast<double>(samples_.back().second - samples_.front().second) / seconds;
}

std::string progress_line(const BatchProgress& progress, double per_second, std::size_t columns) {
  constexpr std::size_t kLeastBar = 8;
  constexpr std::size_t kMostBar = 40;
  const double share =
      progress.total == 0 ? 1 : static_cast<double>(progress.ended()) / static_cast<double>(progress.total);
  const std::string pace = pace_text(progress, per_second);
  // All of it is ASCII. The last column stays free: some terminals would wrap.
  const std::size_t room = columns > 1 ? columns - 1 : 0;
  std::string text = fmt::format(" {:3}% {}", static_cast<int>(share * 100), counts_text(progress));
  if (!pace.empty()) text += ", " + pace;
  if (text.size() > room) return text.substr(1, room);
  const std::size_t left = room - text.size();
  if (left < kLeastBar + 2) return text.substr(1);
  const std::size_t width = std::min(left - 2, kMostBar);
  const auto filled = static_cast<std::size_t>(share * static_cast<double>(width));
  return "[" + std::string(filled, '=') + std::string(width - filled, ' ') + "]" + text;
}

ProgressDisplay::Mode ProgressDisplay::detect_mode(bool quiet) {
  if (quiet) return Mode::quiet;
  const char* terminal = std::getenv("TERM");
  const bool is_dumb = terminal == nullptr || std::strcmp(terminal, "dumb") == 0;
  return ::isatty(STDERR_FILENO) == 1 && !is_dumb ? Mode::bar : Mode::lines;
}

ProgressDisplay::ProgressDisplay(Mode mode, std::function<std::string(std::uint64_t)> describe)
    : mode_(mode), describe_(std::move(describe)), last_line_(Clock::now()) {}

std::chrono::milliseconds ProgressDisplay::interval() const {
  if (mode_ == Mode::quiet) return std::chrono::seconds(60);
  if (mode_ == Mode::lines) return kLineInterval;
  return is_stale_ ? kShortestRedraw : std::chrono::milliseconds(kIdleRedraw);
}

void ProgressDisplay::progress(const BatchProgress& progress) {
  if (mode_ == Mode::quiet) return;
  const auto now = Clock::now();
  const bool is_same = same_counts(progress, shown_);
  if (mode_ == Mode::bar) {
    const auto pause = is_same && is_drawn_ ? std::chrono::milliseconds(kIdleRedraw) : kShortestRedraw;
    is_stale_ = !is_same && now - last_drawn_ < pause;
    if (now - last_drawn_ >= pause) draw(progress, now);
    return;
  }
  if (now - last_line_ < (is_same ? std::chrono::seconds(kIdleLineInterval) : kLineInterval)) return;
  rate_.add(now, progress.ended());
  const std::string pace = pace_text(progress, rate_.per_second());
  tell("allot: " + counts_text(progress) + (pace.empty() ? "" : ", " + pace));
  last_line_ = now;
  shown_ = progress;
}

void ProgressDisplay::draw(const BatchProgress& progress, Clock::time_point now) {
  rate_.add(now, progress.ended());
  const std::string line = "\r" + progress_line(progress, rate_.per_second(), terminal_columns()) + "\x1b[K";
  static_cast<void>(write_all(STDERR_FILENO, line));  // a terminal that is gone shows nothing
  last_drawn_ = now;
  is_drawn_ = true;
  is_stale_ = false;
  shown_ = progress;
}

void ProgressDisplay::clear() {
  if (!is_drawn_) return;
  static_cast<void>(write_all(STDERR_FILENO, "\r\x1b[K"));
  is_drawn_ = false;
}

void ProgressDisplay::print(const std::string& line) {
  clear();
  tell(line);
  last_drawn_ = {};  // the bar comes back with the next progress
}

void ProgressDisplay::notice(const std::string& text) {
  print("allot: " + text);
}

void ProgressDisplay::failed(std::uint64_t step, const ExitInfo& info, bool will_rerun) {
  // What a cancellation ends is no news.
  if (mode_ == Mode::quiet || info.exit_class == ExitClass::killed || failures_told_ > kMostFailuresTold) return;
  if (++failures_told_ > kMostFailuresTold) {
    return print("allot: further failures are not told here; allot status shows them");
  }
  print(fmt::format("allot: step {}: {}{}: {}", step, describe(info), will_rerun ? ", runs again" : "",
                    shorten(printable(describe_(step)), kCommandCharacters)));
}

}  // namespace allot::cli
