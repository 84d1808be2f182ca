// SPDX-License-Identifier: MIT
// What allot run --dry-run shows: what would be submitted, and whether it would be taken.
#pragma once

#include <cstdint>
#include <string>

#include "cli/cluster_access.h"
#include "cli/signal_stop.h"
#include "engine/batch_maker.h"

namespace allot::cli {

struct DryRunOptions {
  bool json = false;
  bool quiet = false;         ///< nothing unless something would be refused
  bool all_tasks = false;     ///< every submission and command, not only the first few
  std::int64_t begin_ns = 0;  ///< Unix time before which nothing would be submitted; 0: at once
};

/// Prints the submissions of `tasks` on a cluster that was not started. Without all_tasks the output is bounded,
/// whatever the number of tasks. Returns the exit status: kNotAll if a queue would refuse some, 128 + a signal's
/// number.
int show_dry_run(const ClusterParts& parts, ReadTasks& tasks, const DryRunOptions& options, SignalStop& stop);

/// The JSON object of no tasks at all.
std::string empty_dry_run_json(const ClusterParts& parts, const DryRunOptions& options);

}  // namespace allot::cli
