// SPDX-License-Identifier: MIT
#include "protocol/cluster_distributor.h"

namespace allot {

std::string_view to_string(TerminationOutcome outcome) {
  switch (outcome) {
    case TerminationOutcome::gone:
      return "gone";
    case TerminationOutcome::removed:
      return "removed";
    case TerminationOutcome::already_finished:
      return "already_finished";
    case TerminationOutcome::unknown_id:
      return "unknown_id";
    case TerminationOutcome::unreachable:
      return "unreachable";
  }
  return "unknown_outcome";
}

}  // namespace allot
