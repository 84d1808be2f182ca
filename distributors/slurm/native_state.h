// SPDX-License-Identifier: MIT
// Slurm's states and reasons, and what they mean here. The numbers are Slurm's own, the same from 22.05 on; names that
// a release adds are reported as unknown, never taken for an end.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "distributors/slurm/slurm_types.h"
#include "protocol/exit_info.h"

namespace allot::slurm {

enum class NativePhase : std::uint8_t {
  pending,
  running,     ///< or suspended, configuring, being stopped
  completing,  ///< has ended, and its processes are being cleared away: neither running nor done
  ended,
  unknown,  ///< a state that this version does not know
};

struct NativeState {
  NativePhase phase = NativePhase::unknown;
  std::string name;  ///< as Slurm's tools write it, with the number where it is unknown
  /// How a run that left no record has ended, if the state says so by itself; with phase ended.
  ExitClass exit_class = ExitClass::lost;
};
NativeState native_state(std::uint32_t state);
/// Why a job's processes are being ended that is in this state; nothing: it does not say so, as one that runs.
std::optional<ExitClass> reason_of_end(std::uint32_t state);

struct PendingReason {
  std::string name;       ///< as squeue shows it
  std::string advice;     ///< a sentence for people: what it waits for, or what is to be changed
  bool is_final = false;  ///< it can never start as requested
  bool is_hold = false;
};
/// `description`: Slurm's own text beside it, which may be empty.
PendingReason pending_reason(std::uint32_t reason, const std::string& description);

/// ESLURM_ACCOUNTING_POLICY: more than a limit of the account or QOS lets into the queue. There is room again when
/// others have ended.
inline constexpr int kPolicyLimit = 2050;
/// Does an error of a submission mean that the request has to be changed (and not just repeated later)?
bool is_request_fault(int number);
/// May the controller have taken it all the same?
bool is_ambiguous(int number);

}  // namespace allot::slurm
