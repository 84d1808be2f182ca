// SPDX-License-Identifier: MIT
// Values of JSON that is printed: what is unknown is null.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "cli/console.h"
#include "protocol/usage_stats.h"

namespace allot::cli {

template <class T>
nlohmann::ordered_json known(const std::optional<T>& value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
}

inline nlohmann::ordered_json text_or_null(const std::string& text) {
  return text.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(text);
}

/// `nanoseconds`: Unix time; 0 is unknown.
inline nlohmann::ordered_json time_or_null(std::int64_t nanoseconds) {
  return nanoseconds == 0 ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(time_text(nanoseconds));
}

inline nlohmann::ordered_json source_json(const UsageStats& usage) {
  if (!usage.wall_seconds) return nullptr;
  return usage.source == UsageSource::accounting ? "accounting" : "worker_node";
}

}  // namespace allot::cli
