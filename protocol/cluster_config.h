// SPDX-License-Identifier: MIT
// A cluster as configured: plain values, read from cluster_configs/*.toml by others.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "protocol/cluster_queue.h"
#include "protocol/result.h"

namespace allot {

/// How a plugin's parameter is written and in which unit the plugin receives it.
enum class ParameterType {
  boolean,   ///< bool
  integer,   ///< std::int64_t
  text,      ///< std::string
  size,      ///< "512M", 1073741824 → std::int64_t bytes
  duration,  ///< "90", "1h30m", "1-12:00:00" → std::int64_t milliseconds
};
std::string_view to_string(ParameterType type);

using ParameterValue = std::variant<bool, std::int64_t, std::string>;

/// One key that a plugin understands in the `[parameters]` table. Keys that no spec names are refused.
struct ParameterSpec {
  std::string name;
  ParameterType type = ParameterType::text;
  std::string documentation;            ///< one sentence; says what leaving it out means
  std::optional<std::int64_t> minimum;  ///< for integer, size (bytes) and duration (milliseconds)
  std::optional<std::int64_t> maximum;
  std::vector<std::string> choices;  ///< for text: the values allowed; empty: any
};

struct QueueConfig {
  int queue_id = 0;
  std::string name;
  QueueParameters limits;
  std::vector<std::string> required;
};

struct ClusterConfig {
  std::string name;
  std::string plugin;       ///< plugin's name, such as "multiprocess"
  std::string source;       ///< path of the file it was read from; empty: built in
  std::string description;  ///< one line for people; may be empty
  std::string default_queue;
  std::vector<QueueConfig> queues;
  std::map<std::string, ParameterValue> parameters;

  /// The value of a parameter or `fallback`. The type was checked against the spec when it was read.
  template <class T>
  T get(const std::string& key, T fallback) const {
    auto it = parameters.find(key);
    if (it == parameters.end()) return fallback;
    if (const T* value = std::get_if<T>(&it->second)) return *value;
    return fallback;
  }
};

}  // namespace allot
