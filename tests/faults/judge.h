// SPDX-License-Identifier: MIT
// The rules that no crash may break. docs/faults.md states them for people, by the same names.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ledger/fold.h"
#include "protocol/result.h"
#include "tests/faults/evidence.h"

namespace allot::faults {

struct Demands {
  bool all_ended = true;      ///< every step has an end: the batch was driven to it
  bool strict = false;        ///< every task ended as it said itself: nothing was given up as lost
  bool tasks_killed = false;  ///< somebody killed tasks: with `strict` they may have ended by a signal
  bool effects = true;        ///< tasks were to leave side effects
  std::uint64_t tasks = 0;    ///< that the batch was made with: as many it must know at least
};

/// One line per violation, "RULE: step N: …"; empty: all rules hold. Knows nothing of states that the library derives.
std::vector<std::string> judge(const Evidence& evidence, const Demands& demands);

/// Compares what the library makes of the records (`fold`, loaded before the evidence was gathered: of a batch that
/// goes on the evidence may know more) with what the evidence says. Lines as above, rule "fold".
std::vector<std::string> judge_fold(const Result<Fold>& fold, const Evidence& evidence);

/// Processes that the batch has left: tasks by the directory in their environment, allot's own programs by their
/// arguments. One line each, rule "left_behind".
std::vector<std::string> processes_of(const BatchDirectory& batch);

}  // namespace allot::faults
