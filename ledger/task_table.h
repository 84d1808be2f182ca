// SPDX-License-Identifier: MIT
// The task table: one immutable row per task, found by step in O(1), appended by one writer only.
//
// tasks.index: 8 bytes (little-endian offset into tasks.data) per step; the elements of an array share one row.
// tasks.data: header "ALLOTTT1", then rows: u32 length, u32 checksum (low half of XXH3-64 of the payload), payload of
// u32 first step, u32 last step and fields (u8 tag, u32 length, bytes). A row is in the index only once it is synced in
// the data.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "protocol/resources.h"
#include "protocol/result.h"

namespace allot {

/// When a task may start, relative to another.
enum class DependencyKind : std::uint8_t { after_ok = 0, after_any = 1, after_not_ok = 2 };

std::string_view to_string(DependencyKind kind);  ///< "ok", "any", "not_ok", as in JSON lines

struct Dependency {
  std::uint32_t step = 0;
  DependencyKind kind = DependencyKind::after_ok;
  friend bool operator==(const Dependency&, const Dependency&) = default;
};

/// One task as the user gave it. Strings hold any bytes but NUL. Empty means "not given".
struct TaskSpec {
  std::vector<std::string> argv;  ///< the command as a vector; empty when `shell_line` is given
  std::string shell_line;         ///< the command as a line for sh
  std::string name;
  std::string cwd;                                       ///< absolute; empty: BatchInfo::cwd
  std::vector<std::pair<std::string, std::string>> env;  ///< set on top of the batch's environment
  std::string stdin_path;                                ///< file to read; empty: /dev/null
  std::string
      stdout_path;  ///< file to write instead of the batch's output store (a directory: Jobmon-style names in it)
  std::string stderr_path;
  RequestedResources resources;  ///< fields not given come from BatchInfo::default_resources
  std::vector<Dependency> after;
  std::string retry;               ///< rules of its own, as engine/retry_policy.h writes them
  std::int32_t priority = 0;       ///< higher first
  std::uint32_t max_parallel = 0;  ///< tasks of this name queued or running at once; 0: no limit
  std::int64_t begin_ns = 0;       ///< Unix time before which it does not start; 0: at once
  std::string success_codes;       ///< exit codes other than 0 that mean done, one byte each (1 … 255)
  std::uint64_t source_line = 0;   ///< 1-based line of the input file; 0: none

  bool is_shell() const { return argv.empty(); }
  /// The command for people: the line, or the arguments quoted for sh where needed.
  std::string command_text() const;
  friend bool operator==(const TaskSpec&, const TaskSpec&) = default;
};

/// Longest command (arguments with their NULs, or the line) taken: the kernel's limit for one exec is checked when it
/// runs; this bounds what a damaged length field can make a reader allocate.
inline constexpr std::size_t kMaxRowBytes = 64u << 20;

/// Appends rows. One writer per batch at a time (the driver). Not thread-safe. Buffers; sync() makes everything
/// appended durable and visible to readers. A row lost to a crash before sync() was never promised to anyone.
class TaskTableWriter {
 public:
  /// Opens for appending behind the last whole row; cuts off what a killed writer left half written, and what is behind
  /// `most` steps. Errors: gave_up (damaged, or fewer steps than `most`), retry_later.
  static Result<TaskTableWriter> open(const std::string& data_path, const std::string& index_path,
                                      std::optional<std::uint64_t> most = {});
  TaskTableWriter(TaskTableWriter&&) noexcept;
  TaskTableWriter& operator=(TaskTableWriter&&) noexcept;
  ~TaskTableWriter();

  /// Appends `count` steps that share one row; returns the first step. Errors: fix_request (NUL byte in a field, too
  /// large, not exactly one of argv and line), retry_later (disk full: nothing of it is in the index), gave_up (I/O).
  Result<std::uint64_t> append(const TaskSpec& task, std::uint64_t count = 1);

  /// The common case without building a TaskSpec: a shell line and the input line it came from.
  Result<std::uint64_t> append_shell_line(std::string_view line, std::uint64_t source_line);

  std::uint64_t size() const;  ///< steps appended so far
  Result<void> sync();

 private:
  struct Impl;
  explicit TaskTableWriter(std::unique_ptr<Impl>);
  std::unique_ptr<Impl> impl_;
};

/// Reads rows by step with pread(2): no mapping, so that a reader's resident set does not grow with the table.
/// Rows that a writer appends later are found. Not thread-safe.
class TaskTableReader {
 public:
  static Result<TaskTableReader> open(const std::string& data_path, const std::string& index_path);
  TaskTableReader(TaskTableReader&&) noexcept;
  TaskTableReader& operator=(TaskTableReader&&) noexcept;
  ~TaskTableReader();

  Result<std::uint64_t> size() const;

  /// Reads the row of `step` into `task`, reusing its memory. Errors: fix_request (no such step), gave_up (damaged: the
  /// text names file, step and offset).
  Result<void> read(std::uint64_t step, TaskSpec& task);

  /// The same without a copy: valid until the next call of row() or read(). A step of the same array as the last one
  /// costs no decoding.
  Result<const TaskSpec*> row(std::uint64_t step);
  /// How many steps share the row that was read last.
  std::uint64_t row_count() const;

 private:
  struct Impl;
  explicit TaskTableReader(std::unique_ptr<Impl>);
  std::unique_ptr<Impl> impl_;
};

}  // namespace allot
