// SPDX-License-Identifier: MIT
// Frames and the fixed parts of payloads, for those who read records without decoding all of them. Internal to the
// ledger.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "ledger/bytes.h"
#include "ledger/checksum.h"
#include "ledger/record.h"

namespace allot::ledger {

/// First byte of a payload. The numbers are the format: append only.
enum class RecordType : std::uint8_t {
  opened = 1,
  started = 2,
  finished = 3,
  intent = 4,
  submitted = 5,
  verdict = 6,
  withdrawn = 7,
  abandoned = 8,
  ended = 9,
  retry = 10,
  held = 11,
  throttle = 12,
  cancelled = 13,
  added = 14,
  closed = 15,
};
inline constexpr std::uint8_t kLastRecordType = 15;

/// Of an outcome.
enum OutcomeFlags : std::uint8_t { kHasExitCode = 1, kHasSignal = 2, kStdoutExternal = 4, kStderrExternal = 8 };

/// Type and sequence.
inline constexpr std::size_t kPayloadHeadBytes = 9;
inline constexpr std::size_t kKeyBytes = 10;

inline std::uint8_t payload_type(std::string_view payload) {
  return static_cast<std::uint8_t>(payload[0]);
}
inline std::uint64_t payload_sequence(std::string_view payload) {
  return load<std::uint64_t>(payload.data() + 1);
}

struct FrameHeader {
  std::uint32_t length = 0;
  std::uint32_t payload_sum = 0;
};

/// The header at `bytes` (at least kFrameHeaderBytes) of a frame that lies at `offset` of its file; nothing if it is
/// none.
inline std::optional<FrameHeader> parse_frame_header(std::string_view bytes, std::uint64_t offset) {
  if (load<std::uint32_t>(bytes.data()) != kFrameMagic) return std::nullopt;
  const FrameHeader header{load<std::uint32_t>(bytes.data() + 4), load<std::uint32_t>(bytes.data() + 8)};
  if (header.length < kPayloadHeadBytes || header.length > kMaxPayloadBytes) return std::nullopt;
  if (checksum(bytes.substr(0, 12), offset) != load<std::uint32_t>(bytes.data() + 12)) return std::nullopt;
  return header;
}

/// What the fold needs of a started or finished record; reads fixed offsets only.
struct RunGlance {
  RunKey key;
  ExitClass exit_class = ExitClass::lost;
  std::uint8_t number = 0;  ///< exit code or signal
  bool output_incomplete = false;
};

/// Nothing when the payload is too short for its type or names an exit class that this version does not know.
std::optional<RunGlance> glance_at_started(std::string_view payload);
std::optional<RunGlance> glance_at_finished(std::string_view payload);

/// Exit code or signal, whichever an outcome has, as one byte.
std::uint8_t outcome_number(const ExitInfo& info);

}  // namespace allot::ledger
