// SPDX-License-Identifier: MIT
#include "engine/json_source.h"
#include "engine/task_source.h"

#include <fmt/format.h>

namespace allot {
namespace {

class ShellLineSource final : public TaskSource {
 public:
  explicit ShellLineSource(DelimitedReader reader) : reader_(std::move(reader)) {}

  Result<void> deliver(TaskCollector& to) override {
    for (;;) {
      auto item = reader_.next();
      if (!item) return fail(std::move(item.error()));
      if (!*item) return {};
      const std::string_view line = **item;
      const auto first = line.find_first_not_of(" \t\r");
      if (first == std::string_view::npos || line[first] == '#') {
        ++skipped_;
        continue;
      }
      if (const auto nul = line.find('\0'); nul != std::string_view::npos) {
        return fail(ErrorCode::fix_request, fmt::format("{}:{}:{}: a NUL byte, which no command can hold",
                                                        reader_.name(), reader_.number(), nul + 1));
      }
      if (line.back() == '\r' && carriage_returns_++ == 0) first_carriage_return_ = reader_.number();
      if (auto added = to.add_shell_line(line, reader_.number()); !added) {
        return fail(added.error().with_context(fmt::format("{}:{}", reader_.name(), reader_.number())));
      }
    }
  }

  const std::string& name() const override { return reader_.name(); }

  std::vector<std::string> notes() const override {
    std::vector<std::string> notes;
    if (skipped_ > 0) {
      notes.push_back(
          fmt::format("{}: {} blank or comment line{} skipped", name(), skipped_, skipped_ == 1 ? "" : "s"));
    }
    if (carriage_returns_ > 0) {
      notes.push_back(
          fmt::format("{}:{}: the line ends in a carriage return, which the shell takes as part of the "
                      "command ({} such line{}); dos2unix removes them",
                      name(), first_carriage_return_, carriage_returns_, carriage_returns_ == 1 ? "" : "s"));
    }
    return notes;
  }

 private:
  DelimitedReader reader_;
  std::uint64_t skipped_ = 0;
  std::uint64_t carriage_returns_ = 0;
  std::uint64_t first_carriage_return_ = 0;
};

}  // namespace

Result<std::unique_ptr<TaskSource>> make_line_source(DelimitedReader reader, LineFormat format,
                                                     std::string base_directory) {
  if (auto skipped = reader.skip_byte_order_mark(); !skipped) return fail(std::move(skipped.error()));
  if (format == LineFormat::detect) {
    auto first = reader.first_visible_byte();
    if (!first) return fail(std::move(first.error()));
    format = *first == '{' ? LineFormat::json : LineFormat::shell_lines;
  }
  if (format == LineFormat::json) return make_json_source(std::move(reader), std::move(base_directory));
  return std::unique_ptr<TaskSource>(std::make_unique<ShellLineSource>(std::move(reader)));
}

}  // namespace allot
