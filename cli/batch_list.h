// SPDX-License-Identifier: MIT
// The batches of the batch home, each looked at as little as a listing needs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/take_over.h"
#include "ledger/batch_directory.h"

namespace allot::cli {

struct TaskCounts {
  std::uint64_t done = 0, failed = 0, abandoned = 0;
  std::uint64_t unfinished = 0;
};

struct ListedBatch {
  std::string path;
  std::string name;  ///< of the directory
  std::optional<BatchDirectory> batch;
  Holder holder;
  std::uint64_t tasks = 0;
  std::optional<TaskCounts> counts;  ///< nothing: not counted, or (with `trouble`) not to be counted
  std::string trouble;               ///< why it cannot be read; empty: it can
};

/// Every directory of the home that is a batch, or was one, by its path; newest first. Those with an id for a name are
/// not opened for it. Errors: gave_up (the home cannot be listed); a home that does not exist is empty.
Result<std::vector<std::string>> batches_in(const std::string& home);

/// Who drives it and how many tasks it has; not what became of them.
ListedBatch look_at(const std::string& path);

/// Bytes of the record files, which is what count_tasks() reads.
std::uint64_t record_bytes(const ListedBatch& listed);
/// Fills in `counts`, or `trouble`.
void count_tasks(ListedBatch& listed);

}  // namespace allot::cli
