// SPDX-License-Identifier: MIT
// What is to be settled when a guard has ended: what it left alive, and what its records say of the runs that it had.
// For worker nodes of either kind; knows nothing of event loops.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "ledger/record.h"
#include "protocol/result.h"
#include "worker_node/shared_queue.h"

namespace allot {

/// Where what a dead guard has left can be.
struct Orphans {
  std::string control_group;       ///< of its slot; empty: none
  bool are_ours = false;           ///< this process is a subreaper: whatever is below it and below no guard is one
  std::vector<pid_t> guards;       ///< that live
  std::vector<std::string> marks;  ///< NAME=VALUE in the environments of its tasks
};

/// Kills them until none is left. False: after ten seconds something still lives.
bool end_orphans(const Orphans& orphans);

/// What an entry's task has in its environment, and nobody else.
std::string mark_of(const QueueEntry& entry);
RunKey key_of(const QueueEntry& entry);

/// What the records of a session say.
struct SessionRuns {
  std::set<RunKey> started, finished;
  std::uint64_t end = 0;  ///< of the last whole record
};
/// Errors: the file cannot be read, which is no proof that a run never began.
Result<SessionRuns> runs_of_session(const std::string& record_path, std::uint64_t session_start);

/// Records that a run is lost because its guard ended with that wait status. Returns the end of the record file.
/// `are_ended`: nothing of it lives any more.
Result<std::uint64_t> record_loss(const std::string& record_path, const QueueEntry& entry, int guard_status,
                                  bool are_ended);

}  // namespace allot
