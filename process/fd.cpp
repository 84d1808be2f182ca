// SPDX-License-Identifier: MIT
#include "process/fd.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <vector>

#include "process/fault_point.h"

namespace allot {

std::string errno_text(int error) {
  const char* name = strerrorname_np(error);
  std::string text = strerrordesc_np(error) != nullptr ? strerrordesc_np(error) : "unknown error";
  return text + " (" + (name != nullptr ? name : std::to_string(error).c_str()) + ")";
}

Error errno_error(int error, std::string_view what) {
  ErrorCode code = ErrorCode::fix_request;
  switch (error) {
    case EAGAIN:
    case EINTR:
    case ENOMEM:
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
    case EBUSY:
    case ETIMEDOUT:
    case ESTALE:
    case EIO:
      code = ErrorCode::retry_later;
      break;
    default:
      break;
  }
  return {code, std::string(what) + ": " + errno_text(error)};
}

bool write_all(int fd, std::string_view bytes, std::size_t* written) {
  std::size_t done = 0;
  bool good = true;
  while (done < bytes.size()) {
    ssize_t n = ::write(fd, bytes.data() + done, bytes.size() - done);
    if (n < 0) {
      if (errno == EINTR) continue;
      good = false;
      break;
    }
    done += static_cast<std::size_t>(n);
  }
  if (written != nullptr) *written = done;
  return good;
}

ssize_t pread_all(int fd, void* buffer, std::size_t size, off_t offset) {
  std::size_t done = 0;
  while (done < size) {
    ssize_t n = ::pread(fd, static_cast<char*>(buffer) + done, size - done, offset + static_cast<off_t>(done));
    if (n < 0) {
      if (errno == EINTR) continue;
      return -1;
    }
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  return static_cast<ssize_t>(done);
}

void close_on_exec_from(int first) {
#ifdef SYS_close_range
  constexpr unsigned kCloexec = 1u << 2;  // CLOSE_RANGE_CLOEXEC, which older headers lack
  if (::syscall(SYS_close_range, static_cast<unsigned>(first), ~0u, kCloexec) == 0) return;
#endif
  const long most = ::sysconf(_SC_OPEN_MAX);
  for (int fd = first; fd < most; ++fd) {
    const int flags = ::fcntl(fd, F_GETFD);
    if (flags >= 0) ::fcntl(fd, F_SETFD, flags | FD_CLOEXEC);
  }
}

void close_all_but(int kept) {
  const long most = ::sysconf(_SC_OPEN_MAX);
#ifdef SYS_close_range
  const int end = kept > 2 ? kept : 2;
  const bool below = kept <= 3 || ::syscall(SYS_close_range, 3u, static_cast<unsigned>(kept - 1), 0u) == 0;
  if (below && ::syscall(SYS_close_range, static_cast<unsigned>(end + 1), ~0u, 0u) == 0) return;
#endif
  for (int fd = 3; fd < most; ++fd) {
    if (fd != kept) ::close(fd);
  }
}

Fd open_regular(const std::string& path, int flags) {
  Fd fd(::open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat info {};
  if (fd && (::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode))) {
    fd.reset();
    errno = EINVAL;
  }
  return fd;
}

void remove_anything(const std::string& path) {
  if (::unlink(path.c_str()) == 0 || errno != EISDIR) return;
  constexpr int kDescriptors = 16;
  ::nftw(
      path.c_str(), [](const char* name, const struct stat*, int, FTW*) { return ::remove(name), 0; }, kDescriptors,
      FTW_DEPTH | FTW_PHYS);
}

namespace {
Result<std::string> read_to_end(const Fd& fd, const std::string& path, std::size_t max_bytes) {
  if (!fd && errno == EINVAL) return fail(ErrorCode::gave_up, path + ": is no regular file");
  if (!fd) return fail(errno_error(errno, path));
  std::string bytes;
  char block[65536];
  for (;;) {  // files of /proc have no size to ask for
    ssize_t n = ::read(fd.get(), block, sizeof block);
    if (n < 0) {
      if (errno == EINTR) continue;
      return fail(errno_error(errno, path));
    }
    if (n == 0) return bytes;
    bytes.append(block, static_cast<std::size_t>(n));
    if (bytes.size() > max_bytes) {
      return fail(ErrorCode::gave_up,
                  path + ": larger than the " + std::to_string(max_bytes) + " bytes expected at most");
    }
  }
}
}  // namespace

Result<std::string> read_file(const std::string& path, std::size_t max_bytes) {
  return read_to_end(Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC)), path, max_bytes);
}

Result<std::string> read_regular_file(const std::string& path, std::size_t max_bytes) {
  return read_to_end(open_regular(path, O_RDONLY), path, max_bytes);
}

Result<void> need_descriptors(std::size_t count) {
  const Fd first(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  std::vector<Fd> spare(count);
  for (std::size_t i = 1; i < count && first; ++i) spare[i].reset(::fcntl(first.get(), F_DUPFD_CLOEXEC, 3));
  if (first && (count <= 1 || spare.back())) return {};
  return fail(ErrorCode::retry_later,
              "fewer than " + std::to_string(count) + " descriptors are left: raise the limit (ulimit -n)");
}

Result<void> sync_directory(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return fail(errno_error(errno, path));
  // EINVAL: a file system that has nothing to sync for a directory.
  if (::fsync(fd.get()) != 0 && errno != EINVAL) return fail(errno_error(errno, path));
  return {};
}

Fd open_private(const std::string& path, int flags) {
  Fd fd(::open(path.c_str(), flags | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (fd) {
    // A umask may take rights from the owner, too: the next one to open it could not.
    ::fchmod(fd.get(), 0600);
  } else if (errno == EEXIST) {
    fd.reset(::open(path.c_str(), flags | O_CREAT | O_CLOEXEC, 0600));
  }
  return fd;
}

Result<void> write_file_durably(const std::string& path, std::string_view bytes, mode_t mode) {
  const std::string temporary = path + ".tmp." + std::to_string(::getpid());
  Fd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
  if (!fd) return fail(errno_error(errno, temporary));
  ::fchmod(fd.get(), mode);
  if (!write_all(fd.get(), bytes) || ::fsync(fd.get()) != 0) {
    Error error = errno_error(errno, temporary);
    ::unlink(temporary.c_str());
    return fail(std::move(error));
  }
  ALLOT_FAULT_POINT("rename_before");
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    Error error = errno_error(errno, path);
    ::unlink(temporary.c_str());
    return fail(std::move(error));
  }
  ALLOT_FAULT_POINT("rename_after");
  const std::size_t slash = path.rfind('/');
  return sync_directory(slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash));
}

}  // namespace allot
