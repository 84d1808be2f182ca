// SPDX-License-Identifier: MIT
// What the fold needs of started and finished records, read at fixed offsets.
#include "ledger/bytes.h"
#include "ledger/record_codec.h"

namespace allot::ledger {
namespace {

// Offsets within a finished record's payload.
constexpr std::size_t kAtOutcome = kPayloadHeadBytes + kKeyBytes;
constexpr std::size_t kAtExtents = kAtOutcome + 10;
constexpr std::size_t kFinishedFixed = kAtExtents + 2 * 24;

RunKey load_key(std::string_view payload) {
  const char* at = payload.data() + kPayloadHeadBytes;
  return {load<std::uint32_t>(at), load<std::uint32_t>(at + 4), load<std::uint16_t>(at + 8)};
}

}  // namespace

std::optional<RunGlance> glance_at_started(std::string_view payload) {
  if (payload.size() < kPayloadHeadBytes + kKeyBytes + 12) return std::nullopt;
  RunGlance glance;
  glance.key = load_key(payload);
  return glance;
}

std::optional<RunGlance> glance_at_finished(std::string_view payload) {
  if (payload.size() < kFinishedFixed) return std::nullopt;
  const char* outcome = payload.data() + kAtOutcome;
  if (static_cast<std::uint8_t>(outcome[0]) >= kExitClassCount) return std::nullopt;
  RunGlance glance;
  glance.key = load_key(payload);
  glance.exit_class = static_cast<ExitClass>(outcome[0]);
  const auto flags = static_cast<std::uint8_t>(outcome[1]);
  if (flags & kHasSignal) {
    glance.number = static_cast<std::uint8_t>(load<std::int32_t>(outcome + 6));
  } else if (flags & kHasExitCode) {
    glance.number = static_cast<std::uint8_t>(load<std::int32_t>(outcome + 2));
  }
  const char* extents = payload.data() + kAtExtents;
  glance.output_incomplete = load<std::uint64_t>(extents + 16) != 0 || load<std::uint64_t>(extents + 40) != 0;
  return glance;
}

std::uint8_t outcome_number(const ExitInfo& info) {
  return static_cast<std::uint8_t>(info.signal.value_or(info.exit_code.value_or(0)));
}

}  // namespace allot::ledger
