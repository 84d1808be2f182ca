// SPDX-License-Identifier: MIT
#include "engine/unnamed_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

namespace allot {

Result<Fd> make_unnamed_file() {
  const char* given = std::getenv("TMPDIR");
  const std::string directory = given != nullptr && given[0] == '/' ? given : "/tmp";
  Fd fd(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (fd) return fd;
  // Not every file system has unnamed files.
  std::string name = directory + "/allot-input-XXXXXX";
  fd.reset(::mkostemp(name.data(), O_CLOEXEC));
  if (!fd) return fail(errno_error(errno, name));
  ::unlink(name.c_str());
  return fd;
}

std::string path_of(const Fd& fd) {
  return "/proc/self/fd/" + std::to_string(fd.get());
}

}  // namespace allot
