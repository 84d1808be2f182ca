// SPDX-License-Identifier: MIT
// Drives batches through one distributor, in one thread: its events and answers go to the batches they are of.
#pragma once

#include <poll.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/batch_run.h"
#include "engine/driver_context.h"
#include "engine/helper_threads.h"

namespace allot {

/// Call order: begin → add and, as long as something is to be driven, round and wait, in any order → stop → finish of
/// what was not over. Thread rule: one thread.
class Driver {
 public:
  using Clock = BatchRun::Clock;

  /// The distributor has been started; it and `stop` outlive the driver. `max_running`: tasks of all batches that may
  /// be queued or running at once.
  Driver(ClusterDistributor& distributor, StopSignal& stop, std::optional<std::uint32_t> max_running = {});
  ~Driver();

  /// Starts its threads. Errors: retry_later (no descriptors or threads are left).
  Result<void> begin();

  /// Begins to drive a batch, which stays with the driver until remove(). After a failed begin() it is over at once.
  BatchRun& add(const DriverContext& context, BatchState state);
  /// The batch at that path; null if it is not driven here.
  BatchRun* find(const std::string& batch_path);
  /// Those of higher priority first, equal ones as they came.
  const std::vector<std::unique_ptr<BatchRun>>& batches() const { return batches_; }
  /// From now on events of a batch that is about to be added are kept for it, until add() or forget().
  void expect(const std::string& batch_path) { expected_[batch_path]; }
  void forget(const std::string& batch_path) { expected_.erase(batch_path); }
  /// Of a batch that is over.
  void remove(const BatchRun& run);

  bool is_stopping() const { return stop_requests_ > 0; }
  /// The distributor starts nothing any more, of no batch.
  bool has_lost_distributor() const { return has_lost_distributor_; }

  /// All that there is to do now. True: there is more, do not wait.
  bool round();
  /// Until there is something to do, or one of `others` is ready (their revents are set), or `until`.
  void wait(std::vector<pollfd>& others, std::optional<Clock::time_point> until = {});
  /// Rung by other threads to end a wait().
  Bell& bell() { return bell_; }

  /// Stops the distributor, and gives every batch what it still told.
  void stop();

 private:
  void take_answers();
  void take_stop_requests();
  bool take_events();
  void take_event_error(const Error& error, Clock::time_point now);
  void share_room();

  ClusterDistributor& distributor_;
  StopSignal& stop_;
  const std::optional<std::uint32_t> max_running_;
  Bell bell_;
  std::unique_ptr<Submitter> submitter_;
  std::optional<Error> no_threads_;
  std::vector<std::unique_ptr<BatchRun>> batches_;
  std::unordered_map<std::string, BatchRun*> by_path_;
  std::unordered_map<std::uint32_t, BatchRun*> by_number_;
  std::unordered_map<std::string, std::vector<Event>> expected_;
  std::uint32_t next_number_ = 1;
  int stop_requests_ = 0;
  bool has_lost_distributor_ = false;
  std::uint64_t cursor_ = 0;
  int event_descriptor_ = -1;
  std::optional<Clock::time_point> events_again_at_;  // set: they could not be had
};

class ControlServer;

/// Drives one batch to its end and stops the distributor. `first` is called before anything is submitted; `control`
/// (may be null) is served meanwhile.
BatchResult drive_batch(const DriverContext& context, BatchState state, ControlServer* control = nullptr,
                        const std::function<void(BatchRun&)>& first = {});

}  // namespace allot
