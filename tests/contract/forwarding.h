// SPDX-License-Identifier: MIT
// A distributor that passes every call on to another: a test that wants to change one answer overrides one method.
#pragma once

#include <memory>
#include <utility>

#include "protocol/cluster_distributor.h"

namespace allot::contract {

/// Owns the distributor behind it. Thread rule: that of the distributor behind it.
class ForwardingDistributor : public ClusterDistributor {
 public:
  explicit ForwardingDistributor(std::unique_ptr<ClusterDistributor> behind) : behind_(std::move(behind)) {}

  const std::string& cluster_name() const override { return behind_->cluster_name(); }
  DistributorLimits limits() const override { return behind_->limits(); }
  const std::string& worker_node_entry_point() const override { return behind_->worker_node_entry_point(); }
  Result<void> start() override { return behind_->start(); }
  Result<void> stop() override { return behind_->stop(); }
  Result<SubmittedIds> submit(const Submission& submission) override { return behind_->submit(submission); }
  Result<std::string> submit_to_batch_distributor(const std::string& command, const std::string& name,
                                                  const RequestedResources& requested_resources) override {
    return behind_->submit_to_batch_distributor(command, name, requested_resources);
  }
  Result<std::map<std::uint64_t, std::string>> submit_array_to_batch_distributor(
      const std::string& command, const std::string& name, const RequestedResources& requested_resources,
      std::uint64_t array_length) override {
    return behind_->submit_array_to_batch_distributor(command, name, requested_resources, array_length);
  }
  Result<Snapshot> get_submitted_or_running(const std::optional<std::vector<std::string>>& ids) override {
    return behind_->get_submitted_or_running(ids);
  }
  Result<std::map<std::string, std::string>> get_queueing_errors(const std::vector<std::string>& ids) override {
    return behind_->get_queueing_errors(ids);
  }
  Result<ExitInfo> get_remote_exit_info(const std::string& id) override { return behind_->get_remote_exit_info(id); }
  Result<std::map<std::string, Termination>> terminate_task_instances(const std::vector<std::string>& ids,
                                                                      std::chrono::milliseconds grace) override {
    return behind_->terminate_task_instances(ids, grace);
  }
  Result<std::vector<std::string>> build_worker_node_command(const std::string& batch_directory,
                                                             const StepRanges& steps) override {
    return behind_->build_worker_node_command(batch_directory, steps);
  }
  Result<std::map<std::string, UsageStats>> get_usage_stats(const std::vector<std::string>& ids) override {
    return behind_->get_usage_stats(ids);
  }
  Result<std::map<std::string, std::string>> explain_pending(const std::vector<std::string>& ids) override {
    return behind_->explain_pending(ids);
  }
  Result<std::uint64_t> hold(const std::vector<std::string>& ids) override { return behind_->hold(ids); }
  Result<std::uint64_t> release(const std::vector<std::string>& ids) override { return behind_->release(ids); }
  Result<std::vector<Event>> wait_for_events(std::uint64_t cursor, std::chrono::milliseconds timeout) override {
    return behind_->wait_for_events(cursor, timeout);
  }
  Result<int> event_descriptor() override { return behind_->event_descriptor(); }
  Result<Reconciliation> reconcile(const std::string& batch_directory, const std::string& token) override {
    return behind_->reconcile(batch_directory, token);
  }
  Result<void> forget_batch(const std::string& batch_directory) override {
    return behind_->forget_batch(batch_directory);
  }

 protected:
  ClusterDistributor& behind() { return *behind_; }

 private:
  std::unique_ptr<ClusterDistributor> behind_;
};

}  // namespace allot::contract
