// SPDX-License-Identifier: MIT
// Any line as a JSON task: it becomes a task with a command, or there is a fault to tell.
#include "engine/json_task.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  allot::InputFaults faults;
  const auto task = allot::read_json_task(allot::fuzz::as_text(data, size), "fuzz", 1, "/", 0, faults);
  allot::fuzz::require(task.has_value() == faults.empty(), "no task without a fault, and no fault with one");
  if (task) {
    allot::fuzz::require(task->spec.argv.empty() != task->spec.shell_line.empty(), "a command is a line or a vector");
  }
  return 0;
}
