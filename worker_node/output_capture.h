// SPDX-License-Identifier: MIT
// Catches what a slot's tasks print: a pipe that serves one task after the other, and the file behind it.
#pragma once

#include <cstdint>
#include <string>

#include "ledger/record.h"
#include "process/fd.h"

namespace allot {

/// One stream of one slot. The pipe is reused: the guard keeps its write end, so the end of a task is not an end of
/// file; when the task's whole tree is gone, what is readable is all there is. Not thread-safe.
class OutputCapture {
 public:
  /// Nothing is opened before it is needed. `path`: the slot's append-only output file.
  explicit OutputCapture(std::string path) : path_(std::move(path)) {}

  /// Gets the pipe ready for the next task: makes it, or mends what the last task did to it (O_NONBLOCK on the shared
  /// description). 0 or an errno.
  int prepare();
  int write_end() const { return write_end_.get(); }
  int read_end() const { return read_end_.get(); }

  void begin();
  /// Moves what is readable into the file, about 1 MiB at most: a task that prints faster than it is read must not keep
  /// its guard from looking at its limits. Bytes that cannot be stored are read all the same, so that the task does not
  /// block, and counted as lost. Returns the number of bytes read.
  std::uint64_t drain();
  /// The same once nobody writes any more: everything that the pipe can still hold.
  std::uint64_t drain_rest();
  /// The extent since begin().
  OutputExtent extent() const { return {start_, size_ - start_, lost_, false}; }
  /// Errno of the first write that failed since begin(); 0: none.
  int write_error() const { return write_error_; }
  /// False while the file system has no room for more output: a task that started now would lose what it prints.
  bool has_room();
  /// Last bytes of the extent, at most `max_bytes`.
  std::string tail(std::size_t max_bytes) const;

  /// Forgets the pipe: something may still hold it, and must not write into the next task's output.
  void abandon_pipe();

 private:
  std::uint64_t drain(std::uint64_t most);
  void store(const char* bytes, std::size_t size);

  std::string path_;
  Fd read_end_, write_end_, file_;
  std::uint64_t size_ = 0;   // of the file
  std::uint64_t start_ = 0;  // of the current extent
  std::uint64_t lost_ = 0;
  int write_error_ = 0;
  bool is_full_ = false;  // the last byte that was to be stored found no room
};

}  // namespace allot
