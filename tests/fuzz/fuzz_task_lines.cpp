// SPDX-License-Identifier: MIT
// Any file as the input of allot run: every task of it is in the table, or there is an error that names the file. The
// first byte says what the file is taken for.
#include "engine/task_source.h"
#include "tests/fuzz/fuzz.h"

namespace {

using allot::fuzz::require;

allot::Result<std::unique_ptr<allot::TaskSource>> source_of(int kind, const std::string& path) {
  const bool ends_with_nul = kind >= 4;
  auto reader = allot::DelimitedReader::open(path, ends_with_nul ? '\0' : '\n', -1);
  require(reader.has_value(), "a file in memory can be opened");
  if (kind % 4 == 3) return allot::make_each_source({"echo", "{}", "{#}"}, std::move(*reader));
  const auto format = kind % 4 == 0   ? allot::LineFormat::detect
                      : kind % 4 == 1 ? allot::LineFormat::shell_lines
                                      : allot::LineFormat::json;
  return allot::make_line_source(std::move(*reader), format, "/");
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const allot::fuzz::MemoryFile input(allot::fuzz::as_text(data + 1, size - 1));
  const allot::fuzz::MemoryFile rows(""), index("");
  auto table = allot::TaskTableWriter::open(rows.path(), index.path());
  require(table.has_value(), "a table in memory can be made");
  allot::TaskCollector collector(std::move(*table), {});
  auto source = source_of(data[0] % 8, input.path());
  require(source.has_value(), "reading what is in memory does not fail");
  auto read = (*source)->check();
  if (read) read = (*source)->deliver(collector);
  if (!read) {
    require(read.error().code == allot::ErrorCode::fix_request, "bad input is the user's to mend");
    require(read.error().message.find(input.path()) != std::string::npos, "an error names the file");
    return 0;
  }
  const std::uint64_t count = collector.size();
  const auto plan = collector.finish(true);
  require(plan.has_value(), "a table in memory can be written");
  require(count == 0 || plan->task_count == count, "every task is planned");
  require(!plan->graph.find_cycle(), "no task waits for itself");
  auto reader = allot::TaskTableReader::open(rows.path(), index.path());
  require(reader.has_value(), "what was written can be opened");
  allot::TaskSpec task;
  for (std::uint64_t step = 0; step < count; ++step) {
    require(reader->read(step, task).has_value(), "what was written can be read");
    require(task.argv.empty() != task.shell_line.empty(), "a command is a line or a vector");
    for (const auto& dependency : task.after) require(dependency.step < count, "a task waits for one that there is");
  }
  return 0;
}
