// SPDX-License-Identifier: MIT
// Lines (or NUL-separated items) of a descriptor, read in big blocks, one at a time, without a copy.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "process/fd.h"
#include "protocol/result.h"

namespace allot {

/// Not thread-safe. What follows the last delimiter counts as an item unless it is empty.
class DelimitedReader {
 public:
  /// Longest item taken: what a row of the task table may hold.
  static constexpr std::size_t kMaxItemBytes = 64u << 20;

  /// Opens a file for reading ("-": standard input). Errors: fix_request with path and reason; a directory is one.
  static Result<DelimitedReader> open(const std::string& path, char delimiter, int interrupt_descriptor = -1);

  /// `name` is for messages. Once `interrupt_descriptor` (-1: none) polls readable, next() fails with `gave_up`.
  DelimitedReader(Fd fd, std::string name, char delimiter, int interrupt_descriptor = -1);

  /// The next item without its delimiter, valid until the next call; nothing at the end.
  /// Errors: fix_request (an item above kMaxItemBytes; a read error, with errno), gave_up (interrupted).
  Result<std::optional<std::string_view>> next();

  /// Leaves out a UTF-8 byte order mark at the beginning, after rewind() too. Only before the first next().
  Result<void> skip_byte_order_mark();

  /// The first byte that is no space, tab, CR or LF; nothing if there is none. Only before the first next().
  Result<std::optional<char>> first_visible_byte();

  std::uint64_t number() const { return number_; }  ///< of the last item: 1, 2, …
  const std::string& name() const { return name_; }

  /// True if the input can be read a second time by rewind().
  bool is_seekable() const { return start_ >= 0; }
  /// Back to the first item. Errors: fix_request (not seekable, or the file is not as it was when it was opened).
  Result<void> rewind();
  /// Copies what is left to read into an unnamed temporary file and reads from that, so that rewind() works.
  /// Only before the first next(). Errors: retry_later (no space), fix_request.
  Result<void> spool();

 private:
  Result<bool> fill();  // more bytes behind end_; false at the end of the file
  Error too_long() const;
  void note_state();

  Fd fd_;
  std::string name_;
  char delimiter_;
  int interrupt_descriptor_;
  std::string buffer_;
  std::size_t begin_ = 0;  // of what next() has not passed on
  std::size_t end_ = 0;    // of what was read
  std::uint64_t number_ = 0;
  bool at_end_ = false;
  bool skips_mark_ = false;
  std::int64_t start_ = -1;  // offset where the input begins; -1: not seekable
  std::int64_t size_ = 0;    // when it was opened
  std::int64_t changed_ns_ = 0;
};

}  // namespace allot
