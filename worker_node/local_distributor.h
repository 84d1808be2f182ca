// SPDX-License-Identifier: MIT
// What the distributors on this machine have in common.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "worker_node/book_distributor.h"
#include "worker_node/local_settings.h"

namespace allot {

class LocalDistributor : public BookDistributor {
 public:
  LocalDistributor(ClusterConfig config, LocalSettings settings);

 protected:
  /// Also refuses what excludes this machine, the only node there is.
  Result<void> check_resources(const Submission& submission) const override;

  const LocalSettings settings_;
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

/// Records ends that no worker node has recorded, in the file of a slot that nobody uses (claimed for the time); on
/// disk when it returns the writer's name. Errors: those of claiming and writing.
Result<std::string> record_ends(const BatchDirectory& batch, const std::vector<FinishedRecord>& ends);

/// The same for runs that are lost. The caller has seen that whoever began them is gone.
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
