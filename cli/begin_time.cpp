// SPDX-License-Identifier: MIT
#include "cli/begin_time.h"

#include <ctime>

#include <fmt/format.h>

#include "protocol/units.h"

namespace allot::cli {

Result<std::int64_t> parse_begin(const std::string& text, std::int64_t now_ns) {
  constexpr std::int64_t kSecond = 1'000'000'000;
  if (text.find('T') == std::string::npos) {
    const auto wait = parse_duration(text);
    if (!wait) return fail(wait.error().with_context("neither a time such as 2027-01-31T20:00 nor a duration"));
    return now_ns + *wait * 1'000'000;
  }
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
    return std::int64_t{seconds} * kSecond;
  }
  return fail(
      ErrorCode::fix_request,
      fmt::format("\"{}\" is no time: write it like 2027-01-31T20:00, with Z at the end for UTC, or like 10m", text));
}

}  // namespace allot::cli
