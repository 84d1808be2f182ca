// SPDX-License-Identifier: MIT
// Where the tasks come from: FILE, --each, --array, or a command with lists of arguments.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/task_source.h"

namespace CLI {
class App;
}

namespace allot::cli {

struct TaskInput {
  std::optional<std::string> file, each;
  std::optional<std::int64_t> array;
  bool null = false, lines = false, jsonl = false;
  bool has_command = false;
  std::vector<std::string> words;  ///< behind "--"

  void describe(CLI::App& app);
  void take_command(std::vector<std::string>&& command) {
    words = std::move(command);
    has_command = true;
  }
  /// `verb`: for errors. Errors: fix_request; gave_up when interrupted.
  Result<std::unique_ptr<TaskSource>> open(const std::string& verb, int interrupt_descriptor) const;

 private:
  Result<std::unique_ptr<TaskSource>> open_template(int interrupt_descriptor) const;
};

}  // namespace allot::cli
