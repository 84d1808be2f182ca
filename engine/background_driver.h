// SPDX-License-Identifier: MIT
// The driver that goes on when the command that submitted a batch has left: one per user and cluster, with any number
// of batches, which share the cluster's slots. It leaves when it has had nothing to do for a while.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "engine/background_queue.h"
#include "engine/batch_observer.h"
#include "engine/control_socket.h"
#include "engine/retry_policy.h"
#include "protocol/cluster_distributor.h"

namespace allot {

struct BackgroundSettings {
  RetryPolicy retry;                             ///< the cluster's table
  std::chrono::milliseconds idle{10'000};        ///< how long without a batch before it leaves
  std::size_t most_batches = 1000;               ///< driven at once; others wait their turn
  std::function<void(const std::string&)> tell;  ///< a line for its log
};

/// What it works with. All of it outlives it; the distributor has been started, the queue's lock is held.
struct BackgroundParts {
  const BackgroundQueue& queue;
  ClusterDistributor& distributor;
  const std::vector<std::unique_ptr<ClusterQueue>>& queues;
  ControlServer& control;
  StopSignal& stop;
};

/// Takes up the batches of the queue, calls `ready` (now it can be asked), and drives until it is idle or stopped.
/// Stopped, it ends what runs as Ctrl-C does; the batches stay in the queue for the next driver. Asked to "drive" a
/// batch of the queue, it takes that up in its turn.
void run_in_background(const BackgroundParts& parts, const BackgroundSettings& settings,
                       const std::function<void()>& ready);

}  // namespace allot
