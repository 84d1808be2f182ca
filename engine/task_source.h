// SPDX-License-Identifier: MIT
// Where the tasks of a batch come from: lines, JSON lines, a template with arguments, an array.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/batch_plan.h"
#include "engine/delimited_reader.h"
#include "protocol/result.h"

namespace allot {

/// Call order: check once, then deliver once. Not thread-safe.
class TaskSource {
 public:
  virtual ~TaskSource() = default;

  /// Finds what is wrong as far as that is possible before anything is made. Errors: fix_request, one line per fault
  /// ("FILE:LINE: KEY: …"), gave_up when interrupted.
  virtual Result<void> check() { return {}; }

  /// Adds every task. Errors: as check, and those of TaskCollector::add.
  virtual Result<void> deliver(TaskCollector& to) = 0;

  /// True if even a single task is an array element.
  virtual bool is_explicit_array() const { return false; }

  /// Where the tasks come from, for "no tasks in …".
  virtual const std::string& name() const = 0;

  /// After deliver: what a person should be told though it is no fault, one sentence each.
  virtual std::vector<std::string> notes() const { return {}; }
};

enum class LineFormat { detect, shell_lines, json };

/// A shell line per task, or a JSON object per line. `detect`: JSON if the first visible byte is '{'. Blank lines are
/// skipped, and of shell lines also those whose first visible byte is '#'. `base_directory`: for relative paths in
/// JSON.
Result<std::unique_ptr<TaskSource>> make_line_source(DelimitedReader reader, LineFormat format,
                                                     std::string base_directory);

/// The words of a command in which {} stands for the argument and {#} for the step; each word stays one argument.
/// With several arguments per task, {1}, {2}, … stand for one of them and {} for all, a space between; with one, {1}
/// does as a word of its own. A template without any of these gets the arguments as further words at its end.
class CommandTemplate {
 public:
  /// `arguments_per_task` 0: nothing but {#} is replaced. Words must not be empty as a list.
  CommandTemplate(const std::vector<std::string>& words, std::size_t arguments_per_task);

  /// Fills `argv`, reusing its memory.
  void fill(const std::vector<std::string_view>& arguments, std::uint64_t step, std::vector<std::string>& argv) const;

  bool uses_step() const { return uses_step_; }
  /// What names an argument that there is not, as it stands in a word; "": nothing. Then nothing may be filled.
  const std::string& fault() const { return fault_; }

 private:
  // A word is a row of pieces: text, then what is put behind it.
  struct Piece {
    std::string text;
    enum class Then : std::uint8_t { nothing, step, all_arguments, one_argument } then = Then::nothing;
    std::size_t argument = 0;
  };
  std::vector<Piece> split(const std::string& word, std::size_t arguments_per_task);

  std::vector<std::vector<Piece>> words_;
  bool uses_step_ = false;
  std::string fault_;
};

/// One task per combination of one element of each list, the last list varying fastest.
std::unique_ptr<TaskSource> make_product_source(const std::vector<std::string>& words,
                                                std::vector<std::vector<std::string>> lists);

/// One task per item of the reader.
std::unique_ptr<TaskSource> make_each_source(const std::vector<std::string>& words, DelimitedReader reader);

/// `count` steps of one command. Without `is_array` it is a plain task (count 1) and nothing in it is replaced.
std::unique_ptr<TaskSource> make_command_source(std::vector<std::string> words, std::uint64_t count, bool is_array);

}  // namespace allot
