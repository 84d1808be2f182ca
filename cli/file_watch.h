// SPDX-License-Identifier: MIT
// inotify, where the kernel and the file system have it: it makes waiting quick, and nobody relies on it.
#pragma once

#include <set>
#include <string>

#include "process/fd.h"

namespace allot::cli {

/// Wakes whoever polls the descriptor when something happens to the files. Changes made by other hosts on a network
/// file system are not seen: look again now and then all the same. Thread rule: one thread.
class FileWatch {
 public:
  FileWatch();
  /// -1 where there is no inotify.
  int descriptor() const { return fd_.get(); }
  /// Watches a file that is written to, or a directory in which files are made. What is watched already, or not there,
  /// is passed over: call it again.
  void add(const std::string& path);
  /// Takes what has come.
  void clear();

 private:
  Fd fd_;
  std::set<std::string> watched_;
};

}  // namespace allot::cli
