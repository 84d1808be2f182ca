// SPDX-License-Identifier: MIT
// What `allot run` and `allot resume` have in common: from a batch and a cluster to the exit status.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "cli/cluster_access.h"
#include "cli/signal_stop.h"
#include "cli/verb.h"
#include "engine/driver.h"
#include "engine/driver_context.h"

namespace allot::cli {

/// Options of both verbs.
struct DrivingOptions {
  std::string cluster;
  std::optional<std::int64_t> slots;
  std::string grace = "5s";
  bool json = false;
  bool quiet = false;

  void describe(CLI::App& app);
};

/// --grace as milliseconds. Errors: fix_request.
Result<std::chrono::milliseconds> parse_grace(const std::string& text);

/// Where the driver begins, given what it works with; asked once the distributor has been started.
using BeginState = std::function<Result<BatchState>(const DriverContext&)>;

struct DrivingSteps {
  BeginState begin;
  std::function<void(BatchRun&)> first = {};  ///< called before anything is submitted
};

/// Starts the distributor and drives the batch to its end. Errors: those of the begin, and what kept it from beginning.
Result<BatchResult> drive_quietly(ClusterParts& parts, const BatchDirectory& batch, const DriverIdentity& driver,
                                  std::chrono::milliseconds grace, StopSignal& stop, BatchObserver& observer,
                                  const DrivingSteps& steps);
/// The same with progress on stderr and a summary; returns the exit status.
int drive(ClusterParts& parts, const BatchDirectory& batch, const DriverIdentity& driver, const DrivingOptions& options,
          std::chrono::milliseconds grace, SignalStop& stop, const DrivingSteps& steps);

/// Tells an error and returns the exit status that goes with it.
int tell_failure(const Error& error);

}  // namespace allot::cli
