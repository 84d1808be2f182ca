// SPDX-License-Identifier: MIT
// One slot of a worker node: the files it has claimed on this host, and its guard. Internal to the worker node.
#pragma once

#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstdint>
#include <memory>
#include <string>

#include "ledger/batch_directory.h"
#include "process/fd.h"
#include "process/spawn.h"
#include "protocol/result.h"
#include "worker_node/guard.h"
#include "worker_node/slot_files.h"

namespace allot {

struct NodeSlot : SlotFiles {
  std::uint32_t index = 0;
  std::uint64_t sent = 0;  // offset up to which records were told
  std::uint64_t output_synced = 0;
  Fd poke;
  Fd lifeline;          // our end; closing it tells the guard that we are gone
  pid_t guard_pid = 0;  // 0: none
  std::uint64_t guard_start_ticks = 0;
  std::unique_ptr<boost::asio::posix::stream_descriptor> guard_exit;
  std::uint32_t deaths_in_a_row = 0;
  int death_status = 0;   // wait status of the guard that died last
  bool unburied = false;  // what that guard was doing is not settled yet
  std::string trouble;    // told to the driver: why the slot has no guard now
  bool broken = false;
};

/// Claims the first free "HOST-k" of the batch on this host. Errors: retry_later / fix_request with the path.
Result<void> claim_slot_files(NodeSlot& slot, const BatchDirectory& batch, const std::string& runtime_directory);

/// Starts the slot's guard. `options` holds what all slots share. Errors: the spawn's.
Result<void> start_guard(NodeSlot& slot, GuardOptions options, const std::string& program, Spawner& spawner,
                         Fd& exit_descriptor);

}  // namespace allot
