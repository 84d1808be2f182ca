// SPDX-License-Identifier: MIT
// Leaving a batch to the background driver of its cluster, which is started where none lives.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "cli/signal_stop.h"
#include "cli/verb.h"
#include "engine/background_queue.h"
#include "ledger/batch_directory.h"
#include "ledger/record.h"
#include "protocol/result.h"

namespace allot::cli {

/// Reason of the end that a driver records when it has handed its batch over.
inline constexpr const char* kHandedOver = "handed over to the background driver";

/// --background and --driver-idle of verbs that otherwise drive the batch themselves.
struct BackgroundOptions {
  bool background = false;
  std::string idle = "10s";

  /// Behind DrivingOptions: most of those are about a driver here.
  void describe(CLI::App& app);
};

/// --driver-idle. Errors: fix_request.
Result<std::chrono::milliseconds> parse_idle(const std::string& text);

/// Tells why a batch was not handed over; the exit status: that of the signal, if one was taken.
int tell_no_hand_over(const Error& error, const SignalStop& stop);

/// Of a batch that this process drives: records `decisions`, puts it into the queue of its cluster, records that it
/// leaves, and sees to it that a driver lives which has been told. `idle`: how long a driver that is started here stays
/// without a batch. A signal (`stop`) ends the waiting for the driver. Errors say whether the batch is in the
/// queue.
Result<void> hand_over(const BatchDirectory& batch, const DriverIdentity& driver, const std::vector<Record>& decisions,
                       std::chrono::milliseconds idle, SignalStop& stop);
/// What can be done with a batch that was handed over, for people.
std::string handed_over_text(const BatchDirectory& batch);

}  // namespace allot::cli
