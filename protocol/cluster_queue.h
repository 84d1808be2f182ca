// SPDX-License-Identifier: MIT
// A queue of a cluster: its name, its limits, and whether a request fits.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "protocol/resources.h"

namespace allot {

/// Smallest and largest value allowed, both inclusive; units as in RequestedResources.
struct ResourceLimit {
  std::uint64_t minimum = 0;
  std::uint64_t maximum = 0;
  friend bool operator==(const ResourceLimit&, const ResourceLimit&) = default;
};

/// Limits by resource name: "cores", "memory_bytes", "runtime_milliseconds", "gpus", "ranks", "nodes".
using QueueParameters = std::map<std::string, ResourceLimit>;

struct ResourceValidation {
  bool valid = true;
  std::string message;  ///< every fault found, one sentence each; with valid it is a warning or empty
};

/// Thread rule: immutable after construction, so every method may be called from any thread.
class ClusterQueue {
 public:
  virtual ~ClusterQueue() = default;

  virtual int queue_id() const = 0;                   ///< unique within the cluster
  virtual const std::string& queue_name() const = 0;  ///< unique within the cluster
  virtual const QueueParameters& parameters() const = 0;
  virtual std::vector<std::string> required_resources() const = 0;  ///< names that a strict request must state

  /// Checks a request against the limits. Not strict: what coerce_resources can mend is valid with a warning.
  /// Strict: anything over, under or missing is invalid. The message names resource, value and limit.
  virtual ResourceValidation validate_resources(const RequestedResources& resources, bool strict) const = 0;

  /// The request clamped to the limits (never returned unchanged when it is outside them); what is required and
  /// missing gets the minimum. Owes: validate_resources(coerce_resources(r), true).valid for every r.
  virtual RequestedResources coerce_resources(const RequestedResources& resources) const = 0;
};

}  // namespace allot
