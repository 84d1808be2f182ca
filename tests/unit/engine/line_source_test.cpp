// SPDX-License-Identifier: MIT
#include "engine/task_source.h"

#include <random>

#include "tests/support/catch.h"
#include "tests/unit/engine/collected_tasks.h"
#include "tests/unit/engine/input_reader.h"

namespace allot::test {

namespace {

std::unique_ptr<TaskSource> source_of(PipeInput& input, LineFormat format = LineFormat::detect) {
  auto source = make_line_source(input.reader(), format, "/base");
  REQUIRE(source);
  return std::move(*source);
}

Result<CollectedTasks> collect_text(const std::string& text, LineFormat format = LineFormat::detect) {
  PipeInput input(text);
  return collect(*source_of(input, format));
}

}  // namespace

TEST_CASE("a task per line, with the line it came from, and blank and comment lines are skipped and counted") {
  PipeInput input("echo a\n\n  \t\n# a comment\n  # another\necho '#b'\n\techo c  \nlast");
  const auto source = source_of(input);
  const auto collected = collect(*source);
  REQUIRE(collected);
  REQUIRE(collected->tasks.size() == 4);
  CHECK(collected->tasks[0].shell_line == "echo a");
  CHECK(collected->tasks[0].source_line == 1);
  CHECK(collected->tasks[1].shell_line == "echo '#b'");
  CHECK(collected->tasks[1].source_line == 6);
  CHECK(collected->tasks[2].shell_line == "\techo c  ");
  CHECK(collected->tasks[3].shell_line == "last");
  REQUIRE(source->notes().size() == 1);
  CHECK(source->notes()[0] == "input: 4 blank or comment lines skipped");
}

TEST_CASE("any bytes but NUL and newline are a command's") {
  std::mt19937 random(3);
  std::vector<std::string> lines;
  std::string text;
  for (int i = 0; i < 500; ++i) {
    std::string line = "x";
    for (std::size_t size = random() % 200; size > 0; --size) {
      const char c = static_cast<char>(random() % 255 + 1);
      line += c == '\n' ? '.' : c;
    }
    text += line + "\n";
    lines.push_back(line);
  }
  lines.push_back("x" + std::string(10'000'000, 'y'));  // a line of 10 MB
  text += lines.back();
  const auto collected = collect_text(text);
  REQUIRE(collected);
  REQUIRE(collected->tasks.size() == lines.size());
  for (std::size_t i = 0; i < lines.size(); ++i) REQUIRE(collected->tasks[i].shell_line == lines[i]);
}

TEST_CASE("a NUL byte is refused with line and column") {
  const auto collected = collect_text(std::string("true\nab\0c\n", 10));
  REQUIRE_FALSE(collected);
  CHECK(collected.error().code == ErrorCode::fix_request);
  CHECK(collected.error().message.find("input:2:3: a NUL byte") != std::string::npos);
}

TEST_CASE("lines that end in a carriage return are kept as they are, and told of once") {
  PipeInput input("a\nb\r\nc\r\n");
  const auto source = source_of(input);
  const auto collected = collect(*source);
  REQUIRE(collected);
  CHECK(collected->tasks[1].shell_line == "b\r");
  REQUIRE(source->notes().size() == 1);
  CHECK(source->notes()[0].find("input:2: the line ends in a carriage return") == 0);
  CHECK(source->notes()[0].find("2 such lines") != std::string::npos);
}

TEST_CASE("JSON lines are recognised by the first visible byte, unless it is said what they are") {
  const auto detected = collect_text("\n  {\"command\": [\"a\"]}\n");
  REQUIRE(detected);
  CHECK(detected->tasks.at(0).argv == std::vector<std::string>{"a"});
  CHECK(detected->tasks.at(0).source_line == 2);
  const auto lines = collect_text("{ echo a; }\n", LineFormat::shell_lines);
  REQUIRE(lines);
  CHECK(lines->tasks.at(0).shell_line == "{ echo a; }");
  CHECK_FALSE(collect_text("{ echo a; }\n"));
  CHECK_FALSE(collect_text("echo a\n", LineFormat::json));
}

TEST_CASE("an input without tasks delivers none") {
  for (const char* text : {"", "\n", "# nothing\n\n", "   "}) {
    const auto collected = collect_text(text);
    REQUIRE(collected);
    CHECK(collected->tasks.empty());
  }
}

TEST_CASE("a byte order mark at the beginning of a file is no part of its first task") {
  TempDirectory directory;
  const std::string mark = "\xEF\xBB\xBF";
  const auto commands = [](Result<std::unique_ptr<TaskSource>> source) {
    REQUIRE(source);
    const auto collected = collect(**source);
    REQUIRE(collected);
    std::string text;
    for (const auto& task : collected->tasks) text += "[" + task.command_text() + "]";
    return text;
  };
  const std::string lines = mark + "echo a\n" + mark + "b\n";
  CHECK(commands(make_line_source(file_reader(directory, lines), LineFormat::detect, "/")) ==
        "[echo a][" + mark + "b]");
  const std::string json = mark + "{\"command\": \"echo a\"}\n";
  CHECK(commands(make_line_source(file_reader(directory, json), LineFormat::detect, "/")) == "[echo a]");
  PipeInput pipe(json, 1);
  CHECK(commands(make_line_source(pipe.reader(), LineFormat::detect, "/")) == "[echo a]");
}

}  // namespace allot::test
