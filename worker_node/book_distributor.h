// SPDX-License-Identifier: MIT
// What every distributor here has in common that keeps its tasks in a RunBook: the string forms and the queries.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "protocol/cluster_config.h"
#include "protocol/cluster_distributor.h"
#include "protocol/cluster_queue.h"
#include "worker_node/own_batch.h"
#include "worker_node/run_book.h"

namespace allot {

class BookDistributor : public ClusterDistributor {
 public:
  BookDistributor(ClusterConfig config, std::vector<std::unique_ptr<ClusterQueue>> queues);

  const std::string& cluster_name() const override { return config_.name; }
  DistributorLimits limits() const override { return {}; }
  const std::string& worker_node_entry_point() const override { return entry_point_; }
  Result<std::string> submit_to_batch_distributor(const std::string& command, const std::string& name,
                                                  const RequestedResources& requested_resources) override;
  Result<std::map<std::uint64_t, std::string>> submit_array_to_batch_distributor(
      const std::string& command, const std::string& name, const RequestedResources& requested_resources,
      std::uint64_t array_length) override;
  Result<Snapshot> get_submitted_or_running(const std::optional<std::vector<std::string>>& ids) override;
  Result<std::map<std::string, std::string>> get_queueing_errors(const std::vector<std::string>& ids) override;
  Result<ExitInfo> get_remote_exit_info(const std::string& id) override;
  Result<std::vector<std::string>> build_worker_node_command(const std::string& batch_directory,
                                                             const StepRanges& steps) override;
  Result<std::map<std::string, UsageStats>> get_usage_stats(const std::vector<std::string>& ids) override;
  Result<std::vector<Event>> wait_for_events(std::uint64_t cursor, std::chrono::milliseconds timeout) override;
  Result<int> event_descriptor() override;

 protected:
  /// What a call is answered that needs a running distributor, before its start and after its stop.
  Error gone(const char* what, bool was_started) const;
  /// A batch, and the submission with a token in it, for reconcile.
  struct Recorded {
    BatchDirectory batch;
    Fold fold;
    IntentRecord intent;
  };
  /// Nothing: `answer` says that the ledger has no such submission. Reads the ledger: with or without mutex_.
  static Result<std::optional<Recorded>> find_recorded(const std::string& batch_directory, const std::string& token,
                                                       Reconciliation& answer);
  /// Tasks that are to be ended, with pins on their batches.
  struct Ending {
    std::vector<std::pair<std::string, RunBook::Found>> open;
    std::vector<std::shared_ptr<void>> pins;
  };
  /// Marks what of `ids` has not ended, and answers for the others. With mutex_ held.
  Ending begin_ending(const std::vector<std::string>& ids, std::map<std::string, Termination>& answer);
  /// Does the submission fit this cluster at all? Strictly: what can never start is refused now. Here: the queue is
  /// known and takes the request.
  virtual Result<void> check_resources(const Submission& submission) const;
  /// RunBook::add, which also finds in the ledger what an earlier distributor did of this very submission: ended tasks
  /// do not run again. Errors: also retry_later while some of it may still run (reconcile tells). With mutex_ held.
  Result<std::pair<std::uint32_t, bool>> take_up(Submission submission);
  /// For reconcile: takes a recorded submission up if every task of it has ended, and answers. With mutex_ held.
  bool take_up_ended(const Recorded& recorded, const std::string& batch_directory, Reconciliation& answer);
  /// The batch's trouble stays its own: nothing of it starts any more, and what of it has not ended and is of `which`
  /// ends as `exit_class`, with the reason. Returns how many did. With mutex_ held.
  std::uint64_t block_batch(std::uint32_t batch, const std::string& why, ExitClass exit_class,
                            const std::function<bool(const RunBook::Cell&)>& which);
  /// For submit: is the batch at that path blocked? With mutex_ held.
  Result<void> check_blocked(const std::string& batch_directory) const;
  static std::uint32_t cores_of(const RequestedResources& resources) { return resources.cores.value_or(1); }

  const ClusterConfig config_;
  const std::string entry_point_;
  std::vector<std::unique_ptr<ClusterQueue>> queues_;  // default first
  mutable std::mutex mutex_;                           // guards everything below
  std::condition_variable changed_;
  RunBook book_;
  std::string blocked_;  // why nothing can start any more; empty: it can

 private:
  Result<SubmittedIds> submit_line(const std::string& command, const std::string& name,
                                   const RequestedResources& resources, std::uint64_t count, bool is_array);

  std::mutex own_mutex_;
  OwnBatch own_batch_;
};

}  // namespace allot
