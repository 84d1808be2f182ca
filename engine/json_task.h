// SPDX-License-Identifier: MIT
// One line of JSON as a task. docs/cli.md lists the keys for users.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/input_faults.h"
#include "ledger/task_table.h"

namespace allot {

/// What a task waits for, as it was written: a name, or a step.
struct AfterReference {
  std::string name;  ///< empty: `step` is given
  std::optional<std::uint64_t> step;
  DependencyKind kind = DependencyKind::after_ok;
};

struct JsonTask {
  TaskSpec spec;  ///< without `after`
  std::vector<AfterReference> after;
};

/// Reads one line, an object. `base_directory` is what relative paths start from: `cwd` from it, the other paths from
/// the task's own cwd. Every fault is added to `faults` as "NAME:LINE: KEY: …" (":COLUMN" for invalid JSON); nothing is
/// returned then. `now_ns`: Unix time that a `begin` such as "10m" counts from.
std::optional<JsonTask> read_json_task(std::string_view line, const std::string& source_name, std::uint64_t line_number,
                                       const std::string& base_directory, std::int64_t now_ns, InputFaults& faults);

}  // namespace allot
