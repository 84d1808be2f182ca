// SPDX-License-Identifier: MIT
#include "protocol/limits_queue.h"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <string_view>
#include <type_traits>

#include "protocol/units.h"

namespace allot {
namespace {

using U64 = std::uint64_t;

template <auto Member>
std::optional<U64> get_count(const RequestedResources& r) {
  return r.*Member;
}

// Below the smallest legal value is all that matters of a negative runtime, so it counts as 0.
std::optional<U64> get_runtime(const RequestedResources& r) {
  if (!r.runtime_milliseconds) return std::nullopt;
  return static_cast<U64>(std::max<std::int64_t>(*r.runtime_milliseconds, 0));
}

template <auto Member>
void set_count(RequestedResources& r, U64 value) {
  r.*Member = static_cast<typename std::remove_reference_t<decltype(r.*Member)>::value_type>(value);
}

std::string format_count(U64 value) {
  return std::to_string(value);
}
std::string format_runtime(U64 value) {
  return format_duration(static_cast<std::int64_t>(value));
}

// One resource that can be limited, and the values it can have at all.
struct Resource {
  std::string_view name;   // in QueueParameters and QueueConfig::required
  std::string_view label;  // for people, as in a cluster's file
  U64 smallest;
  U64 largest;
  std::optional<U64> (*get)(const RequestedResources&);
  void (*set)(RequestedResources&, U64);
  std::string (*format)(U64);
};

constexpr U64 kMax32 = std::numeric_limits<std::uint32_t>::max();
using R = RequestedResources;
constexpr std::array<Resource, 6> kResources = {{
    {"cores", "cores", 1, kMax32, get_count<&R::cores>, set_count<&R::cores>, format_count},
    {"memory_bytes", "memory", 1, std::numeric_limits<U64>::max(), get_count<&R::memory_bytes>,
     set_count<&R::memory_bytes>, format_size_exact},
    {"runtime_milliseconds", "runtime", 1, std::numeric_limits<std::int64_t>::max(), get_runtime,
     set_count<&R::runtime_milliseconds>, format_runtime},
    {"gpus", "gpus", 0, kMax32, get_count<&R::gpus>, set_count<&R::gpus>, format_count},
    {"ranks", "ranks", 1, kMax32, get_count<&R::ranks>, set_count<&R::ranks>, format_count},
    {"nodes", "nodes", 1, kMax32, get_count<&R::nodes>, set_count<&R::nodes>, format_count},
}};

// The queue's limit cut to what the resource can be; never empty, so that something can always be coerced to.
ResourceLimit effective_limit(const QueueConfig& config, const Resource& resource) {
  ResourceLimit limit{resource.smallest, resource.largest};
  if (auto it = config.limits.find(std::string(resource.name)); it != config.limits.end()) {
    limit.minimum = std::clamp(it->second.minimum, resource.smallest, resource.largest);
    limit.maximum = std::max(limit.minimum, std::min(it->second.maximum, resource.largest));
  }
  return limit;
}

bool is_required(const QueueConfig& config, const Resource& resource) {
  return std::find(config.required.begin(), config.required.end(), resource.name) != config.required.end();
}

}  // namespace

ResourceValidation LimitsQueue::validate_resources(const RequestedResources& resources, bool strict) const {
  ResourceValidation validation;
  auto add = [&validation](const std::string& sentence) {
    if (!validation.message.empty()) validation.message += " ";
    validation.message += sentence;
  };
  const std::string queue = "queue \"" + config_.name + "\"";
  for (const Resource& resource : kResources) {
    const ResourceLimit limit = effective_limit(config_, resource);
    const auto value = resource.get(resources);
    const std::string label(resource.label);
    std::string fault;
    std::string remedy;
    if (!value) {
      if (!is_required(config_, resource)) continue;
      fault = label + " is not stated and " + queue + " requires it";
      remedy = "it would be set to the minimum, " + resource.format(limit.minimum);
    } else if (*value < limit.minimum) {
      fault = label + " " + resource.format(*value) + " is below the minimum " + resource.format(limit.minimum) +
              " of " + queue;
      remedy = "it would be raised to it";
    } else if (*value > limit.maximum) {
      fault = label + " " + resource.format(*value) + " is above the maximum " + resource.format(limit.maximum) +
              " of " + queue;
      remedy = "it would be lowered to it";
    } else {
      continue;
    }
    add(strict ? fault + "." : fault + "; " + remedy + ".");
    if (strict) validation.valid = false;
  }
  return validation;
}

RequestedResources LimitsQueue::coerce_resources(const RequestedResources& resources) const {
  RequestedResources coerced = resources;
  for (const Resource& resource : kResources) {
    const ResourceLimit limit = effective_limit(config_, resource);
    if (const auto value = resource.get(resources)) {
      resource.set(coerced, std::clamp(*value, limit.minimum, limit.maximum));
    } else if (is_required(config_, resource)) {
      resource.set(coerced, limit.minimum);
    }
  }
  return coerced;
}

}  // namespace allot
