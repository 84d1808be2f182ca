// SPDX-License-Identifier: MIT
// A distributor without processes, for tests of what drives one. It keeps the whole contract: ids, events, records in
// the ledger, termination, hold, reconcile.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "process/fd.h"
#include "protocol/cluster_distributor.h"
#include "tests/support/fake_cluster.h"
#include "tests/support/temp_directory.h"

namespace allot::test {

class FakeDistributor final : public ClusterDistributor {
 public:
  explicit FakeDistributor(FakeCluster& cluster);
  ~FakeDistributor() override;

  const std::string& cluster_name() const override { return name_; }
  DistributorLimits limits() const override { return cluster_.limits; }
  const std::string& worker_node_entry_point() const override { return entry_point_; }
  Result<void> start() override;
  Result<void> stop() override;
  Result<SubmittedIds> submit(const Submission& submission) override;
  Result<std::string> submit_to_batch_distributor(const std::string& command, const std::string& name,
                                                  const RequestedResources& requested_resources) override;
  Result<std::map<std::uint64_t, std::string>> submit_array_to_batch_distributor(
      const std::string& command, const std::string& name, const RequestedResources& requested_resources,
      std::uint64_t array_length) override;
  Result<Snapshot> get_submitted_or_running(const std::optional<std::vector<std::string>>& ids) override;
  Result<std::map<std::string, std::string>> get_queueing_errors(const std::vector<std::string>& ids) override;
  Result<ExitInfo> get_remote_exit_info(const std::string& id) override;
  Result<std::map<std::string, Termination>> terminate_task_instances(const std::vector<std::string>& ids,
                                                                      std::chrono::milliseconds grace) override;
  Result<std::vector<std::string>> build_worker_node_command(const std::string& batch_directory,
                                                             const StepRanges& steps) override;
  Result<std::map<std::string, UsageStats>> get_usage_stats(const std::vector<std::string>& ids) override;
  Result<std::map<std::string, std::string>> explain_pending(const std::vector<std::string>& ids) override;
  Result<std::uint64_t> hold(const std::vector<std::string>& ids) override;
  Result<std::uint64_t> release(const std::vector<std::string>& ids) override;
  Result<std::vector<Event>> wait_for_events(std::uint64_t cursor, std::chrono::milliseconds timeout) override;
  Result<int> event_descriptor() override { return ready_.get(); }
  Result<Reconciliation> reconcile(const std::string& batch_directory, const std::string& token) override;
  Result<void> forget_batch(const std::string& batch_directory) override;

 private:
  friend class FakeCluster;
  Result<void> usable() const;
  void push(Event event);  // with the cluster's mutex held
  void ring();
  Result<SubmittedIds> submit_line(const std::string& command, const std::string& name,
                                   const RequestedResources& resources, std::uint64_t count, bool is_array);

  FakeCluster& cluster_;
  const std::string name_ = "fake";
  const std::string entry_point_ = "/usr/libexec/allot/no-worker-node-is-needed";
  TempDirectory own_;  // batches of the string forms
  std::uint32_t own_batches_ = 0;
  bool is_running_ = false;
  std::deque<Event> events_;
  std::uint64_t next_sequence_ = 1;
  std::uint64_t acknowledged_ = 0;
  Fd ready_;
  bool is_ringing_ = false;
};

}  // namespace allot::test
