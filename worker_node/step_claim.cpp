// SPDX-License-Identifier: MIT
#include "worker_node/step_claim.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "ledger/record_file.h"
#include "ledger/writer_name.h"
#include "process/identity.h"

namespace allot {
namespace {

constexpr off_t kEntryBytes = 8;  // of tasks.index

struct flock lock_of(const StepRange& range) {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(range.first) * kEntryBytes;
  lock.l_len = static_cast<off_t>(range.count) * kEntryBytes;
  return lock;
}

bool left_in_order(const BatchDirectory& batch, std::uint64_t epoch) {
  bool has_ended = false;
  const auto report = scan_record_file(batch.record_path(driver_writer_name(epoch)), 0,
                                       [&has_ended](const DecodedRecord& record, std::uint64_t) {
                                         has_ended = std::holds_alternative<EndedRecord>(record.record);
                                         return true;
                                       });
  return report && has_ended;
}

}  // namespace

Result<Fd> claim_steps(const BatchDirectory& batch, const StepRanges& steps) {
  const std::string path = batch.task_index_path();
  Fd index(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!index) return fail(errno_error(errno, path));
  for (const StepRange& range : steps.ranges()) {
    struct flock lock = lock_of(range);
    // Of the open file, not of the process: another part of the process that closes the file must not give it back.
    if (::fcntl(index.get(), F_OFD_SETLK, &lock) == 0) continue;
    if (errno != EAGAIN && errno != EACCES) return fail(errno_error(errno, path + ": its steps cannot be claimed"));
    const std::string last = range.count > 1 ? "-" + std::to_string(range.first + range.count - 1) : "";
    return fail(ErrorCode::retry_later, "another allot-worker-node runs some of the steps " +
                                            std::to_string(range.first) + last + " of " + batch.path() +
                                            "; nothing was run");
  }
  return index;
}

bool has_claimed_steps(const BatchDirectory& batch) {
  const Fd index(::open(batch.task_index_path().c_str(), O_RDWR | O_CLOEXEC));
  struct flock lock = lock_of({0, 0});  // a length of 0: to the end of the file, wherever that will be
  return index && ::fcntl(index.get(), F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

Result<void> check_undriven(const BatchDirectory& batch) {
  auto driver = batch.current_driver();
  if (!driver) return fail(driver.error());
  if (!*driver || left_in_order(batch, (*driver)->epoch)) return {};
  const DriverIdentity& holder = **driver;
  const std::string who = batch.path() + " is driven by process " + std::to_string(holder.pid) + " on " + holder.host;
  if (holder.host != host_name()) {
    return fail(ErrorCode::fix_request, who +
                                            ", and it cannot be seen from here whether that one still runs its steps; "
                                            "end it there, or resume the batch instead; nothing was run");
  }
  const bool lives = holder.boot_id == boot_id() && is_alive({static_cast<pid_t>(holder.pid), holder.start_ticks});
  const auto above = ancestors_of(::getpid());
  const bool asked_for_it = std::find(above.begin(), above.end(), holder.pid) != above.end();
  if (!lives || holder.pid == ::getpid() || asked_for_it) return {};
  return fail(ErrorCode::fix_request, who + ", which runs its steps itself; nothing was run");
}

}  // namespace allot
