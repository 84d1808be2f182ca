// SPDX-License-Identifier: MIT
#include "engine/json_source.h"

#include "tests/support/catch.h"
#include "tests/unit/engine/collected_tasks.h"
#include "tests/unit/engine/input_reader.h"

namespace allot::test {

namespace {

Result<CollectedTasks> collect_text(const std::string& text) {
  PipeInput input(text);
  return collect(*make_json_source(input.reader(), "/base"));
}

std::string fault_of(const std::string& text) {
  const auto collected = collect_text(text);
  REQUIRE_FALSE(collected);
  CHECK(collected.error().code == ErrorCode::fix_request);
  return collected.error().message;
}

}  // namespace

TEST_CASE("tasks wait for names and steps, before or behind them") {
  const auto collected = collect_text(
      "{\"command\": \"a\", \"after\": [\"last\", 1]}\n\n{\"command\": \"b\", \"name\": \"b\"}\n"
      "{\"command\": \"c\", \"name\": \"last\", \"after\": {\"task\": \"b\", \"when\": \"not_ok\"}}\n");
  REQUIRE(collected);
  REQUIRE(collected->tasks.size() == 3);
  CHECK(collected->tasks[0].after ==
        std::vector<Dependency>{{2, DependencyKind::after_ok}, {1, DependencyKind::after_ok}});
  CHECK(collected->tasks[1].after.empty());
  CHECK(collected->tasks[2].after == std::vector<Dependency>{{1, DependencyKind::after_not_ok}});
  CHECK(collected->tasks[1].source_line == 3);
  int edges = 0;
  collected->plan.graph.for_each_edge([&](const DependencyEdge&) { ++edges; });
  CHECK(edges == 3);
}

TEST_CASE("a file is read twice where it lies, from standard input by way of a copy") {
  TempDirectory directory;
  const std::string text = "{\"command\": \"a\", \"after\": \"b\"}\n{\"command\": \"b\", \"name\": \"b\"}\n";
  const auto from_file = collect(*make_json_source(file_reader(directory, text), "/base"));
  const auto from_pipe = collect_text(text);
  REQUIRE(from_file);
  REQUIRE(from_pipe);
  CHECK(from_file->tasks == from_pipe->tasks);
}

TEST_CASE("names that nothing or several tasks have") {
  CHECK(fault_of("{\"command\": \"a\", \"name\": \"first\"}\n{\"command\": \"b\", \"after\": \"frist\"}\n") ==
        "input:2: after: there is no task \"frist\"; did you mean \"first\"?");
  CHECK(fault_of("{\"command\": \"b\", \"after\": \"x\"}\n") ==
        "input:1: after: there is no task \"x\"; no task has a name");
  const std::string twice = "{\"command\": \"a\", \"name\": \"n\"}\n{\"command\": \"b\", \"name\": \"n\"}\n";
  CHECK(collect_text(twice));  // harmless as long as nobody waits for it
  CHECK(fault_of(twice + "{\"command\": \"c\", \"after\": \"n\"}\n")
            .find("input:3: after: \"n\" is the name of several tasks (lines 1 and 2)") == 0);
  CHECK(fault_of("{\"command\": \"a\", \"after\": 1}\n") == "input:1: after: there is no step 1; the steps are 0 to 0");
}

TEST_CASE("a cycle is shown as a path with lines") {
  const std::string fault = fault_of(
      "{\"command\": \"x\"}\n{\"command\": \"a\", \"name\": \"a\", \"after\": \"b\"}\n"
      "{\"command\": \"b\", \"name\": \"b\", \"after\": 3}\n{\"command\": \"c\", \"after\": [\"a\", 0]}\n");
  CHECK(fault ==
        "input:2: after: a cycle, so that none of them could start: \"a\" (line 2) waits for \"b\" (line 3) waits "
        "for step 3 (line 4) waits for \"a\" (line 2)");
  CHECK(fault_of("{\"command\": \"x\", \"after\": 0}\n") ==
        "input:1: after: a cycle, so that none of them could start: step 0 (line 1) waits for step 0 (line 1)");
}

TEST_CASE("faults of several lines are told together, and nothing is delivered") {
  const std::string fault =
      fault_of("{\"command\": \"a\"}\n{\"comand\": \"a\"}\n{\"command\": }\n{\"command\": \"ok\"}\n");
  CHECK(fault.find("input:2: comand: no such key") != std::string::npos);
  CHECK(fault.find("input:3:13: invalid JSON") != std::string::npos);
  CHECK(fault.find("input:1") == std::string::npos);
  CHECK(fault.find("input:4") == std::string::npos);
}

TEST_CASE("a hundred thousand tasks in a chain of forward references") {
  std::string text;
  constexpr int kCount = 100'000;
  for (int i = 0; i < kCount; ++i) {
    text += "{\"command\": \"true\", \"name\": \"t" + std::to_string(i) + "\"";
    if (i + 1 < kCount) text += ", \"after\": \"t" + std::to_string(i + 1) + "\"";
    text += "}\n";
  }
  const auto collected = collect_text(text);
  REQUIRE(collected);
  CHECK(collected->tasks.size() == kCount);
  CHECK(collected->tasks[17].after == std::vector<Dependency>{{18, DependencyKind::after_ok}});
}

}  // namespace allot::test
