// SPDX-License-Identifier: MIT
// Owning file descriptors and whole reads and writes.
#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "protocol/result.h"

namespace allot {

/// Owns a file descriptor; closes it at the end of its life. -1: none.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.fd_, -1));
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }
  void reset(int fd = -1) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }

 private:
  int fd_ = -1;
};

/// "Permission denied (EACCES)": strerror and the name of an errno.
std::string errno_text(int error);

/// An errno as an Error: EAGAIN, ENOMEM, ENOSPC, EMFILE, EINTR and their like are retry_later, the rest fix_request.
Error errno_error(int error, std::string_view what);

/// Opens a regular file; what is something else at `path` (a FIFO would block, a device has no end) is refused with
/// errno EINVAL. `flags` as for open(2), without O_CREAT; close-on-exec is added.
Fd open_regular(const std::string& path, int flags);

/// Removes whatever is at `path`, a directory with all that is in it too. Nothing there is fine.
void remove_anything(const std::string& path);

/// Writes everything; false with errno set on the first failure (`*written` then says how much went out).
bool write_all(int fd, std::string_view bytes, std::size_t* written = nullptr);

/// Reads up to `size` bytes at `offset` until end of file; -1 with errno on failure.
ssize_t pread_all(int fd, void* buffer, std::size_t size, off_t offset);

/// A whole file, or what a pipe has. Errors: as errno_error, with the path; gave_up above `max_bytes`.
Result<std::string> read_file(const std::string& path, std::size_t max_bytes = 64u << 20);

/// The same of a regular file only.
Result<std::string> read_regular_file(const std::string& path, std::size_t max_bytes = 64u << 20);

/// open(2) for appending or changing with O_CREAT and O_CLOEXEC; a file that it makes has mode 0600 whatever the umask.
Fd open_private(const std::string& path, int flags);

/// Writes a file under a temporary name in the same directory, syncs it, renames it, syncs the directory.
/// It has `mode` whatever the umask.
Result<void> write_file_durably(const std::string& path, std::string_view bytes, mode_t mode = 0600);

/// Marks every descriptor from `first` on close-on-exec: what whoever started this process left open goes no further.
void close_on_exec_from(int first);

/// Closes every descriptor above 2 but `kept` (-1: none). For a program's first line: nothing of its own is open yet.
void close_all_but(int kept);

/// Errors: retry_later if the process cannot open `count` more descriptors now. For who must not run out of them later.
Result<void> need_descriptors(std::size_t count);

/// fsync(2) of a directory, so that names made in it survive a power loss.
Result<void> sync_directory(const std::string& path);

}  // namespace allot
