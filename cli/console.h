// SPDX-License-Identifier: MIT
// What is printed: results to stdout, everything for a person about the work itself to stderr.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "protocol/result.h"

namespace allot::cli {

/// "allot: message" on stderr. A closed stderr is nobody's fault and ignored.
void tell_error(std::string_view message);
/// A line (or more) on stderr.
void tell(std::string_view text);

/// Buffers and writes standard output. Not thread-safe.
class StandardOutput {
 public:
  StandardOutput() = default;
  StandardOutput(const StandardOutput&) = delete;
  StandardOutput& operator=(const StandardOutput&) = delete;
  ~StandardOutput() { flush(); }

  /// False once nothing more can be written: the reader is gone, or there is an error.
  bool write(std::string_view bytes);
  bool flush();
  bool is_closed() const { return error_ != 0; }

  /// To be called at the end: kEnvironment, told, if something could not be written; else `status`. A reader that
  /// went away (EPIPE) wanted no more, which is no error.
  int close(int status);

 private:
  std::string buffer_;
  int error_ = 0;
};

/// A whole text on stdout; returns the exit status.
int print_or_fail(std::string_view text);

/// Text safe to show on a terminal: control characters and what is no UTF-8 as \xNN; newlines too unless `keep_lines`.
std::string printable(std::string_view text, bool keep_lines = false);
/// The first `most` characters, "…" behind them if there are more.
std::string shorten(const std::string& text, std::size_t most);
/// True if all of it is UTF-8.
bool is_utf8(std::string_view text);
std::string base64(std::string_view bytes);
/// "1 task", "2 tasks".
std::string plural(std::uint64_t count, const std::string& word);
/// One word for sh: as it is where that is safe, else in single quotes.
std::string shell_word(const std::string& text);

/// "1.23 s", "4m 10s", "3h 05m".
std::string seconds_text(double seconds);
/// RFC 3339 UTC with microseconds of nanoseconds since 1970.
std::string time_text(std::int64_t nanoseconds);

}  // namespace allot::cli
