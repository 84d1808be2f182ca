// SPDX-License-Identifier: MIT
// A batch on disk, driven in this process through a fake distributor.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/batch_observer.h"
#include "engine/batch_run.h"
#include "engine/recovery.h"
#include "ledger/fold.h"
#include "process/fd.h"
#include "tests/support/fake_distributor.h"
#include "tests/support/temp_directory.h"

namespace allot::test {

/// Keeps what the driver tells. `on_progress` is called by the driving thread.
class RecordingObserver final : public BatchObserver {
 public:
  void progress(const BatchProgress& progress) override {
    last = progress;
    if (on_progress) on_progress(progress);
  }
  void failed(std::uint64_t step, const ExitInfo& info, bool will_rerun) override {
    failures.push_back({step, info, will_rerun});
  }
  void notice(const std::string& text) override { notices.push_back(text); }
  std::chrono::milliseconds interval() const override { return std::chrono::milliseconds(50); }

  struct Failure {
    std::uint64_t step;
    ExitInfo info;
    bool will_rerun;
  };
  bool was_told(const std::string& part) const {
    for (const auto& text : notices) {
      if (text.find(part) != std::string::npos) return true;
    }
    return false;
  }
  BatchProgress last;
  std::vector<Failure> failures;
  std::vector<std::string> notices;
  std::function<void(const BatchProgress&)> on_progress;
};

/// Requests that a test makes.
class TestStop final : public StopSignal {
 public:
  TestStop();
  int descriptor() const override { return read_end_.get(); }
  int take() override;
  void request();

 private:
  Fd read_end_, write_end_;
};

/// One batch. Drivers follow each other as in reality: each claims an epoch and has a log of its own.
class DrivenBatch {
 public:
  explicit DrivenBatch(const std::vector<TaskSpec>& tasks, bool is_array = true);

  /// A new batch to its end. Fails the test when it takes longer than a minute.
  BatchResult run(FakeCluster& cluster);
  /// What another driver makes of it.
  BatchResult resume(FakeCluster& cluster);
  /// The error of a recovery that must fail.
  Error failing_resume(FakeCluster& cluster);
  /// As if the driver had died without a last word and the host had been booted since.
  void pretend_crash_and_boot();
  /// As if the host had been booted after that driver had written its records, which stay.
  void pretend_boot_of_driver(std::uint64_t epoch);
  /// A driver that claims the batch and dies before it has decided anything.
  void claim_and_die();
  /// Zeroes the records of the first run that ended.
  struct Damage {
    std::uint64_t step = 0;
    std::string file;
    std::uint64_t offset = 0;
  };
  Damage damage_first_run();

  Fold fold() const;
  TaskDetail detail(std::uint64_t step) const { return fold().detail(step).value(); }
  /// The fold's states, a letter each: w q r d f a.
  std::string states() const;
  /// Records of the drivers, in the order of their epochs.
  std::vector<Record> driver_records() const;

  const BatchDirectory& directory() const { return *directory_; }
  RecordingObserver observer;
  TestStop stop;
  RunSettings settings;
  RecoveryRequest request;  ///< of resume()
  /// Called once with the batch that is driven, by the driving thread, when the condition holds for the first time.
  void when(std::function<bool(const BatchProgress&)> condition, std::function<void(BatchRun&)> act);
  std::vector<std::unique_ptr<ClusterQueue>> queues;

 private:
  using Begin = std::function<Result<BatchState>(const DriverContext&)>;
  Result<BatchResult> drive(FakeCluster& cluster, const Begin& begin);
  DriverIdentity next_driver();
  void rewrite_epoch(std::uint64_t from, std::uint64_t to, const std::string& boot);

  TempDirectory temporary_;
  std::optional<BatchDirectory> directory_;
  std::optional<BatchPlan> plan_;
  std::optional<DriverIdentity> previous_;
  struct Awaited {
    std::function<bool(const BatchProgress&)> condition;
    std::function<void(BatchRun&)> act;
    bool is_done = false;
  };
  std::list<Awaited> awaited_;
  BatchRun* run_ = nullptr;
};

/// Tasks with these `after`s, one for each element.
std::vector<TaskSpec> tasks_after(const std::vector<std::vector<Dependency>>& after);
/// Plain tasks.
std::vector<TaskSpec> plain_tasks(std::size_t count);

}  // namespace allot::test
