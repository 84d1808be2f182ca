// SPDX-License-Identifier: MIT
// Small things that every JSON answer needs. docs/json.md describes the answers.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace allot {

/// Unix time as RFC 3339 in UTC with microseconds; null for 0.
nlohmann::ordered_json json_time(std::int64_t unix_ns);
/// Is it UTF-8 throughout?
bool is_utf8(std::string_view bytes);
std::string base64(std::string_view bytes);
/// One line of JSON; bytes that are no UTF-8 become U+FFFD.
std::string json_line(const nlohmann::ordered_json& value);

}  // namespace allot
