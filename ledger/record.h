// SPDX-License-Identifier: MIT
// The facts about attempts, as values and as bytes.
//
// A record file is "ALLOTRC1" and frames: u32 magic kFrameMagic, u32 payload length, u32 payload checksum, u32 header
// checksum, payload (u8 type, u64 sequence (1, 2, … per file), fields). The header checksum is seeded with the frame's
// offset: a frame quoted somewhere else is never taken for one, and a damaged payload is stepped over by its length.
// Integers are little-endian. Unknown types are skipped and counted. docs/ledger.md has every field.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "ledger/driver_records.h"
#include "protocol/exit_info.h"
#include "protocol/resources.h"
#include "protocol/result.h"
#include "protocol/step_ranges.h"
#include "protocol/usage_stats.h"

namespace allot {

inline constexpr char kRecordFileHeader[] = "ALLOTRC1";  // 8 bytes on disk
inline constexpr std::uint32_t kFrameMagic = 0xA1107EC5;
inline constexpr std::size_t kFrameHeaderBytes = 16;
inline constexpr std::size_t kMaxPayloadBytes = 1u << 20;
/// Room for one finished record at most: 10 000 characters of 4 bytes of error text and the rest.
inline constexpr std::size_t kMaxFinishedBytes = 48 * 1024;

/// First of a writer's session in its file; a slot's file has one per guard that used it.
struct OpenedRecord {
  std::string host;
  std::string boot_id;
  std::int64_t pid = 0;  ///< of the writer: guard or driver
  std::uint64_t start_ticks = 0;
  std::int64_t worker_pid = 0;  ///< of its worker node; 0 for a driver
  std::uint64_t worker_start_ticks = 0;
  std::string cgroup;  ///< directory of the slot's cgroup; empty: none
  std::int64_t at_ns = 0;
  std::string node;  ///< the scheduler's name of the node; empty: it is called as its host

  const std::string& node_name() const { return node.empty() ? host : node; }
};

struct StartedRecord {
  RunKey key;
  std::uint32_t attempt = 1;
  std::int64_t at_ns = 0;  ///< Unix time, for people; order comes from keys and sequences
};

/// Where a task's output lies in the writer's output file. Empty length with `external`: in the user's own file.
struct OutputExtent {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::uint64_t lost_bytes = 0;  ///< printed, but could not be kept (disk full, I/O error)
  bool external = false;
  friend bool operator==(const OutputExtent&, const OutputExtent&) = default;
};

struct FinishedRecord {
  RunKey key;
  std::uint32_t attempt = 1;
  std::int64_t started_ns = 0;
  std::int64_t ended_ns = 0;
  ExitInfo exit_info;
  UsageStats usage;  ///< `node` is not stored per record: it is the session's host
  OutputExtent standard_output;
  OutputExtent standard_error;
  std::uint32_t leftover_processes = 0;  ///< processes of the tree that outlived the command and were ended
};

/// Last of a session of a slot that was left in order: whoever opens the file next need not read all of it. One of a
/// fixed size, so that it is found from the end of the file.
struct ClosedRecord {
  std::uint64_t output_bytes[2] = {0, 0};  ///< sizes of the slot's files of stdout and stderr then
  std::int64_t at_ns = 0;
};

using Record = std::variant<OpenedRecord, StartedRecord, FinishedRecord, IntentRecord, SubmittedRecord, VerdictRecord,
                            WithdrawnRecord, AbandonedRecord, EndedRecord, RetryRecord, HeldRecord, ThrottleRecord,
                            CancelledRecord, AddedRecord, ClosedRecord>;

/// Appends one record as a frame that begins at `offset` of its file. Texts longer than fit are cut at a UTF-8
/// boundary: of an ExitInfo the last 10 000 characters stay, of others the first bytes. Returns how many frames it
/// became, numbered from `sequence` on: more than one only for tens of thousands of separate ranges of steps; each then
/// holds a part.
std::uint64_t append_frame(std::string& bytes, const Record& record, std::uint64_t sequence, std::uint64_t offset);

struct DecodedRecord {
  Record record;
  std::uint64_t sequence = 0;
};
/// Decodes a payload whose checksum was good. Nothing for an unknown type. Error: gave_up (its fields do not add up).
Result<std::optional<DecodedRecord>> decode_payload(std::string_view payload);

/// Last `max_characters` characters of text: never starts inside a UTF-8 sequence; other bytes count as one each.
std::string_view utf8_tail(std::string_view text, std::size_t max_characters);

}  // namespace allot
