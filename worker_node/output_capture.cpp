// SPDX-License-Identifier: MIT
#include "worker_node/output_capture.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace allot {
namespace {
constexpr int kPipeBytes = 256 * 1024;  // a chatty task is switched to its guard four times less often than with 64 KiB
constexpr std::size_t kBlockBytes = 64 * 1024;
constexpr std::uint64_t kDrainBytes = 1024 * 1024;
constexpr off_t kRoomBytes = 1024 * 1024;  // so much must be free before tasks start again
}  // namespace

int OutputCapture::prepare() {
  if (!write_end_) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return errno;
    read_end_.reset(ends[0]);
    write_end_.reset(ends[1]);
    ::fcntl(read_end_.get(), F_SETFL, O_NONBLOCK);
    ::fcntl(write_end_.get(), F_SETPIPE_SZ, kPipeBytes);  // refused above the user's share: 64 KiB will do
    return 0;
  }
  // From a process that was handed the pipe, beyond the last task's tree: it is of no task.
  static char nobodys[kBlockBytes];
  for (int i = 0; i < 64 && ::read(read_end_.get(), nobodys, sizeof nobodys) > 0; ++i) {
  }
  const int flags = ::fcntl(write_end_.get(), F_GETFL);
  if ((flags & (O_NONBLOCK | O_ASYNC | O_DIRECT)) != 0) ::fcntl(write_end_.get(), F_SETFL, 0);
  return 0;
}

void OutputCapture::begin() {
  start_ = size_;
  lost_ = 0;
  write_error_ = 0;
}

void OutputCapture::store(const char* bytes, std::size_t size) {
  if (!file_) {
    file_ = open_private(path_, O_RDWR);
    struct stat info;
    if (!file_ || ::fstat(file_.get(), &info) != 0) {
      if (write_error_ == 0) write_error_ = errno;
      is_full_ = errno == ENOSPC || errno == EDQUOT;
      file_.reset();
      lost_ += size;
      return;
    }
    // What a killed guard left behind the last recorded extent stays: no record speaks of it.
    size_ = start_ = static_cast<std::uint64_t>(info.st_size);
  }
  // Once bytes are lost the rest of this task's output is, too: an extent with a hole would be a lie.
  while (size > 0 && lost_ == 0) {
    const ssize_t n = ::pwrite(file_.get(), bytes, size, static_cast<off_t>(size_));
    if (n < 0) {
      if (errno == EINTR) continue;
      write_error_ = errno;
      is_full_ = errno == ENOSPC || errno == EDQUOT;
      break;
    }
    size_ += static_cast<std::uint64_t>(n);
    bytes += n;
    size -= static_cast<std::size_t>(n);
  }
  lost_ += size;
}

std::uint64_t OutputCapture::drain() {
  return drain(kDrainBytes);
}

std::uint64_t OutputCapture::drain_rest() {
  // What the task has made of the pipe's size counts. Bounded: a process beyond the task's tree may have been handed
  // the pipe, and write for ever.
  const int capacity = ::fcntl(read_end_.get(), F_GETPIPE_SZ);
  return drain(std::max<std::uint64_t>(kDrainBytes, capacity > 0 ? static_cast<std::uint64_t>(capacity) : 0));
}

std::uint64_t OutputCapture::drain(std::uint64_t most) {
  static char block[kBlockBytes];
  std::uint64_t total = 0;
  while (total < most) {
    const ssize_t n = ::read(read_end_.get(), block, sizeof block);
    if (n > 0) {
      store(block, static_cast<std::size_t>(n));
      total += static_cast<std::uint64_t>(n);
      continue;
    }
    if (n < 0 && errno == EINTR) continue;
    break;
  }
  return total;
}

bool OutputCapture::has_room() {
  if (!is_full_) return true;
  if (file_ && ::fallocate(file_.get(), FALLOC_FL_KEEP_SIZE, static_cast<off_t>(size_), kRoomBytes) == 0) {
    is_full_ = ::ftruncate(file_.get(), static_cast<off_t>(size_)) != 0;  // only asked: it is given back
  } else if (!file_ || errno == EOPNOTSUPP) {
    struct statvfs space;
    const std::string directory = path_.substr(0, path_.rfind('/'));
    is_full_ = ::statvfs(directory.c_str(), &space) != 0 ||
               static_cast<std::uint64_t>(space.f_bavail) * space.f_frsize < static_cast<std::uint64_t>(kRoomBytes);
  }
  return !is_full_;
}

std::string OutputCapture::tail(std::size_t max_bytes) const {
  const std::uint64_t length = std::min<std::uint64_t>(max_bytes, size_ - start_);
  std::string bytes(static_cast<std::size_t>(length), '\0');
  if (length == 0) return bytes;
  const ssize_t n = pread_all(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(size_ - length));
  bytes.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  return bytes;
}

void OutputCapture::abandon_pipe() {
  read_end_.reset();
  write_end_.reset();
}

}  // namespace allot
