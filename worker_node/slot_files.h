// SPDX-License-Identifier: MIT
// The files of one slot on one node, claimed so that nobody else writes them: its record file and its output. Knows
// nothing of guards and event loops.
#pragma once

#include <cstdint>
#include <string>

#include "ledger/record.h"
#include "process/fd.h"
#include "protocol/result.h"

namespace allot {

/// Where slots are claimed.
struct SlotPlace {
  std::string batch_path;
  std::string batch_id;
  std::string runtime_directory;  ///< node-local, of this user
  std::string node;               ///< what the files are called by; empty: host_name()
};

struct SlotFiles {
  std::string writer;  // "NODE-k"
  std::string lock_path;
  std::string scratch;
  std::string control_group;  // of the guard and its tasks; empty: none
  Fd lock;                    // flock on a node-local file: who writes "NODE-k"; held by this process and the guard
  Fd claim;                   // the same where /tmp is not; empty: there are no such sockets
  Fd record_file;             // for syncing and reading what the guard wrote
  Fd output_files[2];         // opened when the slot has output to sync
  std::uint64_t session_start = 0;  // offset of the current guard's first record
};

/// Claims the first free "NODE-k" of the batch on this host. Errors: retry_later / fix_request with the path.
Result<void> claim_slot_files(SlotFiles& slot, const SlotPlace& place);
/// Gives the claim back and removes the lock file.
void release_slot_files(SlotFiles& slot);
/// Removes what slots of a batch that nobody holds any more have left in the runtime directory: of worker nodes that
/// were killed.
void remove_unused_scratch(const std::string& batch_id, const std::string& runtime_directory);

/// What is to be the last record of a session that leaves the slot in order.
ClosedRecord closing_record(const std::string& batch_path, const std::string& writer);

/// Opens what the slot has of output files, so that they can be synced. Returns an errno; 0 also for files that are not
/// there: nothing was printed to them.
int open_slot_outputs(SlotFiles& slot, const std::string& batch_path);

/// fdatasync(2), unless `is_to_sync` is false. 0 or an errno; ENOENT of a file that was removed: on disk under no name,
/// it will be found by nobody.
int sync_named(int fd, bool is_to_sync = true);

}  // namespace allot
