// SPDX-License-Identifier: MIT
// What a scheduler's job needs to know of its submission, in files of the batch: a job that starts may find no driver
// to ask. In BATCH/submissions/, N being the submission's number, all written by the driver alone:
//
//   N        the submission's intent, in the format of a record file; there before the scheduler is asked
//   N.fence  a number: native jobs of earlier tries than this one are void
//   N.stop   requests to end steps while the job lives, one a line: "FIRST-LAST GRACE_MS", or "all GRACE_MS"; or
//            "preempted 0": whoever ends the job from now on does so for its driver, which stops
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ledger/driver_records.h"
#include "protocol/result.h"

namespace allot {

std::string submission_file_path(const std::string& batch_path, std::uint32_t submission);
std::string fence_path(const std::string& batch_path, std::uint32_t submission);
std::string stop_requests_path(const std::string& batch_path, std::uint32_t submission);

/// Is this the name of a file in submissions/ that allot has put there, or of one in the making?
bool is_submission_file(std::string_view name);

/// Makes the directory if need be; on disk when it returns. A file that is there is replaced. Errors: as errno says.
Result<void> write_submission_file(const std::string& batch_path, const IntentRecord& intent);

/// Errors: gone (there is none), gave_up (it is damaged, or of another submission), else as errno says.
Result<IntentRecord> read_submission_file(const std::string& batch_path, std::uint32_t submission);

/// From now on jobs of tries below `first_valid_try` run nothing that they have not begun. On disk when it returns. A
/// fence is never lowered: where a higher one stands nothing changes. Errors: as read_fence and as errno says.
Result<void> write_fence(const std::string& batch_path, std::uint32_t submission, std::uint32_t first_valid_try);

/// 0 where no fence was put up. Looks past what a network file system remembers of the directory. Errors: gave_up (no
/// number in it), else as errno says: whoever cannot read it does not know whether it may run.
Result<std::uint32_t> read_fence(const std::string& batch_path, std::uint32_t submission);

/// A request to end steps of a submission whose job runs.
struct StopRequest {
  bool all = false;  ///< all that runs, and nothing more is to start; `first` and `last` mean nothing
  std::uint32_t first = 0;
  std::uint32_t last = 0;  ///< itself included
  std::int64_t grace_milliseconds = 0;
  bool is_preemption = false;  ///< nothing is to be ended for it; if the job is, that is preemption
  friend bool operator==(const StopRequest&, const StopRequest&) = default;
};

/// On disk when it returns; the job reads it when it is told to, or by itself within half a minute. What a killed
/// writer has left of a line is closed off first. Errors: as errno says.
Result<void> append_stop_requests(const std::string& batch_path, std::uint32_t submission,
                                  const std::vector<StopRequest>& requests);

/// What was read of a file of requests.
struct StopRequests {
  std::vector<StopRequest> requests;
  std::uint64_t end = 0;         ///< where to read on: behind the last whole line
  std::uint64_t unreadable = 0;  ///< lines that are no request
};

/// The whole lines from the offset `from` on; a line without its end is left for the next time. No file: nothing.
/// Errors: as errno says.
Result<StopRequests> read_stop_requests(const std::string& batch_path, std::uint32_t submission,
                                        std::uint64_t from = 0);

}  // namespace allot
