// SPDX-License-Identifier: MIT
// Group commit: one sync for all that the slots wrote since the last one. Runs beside the event loop, because a sync on
// a slow file system may take seconds in which tasks must still be ended and heartbeats sent.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "worker_node/wire.h"

namespace allot {

/// One slot's part of a commit. Descriptors stay open until it is done.
struct CommitPart {
  std::uint32_t slot = 0;
  int record_fd = -1;
  int output_fds[2] = {-1, -1};    ///< synced before the records that speak of them; -1: nothing new
  std::uint64_t output_bytes = 0;  ///< what the slot had put into its output files when the commit began
  wire::Records records;           ///< writer and offset given; `bytes` is filled in
  std::uint64_t end = 0;           ///< the records are [records.offset, end); cut to the last whole one
  std::uint64_t written = 0;       ///< end of what the slot had written when the commit began
  bool has_end = true;             ///< false: nothing but starts, which need not be on disk to be told
  int error = 0;                   ///< errno of the sync or read that failed: nothing of this part may be told
};

/// Syncs and reads every part that has no error yet.
void commit(std::vector<CommitPart>& parts);

}  // namespace allot
