// SPDX-License-Identifier: MIT
// A batch that is there already: who drives it, and how this process becomes its driver.
#pragma once

#include <optional>
#include <string>

#include "cli/driving.h"
#include "engine/recovery.h"
#include "ledger/batch_directory.h"
#include "ledger/fold.h"
#include "process/identity.h"

namespace allot::cli {

/// Who drives a batch, as far as it can be seen from here.
struct Holder {
  enum class State {
    none,       ///< nobody ever did: its tasks were not read to the end
    left,       ///< in order
    waiting,    ///< likewise, or it is gone, and the batch waits for the background driver to begin with it
    alive,      ///< a process of this host
    gone,       ///< it ended without a word, or its host was booted since
    elsewhere,  ///< another host's: not to be seen
  } state = State::none;
  std::optional<DriverIdentity> driver;
  /// Left, waiting or gone: the batch is in the queue of this host's background.
  bool is_in_queue = false;
  std::optional<ProcessIdentity> background;  ///< then: its driver, if one lives
  /// The next driver of the background takes it up: ends that it does not let stand are none (load_fold()).
  bool goes_on = false;
  bool is_dropped = false;  ///< left: handed over to the background, and not in its queue any more

  ProcessIdentity process() const { return {static_cast<pid_t>(driver->pid), driver->start_ticks}; }
};
/// "process 12 on node3".
std::string describe(const DriverIdentity& driver);

/// The batch of that name or path. Errors: fix_request, gave_up.
Result<BatchDirectory> open_batch(const std::string& name);

struct TakenOver {
  ClusterParts parts;
  DriverIdentity driver;
  std::optional<DriverIdentity> previous;
};
/// Opens the batch's cluster (or the one that the options name) and claims the batch.
Result<TakenOver> take_over(Services& services, const BatchDirectory& batch, const DrivingOptions& options,
                            bool from_other_host);

/// The begin of a driver that takes over. Tells what it found.
BeginState begin_again(const std::optional<DriverIdentity>& previous, RecoveryRequest request = {});

}  // namespace allot::cli
