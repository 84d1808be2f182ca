// SPDX-License-Identifier: MIT
// What driver and worker node say to each other over their socket: u32 length, u8 type, body. Integers little-endian.
//
// Call order: the driver greets; the node answers welcome or refused. Then, in any order, the driver tells submissions
// (each before the first hand of it), hands, recalls, terminates, sets the limit, and at last leave. The node sends
// records (bytes of its slots' record files, synced), returned, notices and, at intervals, alive.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "ledger/record.h"
#include "protocol/result.h"
#include "protocol/step_ranges.h"

namespace allot::wire {

inline constexpr std::uint32_t kVersion = 1;
inline constexpr std::size_t kMaxMessageBytes = 8u << 20;

struct Greet {
  std::uint32_t version = kVersion;
  std::uint32_t batch_format = 0;
  std::string batch_id;
  std::uint64_t epoch = 0;  ///< of the driver; a node obeys the highest it has seen
};

struct SlotState {
  std::string writer;
  std::int64_t guard_pid = 0;
  std::uint64_t guard_start_ticks = 0;
};

struct Welcome {
  std::int64_t pid = 0;
  std::uint64_t start_ticks = 0;
  std::string host;
  std::vector<SlotState> slots;
  std::vector<RunKey> running;  ///< claimed by a guard and not yet told as finished
};

struct Refused {
  std::string text;
};

struct SubmissionInfo {
  std::uint32_t number = 0;
  std::string id_base;
  bool is_array = false;
  std::uint64_t step_origin = 0;
  std::uint32_t attempt = 1;
  std::uint32_t round = 0;
  std::uint32_t cores = 1;
  std::uint64_t memory_limit_bytes = 0;         ///< 0: none
  std::int64_t runtime_limit_milliseconds = 0;  ///< 0: none
};

struct Hand {
  std::uint32_t submission = 0;
  std::vector<StepRange> steps;
};

struct Terminate {
  std::uint32_t submission = 0;
  std::vector<StepRange> steps;
  std::int64_t grace_milliseconds = 0;
  ExitClass reason = ExitClass::killed;
};

/// Asks back what no guard has claimed. No ranges: everything.
struct Recall {
  std::uint32_t submission = 0;
  std::vector<StepRange> steps;
};

struct Limit {
  std::uint32_t slots = 0;  ///< at most so many tasks at once
};

/// Nothing more will come. Running tasks are ended as preempted after the grace; negative: they may finish.
struct Leave {
  std::int64_t grace_milliseconds = -1;
};

struct Records {
  std::string writer;
  std::uint64_t offset = 0;  ///< of `bytes` in the writer's file
  std::string bytes;         ///< whole frames (and the file header at offset 0)
};

/// Steps that never started here and will not.
struct Returned {
  enum class Reason : std::uint8_t { recalled, no_room, slot_lost };
  Reason reason = Reason::recalled;
  std::uint32_t submission = 0;
  std::vector<StepRange> steps;
};

struct Alive {
  std::uint32_t running = 0;
};

struct Notice {
  enum class Kind : std::uint8_t { out_of_space, space_again, slot_broken, ledger_gone };
  Kind kind = Kind::out_of_space;
  std::string text;
};

using Message = std::variant<Greet, Welcome, Refused, SubmissionInfo, Hand, Terminate, Recall, Limit, Leave, Records,
                             Returned, Alive, Notice>;

/// The message with its length in front.
std::string encode(const Message& message);

/// Takes whole messages out of a stream. Not thread-safe.
class Decoder {
 public:
  void append(std::string_view bytes) { buffer_.append(bytes); }
  /// The next message; nothing when more bytes are needed. Error: gave_up (not our protocol: close the connection).
  Result<std::optional<Message>> next();

 private:
  std::string buffer_;
  std::size_t used_ = 0;
};

}  // namespace allot::wire
