// SPDX-License-Identifier: MIT
// Apart from the rest of machine.h: what is linked statically needs no streams.
#include "process/machine.h"

#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

namespace allot {
namespace {

// The names of sockets must fit into a sockaddr_un: this, "/", two ids of 12 with "-" between them, ".sock".
constexpr std::size_t kLongestRuntimeDirectory = sizeof(sockaddr_un::sun_path) - 1 - 31;

bool is_own_private_directory(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return false;
  struct stat info;
  return ::lstat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode) && info.st_uid == ::geteuid() &&
         (info.st_mode & 0077) == 0;
}

}  // namespace

std::string runtime_directory() {
  if (const char* base = std::getenv("XDG_RUNTIME_DIR"); base != nullptr && base[0] == '/') {
    std::string path = std::string(base) + "/allot";
    if (path.size() <= kLongestRuntimeDirectory && is_own_private_directory(path)) return path;
  }
  std::string path = "/tmp/allot-" + std::to_string(::geteuid());
  return is_own_private_directory(path) ? path : std::string();
}

}  // namespace allot
