// SPDX-License-Identifier: MIT
// The end of a run, for a person and for a program.
#pragma once

#include <functional>
#include <string>

#include "engine/driver_context.h"

namespace allot::cli {

/// The command of a step, for a person (any bytes).
using CommandLookup = std::function<std::string(std::uint64_t)>;

/// Counts by class, the slowest and the biggest, the first failures with the last lines of their stderr, where the
/// batch lies and what to type next.
std::string summary_text(const BatchResult& result, const std::string& batch_path, const CommandLookup& command);

/// A line about outputs that were not kept whole; "" if there are none.
std::string incomplete_outputs_text(std::uint64_t count);

/// One JSON object; docs/json.md lists its members.
/// The same of no tasks, for which no batch is made: `batch` is null.
std::string empty_summary_json();
std::string summary_json(const BatchResult& result, const std::string& batch_path);

/// The last lines of an error text, made safe for a terminal and bounded, each with `margin` in front; "" for "".
std::string tail_lines(const std::string& text, const std::string& margin);

/// As short as it may be typed: the id of a batch in the home, else its path, quoted for sh.
std::string shown_name(const std::string& batch_path);

}  // namespace allot::cli
