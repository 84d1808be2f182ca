// SPDX-License-Identifier: MIT
// The worker node as a library: slots with guards, a queue for them, group commit, and what follows a death.
#pragma once

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "protocol/result.h"
#include "worker_node/wire.h"

namespace allot {

struct WorkerNodeOptions {
  std::string batch_directory;
  std::uint32_t slots = 1;
  std::vector<int> cores;  ///< the core of each slot, where slots are pinned; else empty
  std::string shell = "/bin/sh";
  std::string guard_program;
  bool control_groups = true;  ///< one for each slot, where one can be made
  bool adopts_orphans =
      false;  ///< this process is a subreaper, and what is not a guard below it is an orphan of a task
  std::chrono::milliseconds kill_grace{5000};
  std::chrono::milliseconds leftover_grace{500};
  std::chrono::milliseconds sample_interval{1000};
  std::chrono::milliseconds commit_interval{
      20};  ///< while every slot is busy, records are gathered so long for one sync
};

/// What a worker node tells its host. Called from the thread that runs the io_context, never from within a call.
struct WorkerNodeHandler {
  std::function<void(const wire::Records&)> records;  ///< synced; offsets ascend per writer without gaps
  std::function<void(const wire::Returned&)> returned;
  std::function<void(const wire::Notice&)> notice;
  std::function<void()> left;  ///< after leave(): every guard is gone and everything has been told
};

/// Call order: start, then anything, then leave. Everything from the io_context's thread. Destruction without leave
/// closes the guards' lifelines: they end their tasks at once and record node_failed.
class WorkerNode {
 public:
  WorkerNode(boost::asio::io_context& io, WorkerNodeOptions options, WorkerNodeHandler handler);
  ~WorkerNode();

  /// Claims record files and starts the guards. Errors: fix_request (no such batch, directory not writable, guard
  /// program missing), retry_later (no processes, no descriptors).
  Result<void> start();

  void add_submission(const wire::SubmissionInfo& info);
  void hand(const wire::Hand& hand);  ///< steps of a submission that was added; unknown ones come back as returned
  void terminate(const wire::Terminate& request);
  void recall(const wire::Recall& request);
  void set_limit(std::uint32_t slots);
  /// Gives back what is queued; running tasks finish (negative) or are ended as preempted after the grace.
  void leave(std::chrono::milliseconds grace);

  std::vector<wire::SlotState> slots() const;
  std::vector<RunKey> running() const;  ///< claimed by guards, end not yet told
  std::uint64_t waiting() const;        ///< handed and not claimed
  bool has_left() const;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;  // shared with handlers under way in the io_context
};

}  // namespace allot
