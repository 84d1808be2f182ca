// SPDX-License-Identifier: MIT
// The task table read from any two files. The input's first two bytes say how long the index is; the rest is the data.
#include "ledger/task_table.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::string_view rest = allot::fuzz::as_text(data + 2, size - 2);
  const std::size_t index_bytes = (static_cast<std::size_t>(data[0]) << 8 | data[1]) % (rest.size() + 1);
  const allot::fuzz::MemoryFile index(rest.substr(0, index_bytes));
  const allot::fuzz::MemoryFile table(rest.substr(index_bytes));
  auto reader = allot::TaskTableReader::open(table.path(), index.path());
  if (!reader) return 0;
  auto steps = reader->size();
  if (!steps) return 0;
  allot::fuzz::require(*steps <= index_bytes / 8, "a step has eight bytes in the index");
  allot::TaskSpec task;
  for (std::uint64_t step = 0; step <= *steps; ++step) {
    const bool read = reader->read(step, task).has_value();
    allot::fuzz::require(!read || step < *steps, "there is no row behind the last one");
  }
  return 0;
}
