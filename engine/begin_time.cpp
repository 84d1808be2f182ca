// SPDX-License-Identifier: MIT
#include "engine/begin_time.h"

#include <ctime>

#include <fmt/format.h>

#include "protocol/units.h"

namespace allot {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kMillisecond = 1'000'000;
// 2200-01-01: later ones are mistakes, and would not fit into nanoseconds for long.
constexpr std::int64_t kLatest = std::int64_t{7'258'118'400} * kSecond;

// strptime(3) takes blanks and single digits, too; what a task line may say is to have one form.
bool has_form(const std::string& text) {
  constexpr std::string_view kForm = "0000-00-00T00:00:00";
  constexpr std::size_t kShort = 16;
  const std::size_t size = text.ends_with('Z') ? text.size() - 1 : text.size();
  if (size != kForm.size() && size != kShort) return false;
  for (std::size_t i = 0; i < size; ++i) {
    const bool is_digit = text[i] >= '0' && text[i] <= '9';
    if (kForm[i] == '0' ? !is_digit : text[i] != kForm[i]) return false;
  }
  return true;
}

tl::unexpected<Error> too_late(const std::string& text) {
  return fail(ErrorCode::fix_request, fmt::format("\"{}\" is not before the year 2200; write an earlier time", text));
}

}  // namespace

Result<std::int64_t> parse_begin(const std::string& text, std::int64_t now_ns) {
  const auto no_time = [&text] {
    return fail(
        ErrorCode::fix_request,
        fmt::format("\"{}\" is no time: write it like 2027-01-31T20:00, with Z at the end for UTC, or like 10m", text));
  };
  if (text.find('T') == std::string::npos) {
    const auto wait = parse_duration(text);
    if (!wait) return fail(wait.error().with_context("neither a time such as 2027-01-31T20:00 nor a duration"));
    if (*wait >= (kLatest - now_ns) / kMillisecond) return too_late(text);
    return now_ns + *wait * kMillisecond;
  }
  if (!has_form(text)) return no_time();
  for (const char* form : {"%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M"}) {
    std::tm parts{};
    const char* end = ::strptime(text.c_str(), form, &parts);
    if (end == nullptr) continue;
    const bool is_utc = std::string_view(end) == "Z";
    if (*end != '\0' && !is_utc) continue;
    parts.tm_isdst = -1;
    const std::tm asked = parts;
    const std::time_t seconds = is_utc ? ::timegm(&parts) : std::mktime(&parts);
    // A day that its month does not have becomes another one.
    if (seconds < 0 || parts.tm_mday != asked.tm_mday) break;
    if (seconds >= kLatest / kSecond) return too_late(text);
    return std::int64_t{seconds} * kSecond;
  }
  return no_time();
}

}  // namespace allot
