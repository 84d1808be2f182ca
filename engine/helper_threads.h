// SPDX-License-Identifier: MIT
// Calls into a distributor that may take their time, made beside the thread that follows the events.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "engine/triage.h"
#include "process/fd.h"
#include "protocol/cluster_distributor.h"

namespace allot {

/// An eventfd: other threads ring, the driving thread polls. Thread rule: any thread.
class Bell {
 public:
  Bell();
  void ring();
  void clear();
  int descriptor() const { return fd_.get(); }

 private:
  Fd fd_;
};

/// Submits one after the other. The distributor must have ended any blocked submit (stop does) before this is
/// destroyed. Thread rule: the methods are for the driving thread.
class Submitter {
 public:
  struct Answer {
    std::uint32_t owner = 0;   ///< who submitted
    std::uint32_t number = 0;  ///< Submission::number
    Result<SubmittedIds> ids;
  };

  Submitter(ClusterDistributor& distributor, Bell& bell);
  ~Submitter();
  Submitter(const Submitter&) = delete;
  Submitter& operator=(const Submitter&) = delete;

  void submit(std::uint32_t owner, Submission submission);
  /// Rings the bell when there is something to take.
  std::vector<Answer> take_answers();

 private:
  struct Job {
    std::uint32_t owner = 0;
    Submission submission;
  };

  void work();

  ClusterDistributor& distributor_;
  Bell& bell_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> queue_;        // guarded by mutex_
  std::vector<Answer> answers_;  // guarded by mutex_
  bool leaving_ = false;         // guarded by mutex_
  std::thread thread_;
};

/// Other calls about many ids, each in a thread of its own. Thread rule: the methods are for the driving thread.
class DistributorCalls {
 public:
  struct Report {
    int tag = 0;
    Result<std::map<std::string, Termination>> outcomes;  ///< of a termination; empty of a hold or release
    std::optional<Error> error;                           ///< of a hold or release
    std::optional<Result<Snapshot>> snapshot;             ///< of a look
    std::optional<Result<std::vector<TriageFinding>>> findings;
  };

  DistributorCalls(ClusterDistributor& distributor, Bell& bell) : distributor_(distributor), bell_(bell) {}
  /// Waits for the calls, which the protocol bounds by their grace plus 10 s.
  ~DistributorCalls() { join(); }
  DistributorCalls(const DistributorCalls&) = delete;
  DistributorCalls& operator=(const DistributorCalls&) = delete;
  void join();

  /// `tag` tells the caller's calls apart. Without a thread to be had the call is made at once.
  void terminate(int tag, std::vector<std::string> ids, std::chrono::milliseconds grace);
  void hold(int tag, std::vector<std::string> ids);
  void release(int tag, std::vector<std::string> ids);
  /// Which of them the distributor has.
  void look(int tag, std::vector<std::string> ids);
  /// hear_witnesses. `batch` outlives this.
  void hear(int tag, const BatchDirectory& batch, std::vector<SilentTask> tasks);
  /// Rings the bell when there is something to take.
  std::vector<Report> take_reports();
  bool has_reports() const;
  bool is_busy() const { return !calls_.empty(); }
  std::size_t busy(int tag) const;  ///< calls under way with that tag

 private:
  struct Call {
    Report report;
    std::thread thread;
    std::atomic<bool> is_over = false;
  };
  void start(int tag, std::function<void(Report&)> work);

  ClusterDistributor& distributor_;
  Bell& bell_;
  std::list<Call> calls_;
};

}  // namespace allot
