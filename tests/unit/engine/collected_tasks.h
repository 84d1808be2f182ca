// SPDX-License-Identifier: MIT
// What a task source delivers, collected through a real task table.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include "engine/task_source.h"
#include "tests/support/temp_directory.h"

namespace allot::test {

struct CollectedTasks {
  std::vector<TaskSpec> tasks;  ///< by step
  BatchPlan plan;
};

/// Checks and delivers; the first error of these, or everything.
inline Result<CollectedTasks> collect(TaskSource& source, const RequestedResources& defaults = {}) {
  if (auto checked = source.check(); !checked) return fail(checked.error());
  TempDirectory directory;
  auto table = TaskTableWriter::open(directory / "data", directory / "index");
  if (!table) return fail(table.error());
  TaskCollector collector(std::move(*table), defaults);
  if (auto delivered = source.deliver(collector); !delivered) return fail(delivered.error());
  auto plan = collector.finish(source.is_explicit_array() || collector.size() != 1);
  if (!plan) return fail(plan.error());
  CollectedTasks collected;
  collected.plan = std::move(*plan);
  auto reader = TaskTableReader::open(directory / "data", directory / "index");
  if (!reader) return fail(reader.error());
  for (std::uint64_t step = 0; step < reader->size().value(); ++step) {
    auto row = reader->row(step);
    if (!row) return fail(row.error());
    collected.tasks.push_back(**row);
  }
  return collected;
}

/// The argument vectors of tasks that have one.
inline std::vector<std::vector<std::string>> argvs_of(const CollectedTasks& collected) {
  std::vector<std::vector<std::string>> argvs;
  for (const auto& task : collected.tasks) argvs.push_back(task.argv);
  return argvs;
}

}  // namespace allot::test
