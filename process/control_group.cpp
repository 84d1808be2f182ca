// SPDX-License-Identifier: MIT
#include "process/control_group.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include "process/fd.h"

namespace allot {
namespace {

using Clock = std::chrono::steady_clock;

std::string line_behind(const std::string& text, const std::string& prefix) {
  const std::string lines = "\n" + text;
  const std::size_t at = lines.find("\n" + prefix);
  if (at == std::string::npos) return {};
  const std::size_t from = at + 1 + prefix.size();
  return lines.substr(from, lines.find('\n', from) - from);
}

// Where cgroup v2 is mounted with its root: alone, or beside version 1. In a container /proc/self/cgroup tells the path
// within its own namespace, and so does the mount.
std::string mount_point() {
  for (const char* path : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}) {
    if (::access((std::string(path) + "/cgroup.procs").c_str(), F_OK) == 0) return path;
  }
  return {};
}

bool put(const std::string& path, std::string_view text) {
  const Fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  return file && ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

// Nothing: there is no such group.
std::optional<bool> is_populated(int events) {
  char text[256];
  const ssize_t n = ::pread(events, text, sizeof text - 1, 0);
  if (n <= 0) return std::nullopt;
  text[n] = 0;
  return std::strstr(text, "populated 1") != nullptr;
}

}  // namespace

std::string make_control_group(const std::string& name) {
  auto own = read_file("/proc/self/cgroup", 1u << 16);
  const std::string mount = mount_point();
  if (!own || mount.empty()) return {};
  std::string path = line_behind(*own, "0::");
  if (path.empty() || path.find("/..") != std::string::npos) return {};  // outside what this namespace shows
  if (path == "/") path.clear();
  std::string directory = mount + path + "/" + name;
  if (::mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST) return {};
  if (::access((directory + "/cgroup.kill").c_str(), W_OK) != 0 ||
      ::access((directory + "/cgroup.procs").c_str(), W_OK) != 0) {
    ::rmdir(directory.c_str());
    return {};
  }
  return directory;
}

bool join_control_group(const std::string& directory) {
  return put(directory + "/cgroup.procs", "0");
}

bool empty_control_group(const std::string& directory, std::chrono::milliseconds at_most) {
  const auto until = Clock::now() + at_most;
  const Fd events(::open((directory + "/cgroup.events").c_str(), O_RDONLY | O_CLOEXEC));
  if (!events) return errno == ENOENT || errno == ENOTDIR;
  for (;;) {
    const auto populated = is_populated(events.get());
    if (!populated || !*populated) return true;  // empty, or removed meanwhile
    if (!put(directory + "/cgroup.kill", "1")) return errno == ENOENT || errno == ENODEV;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
    if (left <= 0) return false;
    // Told by the kernel when the last process is gone; looked at now and then in case it was gone before the poll.
    pollfd changed = {events.get(), POLLPRI, 0};
    ::poll(&changed, 1, static_cast<int>(std::min<std::int64_t>(left, 100)));
  }
}

void remove_control_group(const std::string& directory) {
  if (directory.empty() || ::rmdir(directory.c_str()) == 0 || errno != EBUSY) return;
  DIR* below = ::opendir(directory.c_str());
  if (below == nullptr) return;
  while (const dirent* entry = ::readdir(below)) {
    if (entry->d_type == DT_DIR && entry->d_name[0] != '.') remove_control_group(directory + "/" + entry->d_name);
  }
  ::closedir(below);
  ::rmdir(directory.c_str());
}

}  // namespace allot
