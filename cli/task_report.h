// SPDX-License-Identifier: MIT
// A task as `allot status --tasks` shows it.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "ledger/fold.h"
#include "ledger/task_table.h"

namespace allot::cli {

/// The members that docs/json.md lists; what is not known is null.
nlohmann::ordered_json task_json(const TaskDetail& detail, const TaskSpec& spec);

/// Serialized on one line; bytes that are no UTF-8 become U+FFFD.
std::string one_line(const nlohmann::ordered_json& json);

/// Column heads, and a task, for a table.
std::string task_heading();
std::string task_line(const TaskDetail& detail, const TaskSpec& spec);

}  // namespace allot::cli
