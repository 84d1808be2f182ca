// SPDX-License-Identifier: MIT
// A distributor without processes, for tests of what drives one. It keeps the whole contract: ids, events, records in
// the ledger, termination, hold, reconcile. What its tasks do is for the test to say.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "ledger/batch_directory.h"
#include "ledger/record_file.h"
#include "protocol/cluster_distributor.h"

namespace allot::test {

/// What a task does once it has started.
struct FakeRun {
  ExitInfo exit_info{ExitClass::done, 0, {}, {}};
  double wall_seconds = 0.01;
  std::uint64_t max_rss_bytes = 1 << 20;
  std::string out, err;
  bool goes_on = false;  ///< it runs until finish(), or until it is ended
  bool is_deaf = false;  ///< TERM does not end it, KILL does
  bool is_unkillable = false;
};
FakeRun fake_end(ExitClass exit_class, int number = 0, std::string text = {});
FakeRun fake_goes_on();

struct FakeTask {
  std::uint64_t step = 0;
  std::uint32_t submission = 0;
  std::uint32_t attempt = 1;
  RequestedResources resources;
  std::string node;  ///< where it starts
  std::uint32_t round = 0;
};

/// The machine: its tasks live on while distributors come and go. Every member may be used from any thread; the public
/// fields are set before the first distributor is made.
class FakeCluster {
 public:
  explicit FakeCluster(std::uint32_t slots = 2) : slots_(slots) {}

  std::function<FakeRun(const FakeTask&)> behaviour;              ///< asked when a task starts; empty: done at once
  std::function<std::optional<Error>(const Submission&)> refuse;  ///< an error: submit answers it
  std::function<std::optional<Reconciliation>(const std::string& token)> reconcile_answer;  ///< instead of the truth
  std::function<std::optional<Error>()> event_fault;     ///< an error: wait_for_events answers it when it has no events
  std::function<std::optional<Error>()> snapshot_fault;  ///< an error: get_submitted_or_running answers it
  std::function<std::optional<ExitInfo>(std::uint64_t step)> remote_exit_info;  ///< of what is not known here
  std::function<bool(std::uint64_t step)> is_hidden;                            ///< left out of snapshots
  std::function<bool(std::uint64_t step)> is_mute;  ///< its end is recorded, and no event tells of it
  std::function<void(const std::vector<std::string>& ids)> before_termination;  ///< may keep the call waiting
  DistributorLimits limits;
  std::vector<std::string> nodes;  ///< of the slots, in turn; empty: all are this host's
  bool outlives_stop = false;      ///< stop() changes nothing here, as if the driver had been killed before it

  /// Ends a task that goes on.
  void finish(std::uint64_t step, const FakeRun& run = {});
  /// Waits until a task runs; false after 30 s.
  bool wait_until_running(std::uint64_t step);
  /// A task that runs or is queued vanishes: no record and no event tells of it.
  void vanish(std::uint64_t step);
  /// The power fails: nothing runs or is queued any more, and no record tells of it.
  void lose_everything();

  std::vector<Submission> submissions() const;                   ///< accepted, in order
  std::vector<std::uint64_t> runs_of(std::uint64_t step) const;  ///< submission numbers that started it, in order
  std::uint64_t most_running() const;
  std::string id_of_running(std::uint64_t step) const;
  std::vector<std::chrono::milliseconds> graces() const;  ///< of every termination asked for

 private:
  friend class FakeDistributor;
  struct Task {
    FakeTask what;
    std::string id;
    std::string batch;
    std::int32_t priority = 0;
    std::vector<std::string> excluded_nodes;
    TaskPhase phase = TaskPhase::queued;
    bool is_held = false;
    FakeRun run;
    std::uint32_t slot = 0;
    std::int64_t started_ns = 0;
  };
  struct Known {
    Submission submission;
    SubmittedIds ids;
  };
  struct Writer {
    RecordWriter records;
    std::uint64_t out_size = 0, err_size = 0;
  };

  // All with mutex_ held.
  void advance();
  std::string node_of(std::uint32_t slot) const;
  std::optional<std::uint32_t> free_slot(const Task& task) const;
  void forget(const std::string& batch);
  void start(Task& task);
  void end(Task& task, const FakeRun& run);
  void remove(Task& task);
  void tell(const Task& task, TaskPhase phase, const FakeRun* run);
  Writer& writer(const std::string& batch, std::uint32_t slot);
  Task* find(const std::string& id);

  const std::uint32_t slots_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, Task> tasks_;                           // by id
  std::deque<std::string> queue_;                               // ids
  std::set<std::uint32_t> busy_;                                // slots
  std::map<std::pair<std::string, std::string>, Known> known_;  // by batch and token
  std::map<std::pair<std::string, std::uint32_t>, Writer> writers_;
  std::vector<Submission> accepted_;
  std::map<std::uint64_t, std::vector<std::uint64_t>> runs_;
  std::vector<std::chrono::milliseconds> graces_;
  std::uint64_t most_running_ = 0;
  class FakeDistributor* attached_ = nullptr;  // gets the events
};

}  // namespace allot::test
