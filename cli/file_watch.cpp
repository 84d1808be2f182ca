// SPDX-License-Identifier: MIT
#include "cli/file_watch.h"

#include <sys/inotify.h>

namespace allot::cli {

FileWatch::FileWatch() : fd_(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)) {}

void FileWatch::add(const std::string& path) {
  if (!fd_ || watched_.count(path) != 0) return;
  const int watch = ::inotify_add_watch(fd_.get(), path.c_str(), IN_MODIFY | IN_CREATE | IN_MOVED_TO);
  if (watch >= 0) watched_.insert(path);
}

void FileWatch::clear() {
  char block[4096];
  while (fd_ && ::read(fd_.get(), block, sizeof block) > 0) {
  }
}

}  // namespace allot::cli
