// SPDX-License-Identifier: MIT
#include "protocol/submission.h"

namespace allot {

std::string_view to_string(TaskPhase phase) {
  switch (phase) {
    case TaskPhase::held:
      return "held";
    case TaskPhase::queued:
      return "queued";
    case TaskPhase::running:
      return "running";
    case TaskPhase::finished:
      return "finished";
  }
  return "unknown_phase";
}

}  // namespace allot
