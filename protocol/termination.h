// SPDX-License-Identifier: MIT
// How a request to end a task was answered.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace allot {

/// How a termination of one id ended. There is no "probably".
enum class TerminationOutcome : std::uint8_t {
  gone,              ///< it ran and nothing of its tree is left
  removed,           ///< it had not started and never will
  already_finished,  ///< nothing to do
  unknown_id,        ///< this distributor never gave out that id, or has forgotten it
  unreachable,       ///< the node cannot be asked, or a process cannot be ended (the text says which)
};
std::string_view to_string(TerminationOutcome outcome);

struct Termination {
  TerminationOutcome outcome = TerminationOutcome::unreachable;
  std::string text;
};

}  // namespace allot
