// SPDX-License-Identifier: MIT
#include "worker_node/slot_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <ctime>
#include <string_view>
#include <vector>

#include "ledger/record_file.h"
#include "ledger/writer_name.h"
#include "process/control_group.h"
#include "process/identity.h"

namespace allot {
namespace {

// Locks `path`; false with errno EWOULDBLOCK when somebody has it. The file may be removed by its last holder between
// open and lock: then the name stands for another file, and the lock is worth nothing.
bool lock_file(const std::string& path, Fd& lock) {
  for (;;) {
    lock.reset(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!lock || ::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) return false;
    struct stat held, named;
    if (::fstat(lock.get(), &held) == 0 && ::stat(path.c_str(), &named) == 0 && held.st_ino == named.st_ino &&
        held.st_dev == named.st_dev) {
      return true;
    }
  }
}

// The lock is in the runtime directory, and that changes: at a logout, from a session to a cron job. A guard that has
// locked the slot in another one still lives then.
bool is_in_use(const OpenedRecord& last) {
  if (last.host != host_name() || last.boot_id != boot_id()) return false;
  return is_alive({static_cast<pid_t>(last.pid), last.start_ticks}) ||
         (last.worker_pid != ::getpid() && is_alive({static_cast<pid_t>(last.worker_pid), last.worker_start_ticks}));
}

std::uint64_t end_of(const OutputExtent& extent) {
  return extent.length == 0 ? 0 : extent.offset + extent.length;
}

std::uint64_t file_size(const std::string& path) {
  struct stat info;
  return ::stat(path.c_str(), &info) == 0 ? static_cast<std::uint64_t>(info.st_size) : 0;
}

std::string output_path(const std::string& batch_path, const std::string& writer, int stream) {
  return batch_path + "/output/" + writer + (stream == 0 ? ".out" : ".err");
}

struct FileEnd {
  std::uint64_t records = 0;  // end of the last whole frame; a torn tail of a killed guard is cut by the next one
  std::uint64_t printed[2] = {0, 0};  // so far the output files reached
  OpenedRecord last;                  // session, unless it was left in order
};

Result<FileEnd> end_of_file(const std::string& path) {
  FileEnd end;
  if (const Fd fd = open_regular(path, O_RDONLY); fd) {
    if (const auto closed = find_closed_end(fd.get())) {
      end.records = closed->end;
      std::copy_n(closed->record.output_bytes, 2, end.printed);
      return end;
    }
  }
  auto report = scan_record_file(path, 0, [&end](const DecodedRecord& record, std::uint64_t) {
    if (const auto* opened = std::get_if<OpenedRecord>(&record.record)) end.last = *opened;
    if (const auto* finished = std::get_if<FinishedRecord>(&record.record)) {
      end.printed[0] = std::max(end.printed[0], end_of(finished->standard_output));
      end.printed[1] = std::max(end.printed[1], end_of(finished->standard_error));
    }
    return true;
  });
  if (!report) return fail(std::move(report.error()));
  end.records = report->valid_end;
  return end;
}

// Locks hold where the runtime directory is the same. Jobs of one node may each have a /tmp of their own, but they
// share its network, and there a name is bound once, until nobody has the socket any more. False: somebody has it.
bool bind_claim(const std::string& name, Fd& claim) {
  claim.reset(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  // Abstract: it begins with a NUL. Of a name that is too long the end tells more.
  const std::size_t length = std::min(name.size(), sizeof address.sun_path - 1);
  std::memcpy(address.sun_path + 1, name.data() + (name.size() - length), length);
  const auto bytes = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + length);
  if (claim && ::bind(claim.get(), reinterpret_cast<const sockaddr*>(&address), bytes) == 0) return true;
  const bool is_taken = claim && errno == EADDRINUSE;
  claim.reset();
  return !is_taken;  // where there are no such sockets the lock must do
}

}  // namespace

Result<void> claim_slot_files(SlotFiles& slot, const SlotPlace& place) {
  constexpr int kMostSlots = 100'000;
  const std::string& node = place.node.empty() ? host_name() : place.node;
  const std::string records = place.batch_path + "/records";
  for (int k = 0; k < kMostSlots; ++k) {
    slot.writer = slot_writer_name(node, static_cast<std::uint64_t>(k));
    slot.scratch = place.runtime_directory + "/" + place.batch_id + "-" + std::to_string(k);
    slot.lock_path = slot.scratch + ".lock";
    if (!lock_file(slot.lock_path, slot.lock)) {
      if (errno == EWOULDBLOCK) continue;
      return fail(errno_error(errno, slot.lock_path));
    }
    // Of a slot that is passed over nothing is to stay in the runtime directory.
    const auto pass_over = [&slot] {
      ::unlink(slot.lock_path.c_str());
      slot.claim.reset();
      slot.lock.reset();
    };
    if (!bind_claim("allot-" + place.batch_id + "-" + slot.writer, slot.claim)) {
      pass_over();
      continue;
    }
    const std::string path = records + "/" + slot.writer;
    auto end = end_of_file(path);
    if (!end) return fail(std::move(end.error()));
    // A node may have become another host, and the one that it was may still write.
    const bool is_elsewhere = !end->last.host.empty() && !place.node.empty() && end->last.host != host_name();
    if (is_elsewhere || is_in_use(end->last)) {
      pass_over();
      continue;
    }
    // Output that was removed or cut: what comes next would be taken for what earlier tasks printed.
    if (file_size(output_path(place.batch_path, slot.writer, 0)) < end->printed[0] ||
        file_size(output_path(place.batch_path, slot.writer, 1)) < end->printed[1]) {
      pass_over();
      continue;
    }
    slot.session_start = end->records;
    slot.record_file = open_private(path, O_RDWR);
    if (!slot.record_file) return fail(errno_error(errno, path));
    // A power loss must not take the file's name when its records are said to be on disk.
    if (end->records == 0) return sync_directory(records);
    return {};
  }
  return fail(ErrorCode::gave_up, "every record file of " + node + " in " + place.batch_path + " is in use");
}

void remove_unused_scratch(const std::string& batch_id, const std::string& runtime_directory) {
  constexpr std::string_view kSuffix = ".lock";
  std::vector<std::string> scratches;
  if (DIR* directory = ::opendir(runtime_directory.c_str()); directory != nullptr) {
    while (const dirent* item = ::readdir(directory)) {
      const std::string_view name = item->d_name;
      if (!name.starts_with(batch_id + "-") || !name.ends_with(kSuffix)) continue;
      scratches.push_back(runtime_directory + "/" + std::string(name.substr(0, name.size() - kSuffix.size())));
    }
    ::closedir(directory);
  }
  for (const std::string& scratch : scratches) {
    SlotFiles slot;
    slot.scratch = scratch;
    slot.lock_path = scratch + std::string(kSuffix);
    if (lock_file(slot.lock_path, slot.lock)) release_slot_files(slot);
  }
}

void release_slot_files(SlotFiles& slot) {
  if (!slot.lock) return;
  remove_control_group(slot.control_group);
  ::unlink(slot.lock_path.c_str());
  remove_anything(slot.scratch + ".error");
  remove_anything(slot.scratch + ".progress");
  slot.claim.reset();
  slot.lock.reset();
}

ClosedRecord closing_record(const std::string& batch_path, const std::string& writer) {
  ClosedRecord closed;
  for (int stream = 0; stream < 2; ++stream) {
    closed.output_bytes[stream] = file_size(output_path(batch_path, writer, stream));
  }
  timespec t;
  ::clock_gettime(CLOCK_REALTIME, &t);
  closed.at_ns = static_cast<std::int64_t>(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
  return closed;
}

int open_slot_outputs(SlotFiles& slot, const std::string& batch_path) {
  int error = 0;
  for (int stream = 0; stream < 2; ++stream) {
    Fd& file = slot.output_files[stream];
    if (file) continue;
    file.reset(::open(output_path(batch_path, slot.writer, stream).c_str(), O_RDWR | O_CLOEXEC));
    if (!file && errno != ENOENT) error = errno;
    if (file && !sync_directory(batch_path + "/output")) error = EIO;
  }
  return error;
}

int sync_named(int fd, bool is_to_sync) {
  if (is_to_sync && ::fdatasync(fd) != 0) return errno;
  struct stat info {};
  return ::fstat(fd, &info) == 0 && info.st_nlink == 0 ? ENOENT : 0;
}

}  // namespace allot
