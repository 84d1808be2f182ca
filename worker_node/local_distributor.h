// SPDX-License-Identifier: MIT
// What the distributors on this machine have in common: the book, the string forms, the queries.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <vector>

#include "protocol/cluster_distributor.h"
#include "worker_node/local_settings.h"
#include "worker_node/own_batch.h"
#include "worker_node/run_book.h"

namespace allot {

class LocalDistributor : public ClusterDistributor {
 public:
  LocalDistributor(ClusterConfig config, LocalSettings settings);

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
  /// Does the submission fit this cluster, of one node, at all? Strictly: what can never start is refused now.
  Result<void> check_resources(const Submission& submission) const;
  /// RunBook::add, which also finds in the ledger what an earlier distributor did of this very submission: ended tasks
  /// do not run again. Errors: also retry_later while some of it may still run (reconcile tells). With mutex_ held.
  Result<std::pair<std::uint32_t, bool>> take_up(Submission submission);
  /// For reconcile: takes a recorded submission up if every task of it has ended. With mutex_ held.
  std::optional<SubmittedIds> take_up_ended(const Fold& fold, const IntentRecord& intent,
                                            const std::string& batch_directory);
  static std::uint32_t cores_of(const RequestedResources& resources) { return resources.cores.value_or(1); }

  const ClusterConfig config_;
  const LocalSettings settings_;
  const std::string entry_point_;
  std::vector<std::unique_ptr<ClusterQueue>> queues_;
  mutable std::mutex mutex_;  // guards everything below
  std::condition_variable changed_;
  RunBook book_;
  std::string blocked_;  // why nothing can start any more; empty: it can

 private:
  Result<SubmittedIds> submit_line(const std::string& command, const std::string& name,
                                   const RequestedResources& resources, std::uint64_t count, bool is_array);

  std::mutex own_mutex_;
  OwnBatch own_batch_;
};

/// What is left of those who wrote records of a batch.
struct Sessions {
  enum class State { gone, alive, elsewhere } state = State::gone;
  std::string text;  // which one
};
/// Which writers of the batch still live: guards and worker nodes, but for the worker nodes `except`; drivers are not
/// asked. Of another host's nobody can say; `elsewhere` if one of them has begun a run (of `submission`, or of any)
/// that has no end.
Result<Sessions> sessions_of(const BatchDirectory& batch, const std::vector<std::int64_t>& except = {},
                             std::optional<std::uint32_t> submission = {});

/// Records that these runs are lost, in the file of a slot that nobody uses (claimed for the time); returns its
/// writer's name. The caller has seen that whoever began them is gone. Errors: those of claiming and writing.
Result<std::string> record_lost(const BatchDirectory& batch, const std::vector<RunKey>& keys, const std::string& text);

/// Why a task waits that was queued when its distributor was stopped, and that was started again.
inline constexpr const char* kLeftByStop =
    "it was queued when this distributor was stopped, and only a new driver of its batch starts it (allot resume)";

struct Strays {
  bool ended = false;            ///< false: something cannot be ended (10 s)
  std::uint64_t unreadable = 0;  ///< younger than the batch, and another user's: a task that has changed its user id?
  bool all_grouped = true;       ///< every slot that ran tasks of the batch here had a control group
  explicit operator bool() const { return ended; }
  /// For the evidence: "; 2 processes of other users …"; empty for none.
  std::string reservation() const;
};
/// KILLs what is left of a batch's tasks on this host: processes with the id of a task of the batch that are below none
/// of the living worker nodes `spared`, and those of end_groups. Never this process, those that it was started by, or
/// those in its process group.
Strays end_strays(const BatchDirectory& batch, const std::vector<std::int64_t>& spared);

/// KILLs what is left in the control groups of slots whose guard and worker node are gone, on this host and in this
/// boot, and removes the groups. False: something cannot be ended (10 s).
bool end_groups(const BatchDirectory& batch);

/// KILLs what carries the mark of one of these ids, until nothing does; spares as end_strays. False: something cannot
/// be ended (10 s).
bool end_marked(const std::vector<std::string>& distributor_ids);

}  // namespace allot
