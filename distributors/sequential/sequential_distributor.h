// SPDX-License-Identifier: MIT
// Tasks one after the other, in the caller's own time: submit returns when they are over. The mode to debug in.
#pragma once

#include <boost/asio/io_context.hpp>
#include <memory>
#include <optional>

#include "worker_node/local_distributor.h"
#include "worker_node/step_cursor.h"
#include "worker_node/worker_node.h"

namespace allot {

class SequentialDistributor final : public LocalDistributor {
 public:
  SequentialDistributor(ClusterConfig config, LocalSettings settings);
  ~SequentialDistributor() override;

  Result<void> start() override;
  Result<void> stop() override;
  /// Runs the steps and returns when each has ended (a held one: when it was released and has ended, or was ended).
  Result<SubmittedIds> submit(const Submission& submission) override;
  Result<std::map<std::string, Termination>> terminate_task_instances(const std::vector<std::string>& ids,
                                                                      std::chrono::milliseconds grace) override;
  Result<std::map<std::string, std::string>> explain_pending(const std::vector<std::string>& ids) override;
  Result<std::uint64_t> hold(const std::vector<std::string>& ids) override;
  Result<std::uint64_t> release(const std::vector<std::string>& ids) override;
  Result<Reconciliation> reconcile(const std::string& batch_directory, const std::string& token) override;
  Result<void> forget_batch(const std::string& batch_directory) override;

 private:
  enum class Life { created, running, stopping, stopped };

  Result<void> usable(const char* what) const;
  Result<void> ready_node(std::uint32_t batch);
  void give_up(std::uint32_t batch, const std::string& why, ExitClass exit_class);
  void close_node(std::chrono::milliseconds grace);
  void run_step(RunBook::Found task);

  Life life_ = Life::created;                // guarded by mutex_
  std::optional<RunBook::Found> current_;    // with the worker node; guarded by mutex_
  bool submitting_ = false;                  // someone is inside submit; guarded by mutex_
  std::uint32_t serving_ = 0;                // the entry that is being run, while submitting_; guarded by mutex_
  StepCursor cursor_;                        // in that entry; guarded by mutex_
  std::optional<std::uint32_t> node_batch_;  // whose worker node there is; guarded by mutex_
  // Below: the submitting thread's, one at a time (submitting_).
  boost::asio::io_context io_{1};
  std::unique_ptr<WorkerNode> node_;
  std::string node_trouble_;
};

}  // namespace allot
