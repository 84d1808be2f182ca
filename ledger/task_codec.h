// SPDX-License-Identifier: MIT
// Rows of the task table as bytes. Internal to the ledger.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "ledger/task_table.h"

namespace allot::ledger {

inline constexpr std::string_view kTaskDataHeader = "ALLOTTT1";
inline constexpr std::size_t kRowHeaderBytes = 8;   // u32 length, u32 checksum of the payload
inline constexpr std::size_t kIndexEntryBytes = 8;  // u64 offset of a row
/// Steps are 32 bits in a run's key.
inline constexpr std::uint64_t kMaxSteps = std::uint64_t{1} << 32;

/// The steps that a row is for: the row says so itself, so that a damaged index cannot make a step run another's
/// command.
struct RowSteps {
  std::uint64_t first = 0;
  std::uint64_t count = 0;
  bool contains(std::uint64_t step) const { return step >= first && step - first < count; }
};

/// Appends a row. Errors: fix_request as TaskTableWriter::append says; `bytes` is unchanged then.
Result<void> append_row(std::string& bytes, const TaskSpec& task, RowSteps steps);
Result<void> append_shell_row(std::string& bytes, std::string_view line, std::uint64_t source_line, RowSteps steps);

/// Decodes the payload of a row into `task`, reusing its memory. False if the fields do not add up.
bool decode_row(std::string_view payload, TaskSpec& task, RowSteps& steps);

}  // namespace allot::ledger
