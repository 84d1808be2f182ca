// SPDX-License-Identifier: MIT
#include <algorithm>

#include "engine/batch_parts.h"

namespace allot {

bool NodeRecord::note(const std::string& node, ExitClass exit_class, std::uint32_t exclude_after) {
  if (node.empty() || std::find(excluded_.begin(), excluded_.end(), node) != excluded_.end()) return false;
  const bool is_failure =
      exit_class == ExitClass::node_failed || exit_class == ExitClass::lost || exit_class == ExitClass::launch_failed;
  std::uint32_t& failures = failures_in_a_row_[node];
  failures = is_failure ? failures + 1 : 0;
  if (exclude_after == 0 || failures < exclude_after || failures_in_a_row_.size() < 2) return false;
  failures_in_a_row_.erase(node);
  excluded_.push_back(node);
  return true;
}

}  // namespace allot
