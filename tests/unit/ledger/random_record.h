// SPDX-License-Identifier: MIT
// Random records for property tests: every field, empty and not, bytes of any value.
#pragma once

#include <cstdint>
#include <random>
#include <string>

#include "ledger/record.h"

namespace allot::test {

class RandomRecords {
 public:
  explicit RandomRecords(std::uint32_t seed) : random_(seed) {}

  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }
  bool coin() { return below(2) == 0; }
  std::uint64_t any() { return random_() >> below(64); }

  std::string text(std::size_t max_bytes) {
    std::string bytes(below(max_bytes + 1), '\0');
    for (char& c : bytes) c = static_cast<char>(below(256));
    return bytes;
  }

  RunKey key() {
    return {static_cast<std::uint32_t>(any()), static_cast<std::uint32_t>(any()), static_cast<std::uint16_t>(any())};
  }

  ExitInfo exit_info() {
    ExitInfo info;
    info.exit_class = static_cast<ExitClass>(below(kExitClassCount));
    if (coin()) info.exit_code = static_cast<int>(below(256));
    if (coin()) info.signal = static_cast<int>(1 + below(64));
    info.text = text(60);
    return info;
  }

  RequestedResources resources() {
    RequestedResources r;
    if (coin()) r.cores = static_cast<std::uint32_t>(any());
    if (coin()) r.memory_bytes = any();
    if (coin()) r.runtime_milliseconds = static_cast<std::int64_t>(any());
    if (coin()) r.gpus = static_cast<std::uint32_t>(any());
    if (coin()) r.ranks = static_cast<std::uint32_t>(any());
    if (coin()) r.nodes = static_cast<std::uint32_t>(any());
    r.queue = text(8);
    r.account = text(8);
    r.constraint = text(8);
    for (std::uint64_t n = below(3); n > 0; --n) r.pass_through[text(8)] = text(8);
    return r;
  }

  StepRanges steps() {
    StepRanges steps;
    std::uint64_t next = any() & 0xFFFFFFFF;
    for (std::uint64_t n = below(6); n > 0; --n) {
      const std::uint64_t count = 1 + (any() & 0xFFFFF);
      steps.append_range(next, count);
      next += count + 1 + (any() & 0xFFFFF);
    }
    return steps;
  }

  OutputExtent extent() { return {any(), any(), coin() ? 0 : any(), coin()}; }

  UsageStats usage() {
    UsageStats u;
    if (coin()) u.wall_seconds = static_cast<double>(any()) / 1e6;
    if (coin()) u.user_seconds = static_cast<double>(any()) / 1e6;
    if (coin()) u.system_seconds = 0.0;
    if (coin()) u.max_rss_bytes = any();
    if (coin()) u.tree_peak_bytes = any();
    if (coin()) u.read_bytes = any();
    if (coin()) u.write_bytes = any();
    if (coin()) u.minor_faults = any();
    if (coin()) u.major_faults = any();
    if (coin()) u.voluntary_switches = any();
    if (coin()) u.involuntary_switches = any();
    if (coin()) u.cores = static_cast<std::uint32_t>(any());
    if (coin()) u.energy_joules = any();
    if (coin()) u.source = UsageSource::accounting;
    return u;
  }

  IntentRecord intent(std::int64_t at) {
    const auto number = static_cast<std::uint32_t>(any());
    const std::vector<std::string> nodes = {text(12), text(30)};
    return {number, text(64), text(12), coin(), any(), steps(), 3, resources(), text(20), at, -5, nodes, number + 1};
  }

  Record record() {
    const auto at = static_cast<std::int64_t>(any());
    switch (below(15)) {
      case 0:
        return OpenedRecord{text(20), text(40), static_cast<std::int64_t>(any()), any(), 7, any(), text(50),
                            at,       text(20)};
      case 1:
        return StartedRecord{key(), static_cast<std::uint32_t>(any()), at};
      case 2:
        return FinishedRecord{key(),    static_cast<std::uint32_t>(any()), at, at + 5, exit_info(), usage(), extent(),
                              extent(), static_cast<std::uint32_t>(any())};
      case 3:
        return intent(at);
      case 4:
        return SubmittedRecord{static_cast<std::uint32_t>(any()), text(20), text(80), at};
      case 5:
        return VerdictRecord{key(), coin(), exit_info(), at};
      case 6:
        return WithdrawnRecord{static_cast<std::uint32_t>(any()), steps(), text(30), at};
      case 7:
        return AbandonedRecord{static_cast<std::uint32_t>(any()), static_cast<std::uint32_t>(any()), text(30), at};
      case 8:
        return RetryRecord{key(), exit_info().exit_class, static_cast<std::uint16_t>(any()), at, resources(), text(30),
                           at};
      case 9:
        return HeldRecord{coin(), steps(), at};
      case 10:
        return ThrottleRecord{static_cast<std::uint32_t>(any()), at};
      case 11:
        return CancelledRecord{steps(), at};
      case 12:
        return AddedRecord{
            key(), text(12), text(20), static_cast<std::uint32_t>(any()), 7, coin(), DependencyKind::after_any, at};
      case 13:
        return ClosedRecord{{any(), any()}, at};
      default:
        return EndedRecord{text(30), at};
    }
  }

  std::mt19937_64& engine() { return random_; }

 private:
  std::mt19937_64 random_;
};

/// Equality by bytes: two records are the same exactly if they encode to the same frame.
inline std::string bytes_of(const Record& record) {
  std::string bytes;
  append_frame(bytes, record, 1, 8);
  return bytes;
}

}  // namespace allot::test
