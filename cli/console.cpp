// SPDX-License-Identifier: MIT
#include "cli/console.h"

#include <unistd.h>

#include <boost/archive/iterators/base64_from_binary.hpp>
#include <boost/archive/iterators/transform_width.hpp>
#include <cerrno>
#include <cmath>
#include <ctime>
#include <nlohmann/json.hpp>

#include <fmt/chrono.h>
#include <fmt/format.h>

#include "cli/verb.h"
#include "process/fd.h"

namespace allot::cli {
namespace {

constexpr std::size_t kBufferBytes = 64 * 1024;

// Length of the UTF-8 sequence at the start of `text`; 0 if there is none. nlohmann's serializer judges.
std::size_t sequence_length(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const std::size_t length = lead < 0x80   ? 1
                             : lead < 0xC2 ? 0
                             : lead < 0xE0 ? 2
                             : lead < 0xF0 ? 3
                             : lead < 0xF5 ? 4
                                           : 0;
  return length > 0 && length <= text.size() && is_utf8(text.substr(0, length)) ? length : 0;
}

}  // namespace

void tell(std::string_view text) {
  std::string line(text);
  if (line.empty() || line.back() != '\n') line += '\n';
  // There is nowhere left to complain.
  static_cast<void>(write_all(STDERR_FILENO, line));
}

void tell_error(std::string_view message) {
  tell("allot: " + std::string(message));
}

bool StandardOutput::write(std::string_view bytes) {
  if (error_ != 0) return false;
  buffer_.append(bytes);
  return buffer_.size() < kBufferBytes || flush();
}

bool StandardOutput::flush() {
  if (error_ == 0 && !buffer_.empty() && !write_all(STDOUT_FILENO, buffer_)) error_ = errno;
  buffer_.clear();
  return error_ == 0;
}

int StandardOutput::close(int status) {
  flush();
  if (error_ == 0 || error_ == EPIPE) return status;
  tell_error("standard output: " + errno_text(error_));
  return kEnvironment;
}

int print_or_fail(std::string_view text) {
  StandardOutput out;
  out.write(text);
  return out.close(kSuccess);
}

bool is_utf8(std::string_view text) {
  bool is_ascii = true;
  for (const char c : text) is_ascii = is_ascii && static_cast<unsigned char>(c) < 0x80;
  if (is_ascii) return true;
  try {
    static_cast<void>(nlohmann::json(text).dump());
    return true;
  } catch (const nlohmann::json::type_error&) {
    return false;
  }
}

std::string base64(std::string_view bytes) {
  using namespace boost::archive::iterators;
  using Encoder = base64_from_binary<transform_width<std::string_view::const_iterator, 6, 8>>;
  std::string text(Encoder(bytes.begin()), Encoder(bytes.end()));
  text.append((3 - bytes.size() % 3) % 3, '=');
  return text;
}

std::string plural(std::uint64_t count, const std::string& word) {
  return fmt::format("{} {}{}", count, word, count == 1 ? "" : "s");
}

std::string printable(std::string_view text, bool keep_lines) {
  std::string shown;
  while (!text.empty()) {
    const std::size_t length = sequence_length(text);
    const auto byte = static_cast<unsigned char>(text[0]);
    const bool is_kept = byte == '\t' || (byte == '\n' && keep_lines);
    // C1 controls are two bytes in UTF-8 and obeyed by some terminals.
    const bool is_control =
        byte < 0x20 || byte == 0x7F || (byte == 0xC2 && text.size() > 1 && static_cast<unsigned char>(text[1]) < 0xA0);
    if (length > 0 && (is_kept || !is_control)) {
      shown.append(text.substr(0, length));
      text.remove_prefix(length);
    } else {
      shown += byte == '\n' ? "\\n" : fmt::format("\\x{:02x}", byte);
      text.remove_prefix(1);
    }
  }
  return shown;
}

std::string shorten(const std::string& text, std::size_t most) {
  std::size_t characters = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if ((static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) continue;  // inside a character
    if (++characters > most) return text.substr(0, at) + "…";
  }
  return text;
}

std::string shell_word(const std::string& text) {
  constexpr std::string_view kSafe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./+,:@%=";
  if (!text.empty() && text.find_first_not_of(kSafe) == std::string::npos) return text;
  std::string quoted = "'";
  for (const char c : text) {
    if (c == '\'') {
      quoted += "'\\''";
    } else {
      quoted += c;
    }
  }
  return quoted + "'";
}

std::string seconds_text(double seconds) {
  if (seconds < 0.9995) return fmt::format("{:.0f} ms", seconds * 1000);
  if (seconds < 60) return fmt::format("{:.2f} s", seconds);
  const auto whole = std::llround(seconds);
  if (whole < 3600) return fmt::format("{}m {:02}s", whole / 60, whole % 60);
  return fmt::format("{}h {:02}m", whole / 3600, whole % 3600 / 60);
}

std::string time_text(std::int64_t nanoseconds) {
  constexpr std::int64_t kSecond = 1'000'000'000;
  const std::int64_t fraction = (nanoseconds % kSecond + kSecond) % kSecond;  // also before 1970: not negative
  const auto seconds = static_cast<std::time_t>((nanoseconds - fraction) / kSecond);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:06}Z", fmt::gmtime(seconds), fraction / 1000);
}

}  // namespace allot::cli
