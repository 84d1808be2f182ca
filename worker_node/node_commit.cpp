// SPDX-License-Identifier: MIT
#include "worker_node/node_commit.h"

#include <cerrno>

#include "ledger/record_file.h"
#include "process/fault_point.h"
#include "process/fd.h"
#include "worker_node/slot_files.h"

namespace allot {

void commit(std::vector<CommitPart>& parts) {
  for (CommitPart& part : parts) {
    for (int fd : part.output_fds) {
      if (fd >= 0 && part.error == 0) part.error = sync_named(fd);
    }
    ALLOT_FAULT_POINT("node_before_sync");
    if (part.error == 0) part.error = sync_named(part.record_fd, part.has_end);
    ALLOT_FAULT_POINT("node_after_sync");
    if (part.error != 0) continue;
    part.records.bytes.resize(part.end - part.records.offset);
    const ssize_t n = pread_all(part.record_fd, part.records.bytes.data(), part.records.bytes.size(),
                                static_cast<off_t>(part.records.offset));
    if (n < 0) {
      part.error = errno;
    } else if (static_cast<std::size_t>(n) != part.records.bytes.size()) {
      part.error = EIO;  // shorter than the guard said it wrote
    } else if (part.end < part.written) {
      // What is told ends with a record: the receiver takes the rest of one that is cut for torn.
      const auto report = scan_frames(part.records.bytes, part.records.offset,
                                      [](const DecodedRecord&, std::uint64_t) { return true; });
      if (report.valid_end > part.records.offset) part.end = report.valid_end;
      part.records.bytes.resize(part.end - part.records.offset);
    }
  }
}

}  // namespace allot
