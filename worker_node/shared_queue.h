// SPDX-License-Identifier: MIT
// The memory that a worker node shares with its guards: a queue that guards claim from, and a line per slot.
//
// Rules. The worker node alone publishes entries (at `tail`) and frees them; guards and the worker node race only for
// an entry's `state`, by compare-and-swap out of `queued`. A guard that is killed holds no lock, only entries whose
// state names its slot: the worker node finds those and asks the slot's record file what became of them.
#pragma once

#include <atomic>
#include <cstdint>
#include <type_traits>

#include "protocol/distributor_id.h"

namespace allot {

inline constexpr std::uint32_t kQueueCapacity = 4096;  ///< entries; a power of two
inline constexpr std::uint32_t kMaxSlots = 64;         ///< slots of one worker node
inline constexpr std::uint32_t kSharedQueueMagic = 0xA1107002;

/// Low byte of an entry's state; the slot that holds it is in the bytes above.
enum EntryState : std::uint32_t {
  kEntryFree = 0,
  kEntryQueued = 1,
  kEntryClaimed = 2,   ///< a guard runs it
  kEntryFinished = 3,  ///< the guard has written its finished record
  kEntryReturned = 4,  ///< the guard could not start it (no room for records): it never ran
  kEntryRecalled = 5,  ///< the worker node took it back before a guard came
};
inline constexpr std::uint32_t entry_state(std::uint32_t kind, std::uint32_t slot) {
  return kind | (slot << 8);
}
inline constexpr std::uint32_t entry_kind(std::uint32_t state) {
  return state & 0xff;
}
inline constexpr std::uint32_t entry_slot(std::uint32_t state) {
  return state >> 8;
}

enum NodeWaiting : std::uint32_t {
  kNodeAwake = 0,    ///< it will look by itself
  kNodeSleeps = 1,   ///< wake it for anything
  kNodeGathers = 2,  ///< it gathers records for one sync: wake it only when a slot has nothing to do
};

enum SchedulerWord : std::uint32_t {
  kNoScheduler = 0,    ///< the worker node is no scheduler's job
  kHasScheduler = 1,   ///< it is: a signal may be sent to every process of it
  kSchedulerTerm = 2,  ///< SIGTERM has been
};

/// One run to do. All but `state` is written before the entry is published and constant until it is freed.
struct QueueEntry {
  std::atomic<std::uint32_t> state{kEntryFree};
  std::uint32_t step = 0;
  std::uint32_t submission = 0;
  std::uint32_t attempt = 1;
  std::uint32_t round = 0;
  std::uint16_t restart = 0;
  bool is_array = false;
  std::uint32_t cores = 1;
  std::uint64_t step_origin = 0;
  std::uint64_t memory_limit_bytes = 0;         ///< 0: none
  std::int64_t runtime_limit_milliseconds = 0;  ///< 0: none
  char id_base[kIdBaseLength] = {};
};

/// What a guard tells about its slot, and what it is asked to do.
struct SlotLine {
  alignas(64) std::atomic<std::uint64_t> written{0};  ///< end of the record file after the last write
  std::atomic<std::uint64_t> ends{0};          ///< end of the last record in it of an end: stored before `written`
  std::atomic<std::uint64_t> output_bytes{0};  ///< grows with everything appended to the slot's output files
  std::atomic<std::uint32_t> sleeping{0};      ///< 1: waits for its poke descriptor
  std::atomic<std::uint32_t> out_of_space{0};  ///< 1: keeps from starting tasks until poked
  alignas(64) std::atomic<std::uint64_t> stop_position{0};  ///< queue position + 1 of the entry to stop; 0: none
  std::atomic<std::int64_t> stop_grace_milliseconds{0};     ///< for it: TERM first, KILL after so long; 0: KILL at once
  std::atomic<std::uint32_t> stop_reason{0};                ///< for it: the ExitClass to record
};

struct SharedQueue {
  std::uint32_t magic = kSharedQueueMagic;
  std::uint32_t slot_count = 0;
  std::atomic<std::uint32_t> limit{0};                 ///< slots below this number may claim
  std::atomic<std::uint32_t> draining{0};              ///< 1: claim nothing more; idle guards leave
  std::atomic<std::uint32_t> node_waiting{0};          ///< NodeWaiting: must its wake descriptor be written?
  std::atomic<std::uint32_t> scheduler{kNoScheduler};  ///< SchedulerWord
  alignas(64) std::atomic<std::uint64_t> tail{0};      ///< positions published
  alignas(64) std::atomic<std::uint64_t> head{0};      ///< hint: no queued entry lies before it
  SlotLine slots[kMaxSlots];
  QueueEntry entries[kQueueCapacity];
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

/// Claims the oldest queued entry for `slot`. Returns false when there is none or the slot may not claim now.
inline bool claim_entry(SharedQueue& queue, std::uint32_t slot, std::uint64_t& position) {
  if (slot >= queue.limit.load() || queue.draining.load() != 0) return false;
  std::uint64_t at = queue.head.load();
  while (at < queue.tail.load()) {
    QueueEntry& entry = queue.entries[at % kQueueCapacity];
    std::uint32_t expected = kEntryQueued;
    const bool won = entry.state.compare_exchange_strong(expected, entry_state(kEntryClaimed, slot));
    std::uint64_t seen = at;
    queue.head.compare_exchange_strong(seen, at + 1);
    if (won) {
      position = at;
      return true;
    }
    at = seen == at ? at + 1 : seen;
  }
  return false;
}

}  // namespace allot
