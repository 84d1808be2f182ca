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

namespace allot {

struct NodeSlot {
  std::uint32_t index = 0;
  std::string writer;  // "host-k"
  std::string lock_path;
  std::string scratch;
  std::string control_group;  // of the guard and its tasks; empty: none
  Fd lock;                    // flock on a node-local file: who writes "host-k"; held by this process and the guard
  Fd record_file;             // for syncing and reading what the guard wrote
  Fd output_files[2];         // opened when the slot has output to sync
  std::uint64_t sent = 0;     // offset up to which records were told
  std::uint64_t session_start = 0;  // offset of the current guard's first record
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
/// Gives the claim back and removes the lock file.
void release_slot_files(NodeSlot& slot);
/// Removes what slots of a batch that nobody holds any more have left in the runtime directory: of worker nodes that
/// were killed.
void remove_unused_scratch(const std::string& batch_id, const std::string& runtime_directory);

/// Starts the slot's guard. `options` holds what all slots share. Errors: the spawn's.
Result<void> start_guard(NodeSlot& slot, GuardOptions options, const std::string& program, Spawner& spawner,
                         Fd& exit_descriptor);

}  // namespace allot
