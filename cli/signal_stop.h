// SPDX-License-Identifier: MIT
// SIGINT, SIGTERM and SIGHUP as requests to stop.
#pragma once

#include <signal.h>

#include "engine/batch_observer.h"
#include "process/fd.h"

namespace allot::cli {

/// Blocks the signals for this thread and those that it starts later (children get an empty mask by the Spawner), so it
/// is made before any other thread. A signal that is ignored (nohup) stays so. Restores the mask at its end.
class SignalStop final : public StopSignal {
 public:
  SignalStop();
  ~SignalStop() override;
  SignalStop(const SignalStop&) = delete;
  SignalStop& operator=(const SignalStop&) = delete;

  int descriptor() const override { return fd_.get(); }
  int take() override;
  /// The first signal taken; 0: none.
  int first_signal() const { return first_signal_; }

 private:
  Fd fd_;
  sigset_t before_;
  int first_signal_ = 0;
};

}  // namespace allot::cli
