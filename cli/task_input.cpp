// SPDX-License-Identifier: MIT
#include "cli/task_input.h"

#include <boost/filesystem.hpp>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "protocol/distributor_id.h"

namespace allot::cli {

void TaskInput::describe(CLI::App& app) {
  app.add_option("FILE", file,
                 "Tasks: a shell line per line, or JSON lines if the first visible character is {; - is standard input")
      ->type_name("FILE");
  app.add_option("--each", each, "Run COMMAND once for each line of this file (-: standard input)")->type_name("FILE");
  app.add_flag("-0,--null", null, "The items of --each, or the lines of FILE, end with NUL instead of newline");
  app.add_option("--array", array, "Run COMMAND N times; ALLOT_ARRAY_STEP_ID tells each its step, 0 to N-1")
      ->type_name("N");
  app.add_flag("--lines", lines, "FILE has shell lines, whatever it looks like")
      ->excludes(app.add_flag("--jsonl", jsonl, "FILE has JSON lines, whatever it looks like"));
}

Result<std::unique_ptr<TaskSource>> TaskInput::open(const std::string& verb, int interrupt_descriptor) const {
  const auto misuse = [](const std::string& text) { return fail(ErrorCode::fix_request, text); };
  if (!has_command) {
    if (each || array) {
      return misuse(
          fmt::format("{0} needs a command: allot {1} {0} ... -- COMMAND", each ? "--each" : "--array", verb));
    }
    if (!file) return misuse("nothing to run: name a FILE of tasks (- for standard input) or a command behind --");
    auto reader = DelimitedReader::open(*file, null ? '\0' : '\n', interrupt_descriptor);
    if (!reader) return fail(std::move(reader.error()));
    const auto format = lines ? LineFormat::shell_lines : jsonl ? LineFormat::json : LineFormat::detect;
    return make_line_source(std::move(*reader), format, boost::filesystem::current_path().string());
  }
  if (file) {
    return misuse(
        fmt::format("both a FILE ({}) and a command behind -- were given; for a command per line of the file: "
                    "allot {} --each {} -- COMMAND",
                    *file, verb, *file));
  }
  if (lines || jsonl) return misuse("--lines and --jsonl are about a FILE of tasks; with a command there is none");
  return open_template(interrupt_descriptor);
}

Result<std::unique_ptr<TaskSource>> TaskInput::open_template(int interrupt_descriptor) const {
  const auto misuse = [](const std::string& text) { return fail(ErrorCode::fix_request, text); };
  std::vector<std::string> command;
  std::vector<std::vector<std::string>> lists;
  for (const auto& word : words) {
    if (word == ":::") {
      lists.emplace_back();
    } else if (word == "::::") {
      return misuse("\":::: FILE\" is not known here: use --each FILE");
    } else {
      (lists.empty() ? command : lists.back()).push_back(word);
    }
  }
  if (command.empty()) return misuse("the command behind -- is missing");
  if (command[0].empty()) return misuse("the program's name behind -- is empty");
  if (int{!lists.empty()} + int{each.has_value()} + int{array.has_value()} > 1) {
    return misuse(":::, --each and --array exclude each other");
  }
  if (null && !each) return misuse("-0 is about the items of --each or the lines of FILE; neither was given");
  if (!lists.empty()) return make_product_source(command, std::move(lists));
  if (each) {
    auto reader = DelimitedReader::open(*each, null ? '\0' : '\n', interrupt_descriptor);
    if (!reader) return fail(std::move(reader.error()));
    return make_each_source(command, std::move(*reader));
  }
  if (!array) return make_command_source(std::move(command), 1, false);
  if (*array < 1 || *array > static_cast<std::int64_t>(kMaxArrayStep) + 1) {
    return misuse(fmt::format("--array {}: must be 1 to {}", *array, kMaxArrayStep + 1));
  }
  return make_command_source(std::move(command), static_cast<std::uint64_t>(*array), true);
}

}  // namespace allot::cli
