// SPDX-License-Identifier: MIT
// Tasks as elements of Slurm job arrays. One thread reads the records that the elements write, another one looks at the
// controller's table now and then; both go on without the other.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "distributors/slurm/agent_client.h"
#include "distributors/slurm/native_job.h"
#include "distributors/slurm/record_follower.h"
#include "worker_node/book_distributor.h"

namespace allot::slurm {

class SlurmDistributor final : public BookDistributor {
 public:
  SlurmDistributor(ClusterConfig config, SlurmSettings settings);
  ~SlurmDistributor() override;

  DistributorLimits limits() const override;
  Result<void> start() override;
  Result<void> stop() override;
  Result<SubmittedIds> submit(const Submission& submission) override;
  Result<std::map<std::string, Termination>> terminate_task_instances(const std::vector<std::string>& ids,
                                                                      std::chrono::milliseconds grace) override;
  Result<std::map<std::string, std::string>> get_queueing_errors(const std::vector<std::string>& ids) override;
  Result<std::map<std::string, std::string>> explain_pending(const std::vector<std::string>& ids) override;
  Result<std::uint64_t> hold(const std::vector<std::string>& ids) override;
  Result<std::uint64_t> release(const std::vector<std::string>& ids) override;
  Result<Reconciliation> reconcile(const std::string& batch_directory, const std::string& token) override;
  Result<void> forget_batch(const std::string& batch_directory) override;

 private:
  using Clock = std::chrono::steady_clock;
  enum class Life { created, starting, running, stopping, stopped };
  /// What became of a submission whose answer did not come.
  struct Settled {
    Reconciliation::Answer answer = Reconciliation::Answer::unknown;
    std::string evidence;
  };
  /// Elements of one job that are asked for the same.
  using Elements = std::map<std::uint32_t, StepRanges>;  // by entry

  // With mutex_ held, unless said otherwise.
  Result<void> usable(const char* what) const;
  NativeJob* job_of(std::uint32_t entry);
  void forget_job(std::uint32_t entry);
  std::uint64_t position_of(RunBook::Found task) const;
  std::uint64_t step_at(const RunBook::Entry& entry, std::uint64_t position) const;
  Elements elements_of(const std::vector<RunBook::Found>& tasks, bool only_whole) const;
  std::uint64_t unfinished_in(const NativeJob& job, std::uint64_t element) const;
  void take_job(std::uint32_t entry, Sending sending);
  std::string script_of(const Submission& submission, const Sending& sending, const JobRequest& request) const;
  std::string reason_of(RunBook::Found task) const;
  const Partition* partition_of(const Submission& submission) const;
  JobLimits job_limits(const RequestedResources& asked, const Partition& partition) const;
  std::optional<std::uint64_t> room_now() const;
  Result<void> check_nodes(const Submission& submission) const;

  // submit.cpp, without mutex_.
  Result<void> send(std::uint32_t entry);
  Result<void> accept(std::uint32_t entry, std::uint32_t job_id);
  Settled settle(const std::string& batch_directory, const std::string& token, std::uint32_t submission,
                 Sending& sending);

  // follow.cpp: the threads, and what they do.
  void follow_records();
  void follow_controller();
  void read_records();
  JobFilter unfinished_jobs() const;
  void take_table(const JobTable& table);
  void take_view(NativeJob& job, const JobTable& table);
  void keep_submit_times(std::unique_lock<std::mutex>& lock);
  void mark_gone(NativeJob& job, std::uint64_t element, const JobRecord* record);
  void judge_gone();
  void ask_accounting(std::unique_lock<std::mutex>& lock);
  bool remove_never_begun(NativeJob& job, std::uint64_t element);
  void judge(NativeJob& job, std::uint64_t element, std::vector<FinishedRecord>& verdicts);
  std::pair<PendingReason, StepRanges> impossible_elements(const NativeJob& job) const;
  void end_impossible();
  std::uint64_t live_elements() const;
  std::uint64_t waiting_tasks() const;
  void learn_room(std::uint64_t refused_elements);
  void note_trouble(const std::string& text);
  bool give_verdicts(const NativeJob& job, const std::vector<FinishedRecord>& verdicts);
  Clock::duration poll_distance() const;
  void wake_poll();
  bool end_jobs(const std::set<std::uint32_t>& jobs, Clock::time_point deadline);  // without mutex_

  const SlurmSettings settings_;
  const std::string element_program_;
  AgentClient agent_;
  Life life_ = Life::created;
  Site site_;
  std::map<std::uint32_t, NativeJob> jobs_;          // by entry
  std::map<std::string, RecordFollower> followers_;  // by the batch's id; the records thread's alone
  std::set<std::string> read_again_;                 // ids of batches of which more is to be told from the start
  std::thread records_thread_, controller_thread_;
  std::condition_variable record_time_, poll_time_;
  bool is_record_time_ = false, is_poll_time_ = false;
  std::chrono::milliseconds poll_interval_{0};
  std::uint64_t polls_ = 0;            // that were answered
  std::optional<std::uint64_t> room_;  // elements that the controller takes at once, as far as it is known
  Clock::time_point room_until_{};
  std::uint32_t sends_ = 0;  // submissions whose answer is awaited
  std::string trouble_;      // why the controller cannot be asked now
  double ended_seconds_ = 0;
  std::uint64_t ended_tasks_ = 0;
};

}  // namespace allot::slurm
