// SPDX-License-Identifier: MIT
#include "worker_node/step_claim.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace allot {
namespace {

constexpr off_t kEntryBytes = 8;  // of tasks.index

std::string index_path(const std::string& batch_path) {
  return batch_path + "/tasks.index";
}

struct flock lock_of(const StepRange& range) {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(range.first) * kEntryBytes;
  lock.l_len = static_cast<off_t>(range.count) * kEntryBytes;
  return lock;
}

}  // namespace

Result<Fd> claim_steps(const std::string& batch_path, const StepRanges& steps) {
  const std::string path = index_path(batch_path);
  Fd index(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!index) return fail(errno_error(errno, path));
  for (const StepRange& range : steps.ranges()) {
    struct flock lock = lock_of(range);
    // Of the open file, not of the process: another part of the process that closes the file must not give it back.
    if (::fcntl(index.get(), F_OFD_SETLK, &lock) == 0) continue;
    if (errno != EAGAIN && errno != EACCES) return fail(errno_error(errno, path + ": its steps cannot be claimed"));
    const std::string last = range.count > 1 ? "-" + std::to_string(range.first + range.count - 1) : "";
    return fail(ErrorCode::retry_later, "another worker node runs some of the steps " + std::to_string(range.first) +
                                            last + " of " + batch_path + "; nothing was run");
  }
  return index;
}

bool has_claimed_steps(const std::string& batch_path) {
  const Fd index(::open(index_path(batch_path).c_str(), O_RDWR | O_CLOEXEC));
  struct flock lock = lock_of({0, 0});  // a length of 0: to the end of the file, wherever that will be
  return index && ::fcntl(index.get(), F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

}  // namespace allot
