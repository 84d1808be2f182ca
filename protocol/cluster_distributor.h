// SPDX-License-Identifier: MIT
// The contract of a plugin that runs tasks somewhere. tests/contract/ is its executable form.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "protocol/exit_info.h"
#include "protocol/resources.h"
#include "protocol/result.h"
#include "protocol/submission.h"
#include "protocol/termination.h"
#include "protocol/usage_stats.h"

namespace allot {

struct DistributorLimits {
  std::uint64_t max_array_length = kMaxArrayStep + 1;  ///< steps in one submission
  std::uint64_t max_queued = 0;                        ///< tasks queued at once; 0: no limit
  /// Tasks may wait long before they start: what would keep them from it is to be looked at before they are submitted.
  bool checks_paths = false;
};

/// What is known of the submitted tasks that have not finished, all from one instant.
struct Snapshot {
  std::chrono::system_clock::time_point as_of;
  std::map<std::string, TaskPhase> phases;  ///< by distributor id: held, queued or running
};

/// What an interrupted submission became.
struct Reconciliation {
  enum class Answer : std::uint8_t {
    found,          ///< it was accepted: `ids`
    proven_absent,  ///< it never took effect and never will: submitting again is safe
    unknown,        ///< cannot be said now; do not submit again
  };
  Answer answer = Answer::unknown;
  std::optional<SubmittedIds> ids;
  std::string evidence;
};

/// Call order: create → start → anything, in any order → stop. start and stop are idempotent; after stop only the
/// queries work. Thread rule: every method may be called from any thread, at the same time. No method throws.
/// Errors common to all: `gone` before start and after stop (queries excepted).
///
/// What an implementation owes its host:
///  * it never reports done without the worker node's record that says so;
///  * it records the ids of a submission durably before it returns them, and a result before any event tells of it;
///  * its descriptors, processes and files are bounded by slots, not by tasks, and stop() leaves none behind;
///  * no call polls a scheduler once per task, and none blocks for ever: each names its bound.
class ClusterDistributor {
 public:
  virtual ~ClusterDistributor() = default;

  virtual const std::string& cluster_name() const = 0;
  virtual DistributorLimits limits() const = 0;

  /// Absolute path of the worker node's program. Known before start.
  virtual const std::string& worker_node_entry_point() const = 0;

  /// Gets ready to take submissions (pools, threads, connections). Bounded by the cluster's start_timeout.
  virtual Result<void> start() = 0;

  /// Releases everything at once: queued work is not started any more, running trees are killed after the
  /// cluster's kill grace, workers leave. What was not finished stays so in the ledger and can be resumed.
  /// Bounded by the kill grace plus 5 seconds.
  virtual Result<void> stop() = 0;

  /// Submits steps of a batch: every step gets an id, or nothing was submitted and the error says why.
  /// Repeating a token returns the same ids and runs nothing twice. Does not wait for the tasks, except where the
  /// plugin is synchronous (sequential), which returns when they are over.
  /// Errors: fix_request (no such batch or step, too many steps, resources that no queue has, every node excluded),
  /// unsupported (arrays: submit singles instead), retry_later, no_room (limits() may say less now).
  virtual Result<SubmittedIds> submit(const Submission& submission) = 0;

  /// Submits one shell line as a task of its own, in a batch that the distributor keeps. Returns its id.
  virtual Result<std::string> submit_to_batch_distributor(const std::string& command, const std::string& name,
                                                          const RequestedResources& requested_resources) = 0;

  /// Submits `array_length` tasks with the same shell line; element i has ALLOT_ARRAY_STEP_ID=i. Shape of the answer:
  /// 0 … array_length-1 → id, all of them or an error with nothing submitted; `unsupported` when this plugin has no
  /// arrays (the caller then submits singles). array_length 0 is a fix_request.
  virtual Result<std::map<std::uint64_t, std::string>> submit_array_to_batch_distributor(
      const std::string& command, const std::string& name, const RequestedResources& requested_resources,
      std::uint64_t array_length) = 0;

  /// The unfinished ones among `ids` (nothing: of all), with the time of the answer. Error when that is not known
  /// now: a scheduler that is down is never an empty set.
  virtual Result<Snapshot> get_submitted_or_running(const std::optional<std::vector<std::string>>& ids = {}) = 0;

  /// Reasons why ids can never start; ids without a queueing error are left out. Asking does not change the answer.
  virtual Result<std::map<std::string, std::string>> get_queueing_errors(const std::vector<std::string>& ids) = 0;

  /// What ended this id. Errors: not_available (not finished, unknown or forgotten: the text says which). Bounded: 1 s.
  virtual Result<ExitInfo> get_remote_exit_info(const std::string& id) = 0;

  /// Removes queued ids and kills the whole tree of running ones: TERM, after `grace` KILL. Returns when each is gone
  /// or proven unreachable: bounded by grace + 10 s. Idempotent; a second call with a shorter grace cuts the first
  /// one's short. Siblings in the same array are not touched. The answer has every id asked for.
  virtual Result<std::map<std::string, Termination>> terminate_task_instances(
      const std::vector<std::string>& ids, std::chrono::milliseconds grace = std::chrono::seconds(5)) = 0;

  /// The program and arguments that run `steps` of a batch on a node by hand (for a user's own job script).
  virtual Result<std::vector<std::string>> build_worker_node_command(const std::string& batch_directory,
                                                                     const StepRanges& steps) = 0;

  /// Usage of finished ids, and for running ones what is known so far; unknown ids are left out.
  virtual Result<std::map<std::string, UsageStats>> get_usage_stats(const std::vector<std::string>& ids) = 0;

  /// For each unfinished, not running id: why it waits, in a sentence.
  virtual Result<std::map<std::string, std::string>> explain_pending(const std::vector<std::string>& ids) = 0;

  /// Keeps queued ids from starting until released. Running and finished ids are not touched. Idempotent.
  /// Returns how many of `ids` are held (not held) after the call.
  virtual Result<std::uint64_t> hold(const std::vector<std::string>& ids) = 0;
  virtual Result<std::uint64_t> release(const std::vector<std::string>& ids) = 0;

  /// Events with a sequence above `cursor`, oldest first, at most 4096; waits up to `timeout` for the first.
  /// Passing a cursor acknowledges everything up to it: that may be forgotten. Empty: none in time.
  virtual Result<std::vector<Event>> wait_for_events(std::uint64_t cursor, std::chrono::milliseconds timeout) = 0;

  /// A descriptor that polls readable while events above the highest cursor passed so far are there, or while
  /// wait_for_events would answer an error. Owned by the distributor, valid until its destruction. Errors: unsupported.
  virtual Result<int> event_descriptor() = 0;

  /// What the submission with this token became. Asks the witnesses (ledger, workers, scheduler); bounded: 10 s.
  virtual Result<Reconciliation> reconcile(const std::string& batch_directory, const std::string& token) = 0;

  /// The caller has read all that it wants of a batch: frees what is kept of it, and its worker nodes leave. Its ids
  /// are unknown here from then on; its ledger stays, and it may be submitted to again. Bounded: 10 s. A batch that is
  /// not known here is no error. Errors: fix_request (a task of it has not finished), retry_later (an event of it has
  /// not been acknowledged, a call about it is under way, or a worker node of it has not left in time).
  virtual Result<void> forget_batch(const std::string& batch_directory) = 0;
};

}  // namespace allot
