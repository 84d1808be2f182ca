// SPDX-License-Identifier: MIT
#include "engine/json_task.h"

#include "engine/retry_policy.h"

#include "tests/support/catch.h"

namespace allot {

namespace {

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kNow = 1000 * kSecond;

JsonTask must_read(const std::string& line) {
  InputFaults faults;
  auto task = read_json_task(line, "tasks.jsonl", 7, "/base", kNow, faults);
  INFO(line);
  if (!task) FAIL(faults.error().message);
  CHECK(faults.empty());
  return std::move(*task);
}

std::string fault_of(const std::string& line) {
  InputFaults faults;
  const auto task = read_json_task(line, "tasks.jsonl", 7, "/base", kNow, faults);
  INFO(line);
  REQUIRE_FALSE(task);
  REQUIRE_FALSE(faults.empty());
  return faults.error().message;
}

}  // namespace

TEST_CASE("every key of a task is read") {
  const JsonTask task = must_read(R"({"command": ["a", "", "b c\n"], "name": "n", "env": {"A": "1", "B": ""},
    "cwd": "sub", "stdin": "in", "stdout": "/abs/out", "stderr": "err",
    "resources": {"cores": 2, "memory": "1.5G", "runtime": "1h30m", "gpus": 0, "ranks": 3, "nodes": 4, "queue": "q",
                  "account": "acc", "constraint": "c", "options": {"--x": "y"}},
    "after": ["first", 3, {"task": "x", "when": "any"}, {"task": 5, "when": "not_ok"}]})");
  CHECK(task.spec.argv == std::vector<std::string>{"a", "", "b c\n"});
  CHECK(task.spec.shell_line.empty());
  CHECK(task.spec.name == "n");
  CHECK(task.spec.env == std::vector<std::pair<std::string, std::string>>{{"A", "1"}, {"B", ""}});
  CHECK(task.spec.cwd == "/base/sub");
  CHECK(task.spec.stdin_path == "/base/sub/in");
  CHECK(task.spec.stdout_path == "/abs/out");
  CHECK(task.spec.stderr_path == "/base/sub/err");
  CHECK(task.spec.source_line == 7);
  const auto& resources = task.spec.resources;
  CHECK(resources.cores == 2);
  CHECK(resources.memory_bytes == 1536u << 20);
  CHECK(resources.runtime_milliseconds == 5'400'000);
  CHECK(resources.gpus == 0);
  CHECK(resources.ranks == 3);
  CHECK(resources.nodes == 4);
  CHECK(resources.queue == "q");
  CHECK(resources.account == "acc");
  CHECK(resources.constraint == "c");
  CHECK(resources.pass_through == std::map<std::string, std::string>{{"--x", "y"}});
  REQUIRE(task.after.size() == 4);
  CHECK(task.after[0].name == "first");
  CHECK(task.after[0].kind == DependencyKind::after_ok);
  CHECK(task.after[1].step == 3);
  CHECK(task.after[2].kind == DependencyKind::after_any);
  CHECK(task.after[3].step == 5);
  CHECK(task.after[3].kind == DependencyKind::after_not_ok);
}

TEST_CASE("retry rules of a task") {
  const auto spec = must_read(R"({"command": "x", "retry": {"error": 2, "timed_out": "3:10s"},
                                  "exit_codes": {"75": "retry", "3": "success"}})")
                        .spec;
  CHECK(parse_retry_rules(spec.retry).value() ==
        parse_retry_rules("error=2,timed_out=3:10s,75=retry,3=success").value());
}

TEST_CASE("when a task is to begin") {
  CHECK(must_read(R"({"command": "x"})").spec.begin_ns == 0);
  CHECK(must_read(R"({"command": "x", "begin": "10m"})").spec.begin_ns == kNow + 600 * kSecond);
  CHECK(must_read(R"({"command": "x", "begin": 1.5})").spec.begin_ns == kNow + 3 * kSecond / 2);
  CHECK(must_read(R"({"command": "x", "begin": 0})").spec.begin_ns == kNow);
  CHECK(must_read(R"({"command": "x", "begin": "2001-09-09T01:46:40Z"})").spec.begin_ns == 1'000'000'000 * kSecond);
}

TEST_CASE("short forms") {
  CHECK(must_read(R"({"command": "echo hi"})").spec.shell_line == "echo hi");
  CHECK(must_read(R"({"command": "x", "timeout": 90})").spec.resources.runtime_milliseconds == 90'000);
  CHECK(must_read(R"({"command": "x", "timeout": 1.5})").spec.resources.runtime_milliseconds == 1500);
  CHECK(must_read(R"({"command": "x", "resources": {"memory": 4096}})").spec.resources.memory_bytes == 4096);
  CHECK(must_read(R"({"command": "x", "resources": {"memory": 1.5e9}})").spec.resources.memory_bytes == 1'500'000'000);
  CHECK(must_read(R"({"command": "x", "resources": {"memory": 9007199254740993.0}})").spec.resources.memory_bytes ==
        9'007'199'254'740'993);
  CHECK(must_read(R"({"command": "x", "after": "a"})").after.size() == 1);
  CHECK(must_read(R"({"command": "x", "after": 0})").after.at(0).step == 0);
  CHECK(must_read(R"({"command": "x", "after": []})").after.empty());
  CHECK(must_read(R"({"command": "x", "stdin": "in"})").spec.stdin_path == "/base/in");
  CHECK(must_read("{\"command\": \"\\u00e4 \xc3\xa4\"}").spec.shell_line == "\xc3\xa4 \xc3\xa4");
}

TEST_CASE("every fault names file, line and key, and says what to write") {
  struct Case {
    const char* line;
    const char* message;
  };
  const Case cases[] = {
      {R"({"command": "x", "nmae": "y"})", "tasks.jsonl:7: nmae: no such key; did you mean \"name\"?"},
      {R"({"command": "x", "zzz": 1})", "tasks.jsonl:7: zzz: no such key; known: command, name"},
      {R"({"name": "y"})", "tasks.jsonl:7: command: is missing"},
      {R"({"command": 5})",
       "command: must be a string (a line for sh) or an array of strings (the arguments), not a number"},
      {R"({"command": []})", "not an empty array"},
      {R"({"command": "x", "resources": {"cores": 1e400}})",
       "tasks.jsonl:7:41: the number 1e400 is larger than any that can be meant"},
      {R"({"command": ["a", 1]})", "command[1]: must be a string, not a number"},
      {R"({"command": [""]})", "command[0]: the program's name is empty"},
      {R"({"command": ""})", "command: must not be empty"},
      {R"({"command": "  "})", "command: is blank"},
      {R"({"command": "a\u0000b"})", "command: holds a NUL"},
      {R"({"command": ["a\u0000b"]})", "command[0]: holds a NUL"},
      {R"({"command": "x", "name": null})", "name: must be a string, not null"},
      {R"({"command": "x", "env": []})", "env: must be an object of strings, not an array"},
      {R"({"command": "x", "env": {"A": 1}})", "env.A: must be a string, not a number; put it in quotes"},
      {R"({"command": "x", "env": {"A=B": "1"}})", "env: \"A=B\" cannot be the name of a variable"},
      {R"({"command": "x", "env": {"": "1"}})", "env: \"\" cannot be the name of a variable"},
      {R"({"command": "x", "env": {"A": "\u0000"}})", "env.A: holds a NUL"},
      {R"({"command": "x", "resources": {"cores": 0}})",
       "resources.cores: must be a whole number from 1 to 1000000, not 0"},
      {R"({"command": "x", "resources": {"cores": -1}})", "resources.cores: must be a whole number"},
      {R"({"command": "x", "resources": {"cores": 1.5}})", "not 1.5"},
      {R"({"command": "x", "resources": {"cores": "2"}})", "resources.cores: must be a whole number"},
      {R"({"command": "x", "resources": {"cpus": 2}})", "resources.cpus: no such key"},
      {R"({"command": "x", "resources": {"memory": "10 potatoes"}})", "resources.memory: "},
      {R"({"command": "x", "resources": {"memory": -1}})", "resources.memory: "},
      {R"({"command": "x", "resources": {"memory": "1e999G"}})", "resources.memory: "},
      {R"({"command": "x", "resources": {"memory": 99999999999999999999999}})",
       "resources.memory: \"99999999999999999999999\" is not a size: it is too large"},
      {R"({"command": "x", "resources": {"memory": 4096.0000000000000000001}})",
       "\"4096.0000000000000000001\" is not a size: it is not a whole number of bytes"},
      {R"({"command": "x", "resources": {"memory": 1e30}})", "\"1e30\" is not a size: exponents are not understood"},
      {R"({"command": "x", "resources": {"cores": 2.50}})", "not 2.50"},
      {R"({"command": "x", "name": 1.5})", "name: must be a string, not a number"},
      {R"({"command": "x", "resources": {"memory": 0}})", "resources.memory: must be more than 0"},
      {R"({"command": "x", "resources": {"memory": true}})", "resources.memory: must be a size"},
      {R"({"command": "x", "resources": {"runtime": "soon"}})", "resources.runtime: "},
      {R"({"command": "x", "resources": {"options": {"a": 1}}})", "resources.options.a: must be a string"},
      {R"({"command": "x", "resources": 1})", "resources: must be an object, not a number"},
      {R"({"command": "x", "timeout": "1s", "resources": {"runtime": "1s"}})",
       "timeout: says the same as resources.runtime"},
      {R"({"command": "x", "timeout": 0})", "timeout: must be more than 0"},
      {R"({"command": "x", "begin": "tomorrow"})", "tasks.jsonl:7: begin: neither a time such as 2027-01-31T20:00 nor"},
      {R"({"command": "x", "begin": "2027-02-30T10:00"})", "begin: \"2027-02-30T10:00\" is no time: write it like"},
      {R"({"command": "x", "begin": -1})", "begin: neither a time"},
      {R"({"command": "x", "begin": ["10m"]})", "begin: must be a time such as \"2027-01-31T20:00\", or how long"},
      {R"({"command": "x", "begin": "9999-01-01T00:00Z"})", "begin: \"9999-01-01T00:00Z\" is not before the year 2200"},
      {R"({"command": "x", "retry": 3})", "retry: must be an object such as"},
      {R"({"command": "x", "retry": {"eror": 3}})",
       "retry.eror: \"eror=3\" is no retry rule: there is no such exit class"},
      {R"({"command": "x", "retry": {"error": 1.5}})", "retry.error: must be a number or a text"},
      {R"({"command": "x", "retry": {"error": "1,lost=2"}})", "retry.error: one rule is expected here"},
      {R"({"command": "x", "retry": {"75": "retry"}})", "retry.75: is no exit class"},
      {R"({"command": "x", "exit_codes": {"error": "3"}})", "exit_codes.error: is no exit code"},
      {R"({"command": "x", "exit_codes": {"75": 3}})", "exit_codes.75: must be"},
      {R"({"command": "x", "exit_codes": []})", "exit_codes: must be an object"},
      {R"({"command": "x", "after": -1})", "after: must be a task's name or its step (0 is the first)"},
      {R"({"command": "x", "after": 1.5})", "after: must be a task's name"},
      {R"({"command": "x", "after": [true]})", "after[0]: must be a task's name"},
      {R"({"command": "x", "after": {"when": "ok"}})", "after: \"task\" is missing"},
      {R"({"command": "x", "after": {"task": "a", "when": "later"}})",
       "after.when: must be \"ok\", \"any\" or \"not_ok\", not \"later\""},
      {R"({"command": "x", "after": {"task": "a", "wehn": "ok"}})", "after.wehn: no such key; did you mean \"when\"?"},
      {R"({"command": "x", "command": "y"})", "tasks.jsonl:7: the key \"command\" comes twice"},
      {R"({"command": "x", "env": {"A": "1", "A": "2"}})", "the key \"A\" comes twice"},
      {R"(["command"])", "must be an object such as"},
      {R"({"command": "x",})", "tasks.jsonl:7:17: invalid JSON: "},
      {R"({"command": "x"} x)", "tasks.jsonl:7:18: invalid JSON: "},
      {R"({"command": "x)", "invalid JSON: "},
      {"{\"command\": \"\xff\"}", "invalid JSON: "},
      {R"({"command": "x", "timeout": 1e999})", "tasks.jsonl:7:29: "},
  };
  for (const auto& one : cases) {
    const std::string fault = fault_of(one.line);
    INFO(one.line << "\n" << fault);
    CHECK(fault.starts_with("tasks.jsonl:7"));
    CHECK(fault.find(one.message) != std::string::npos);
  }
}

TEST_CASE("all faults of a line are told at once, and of many lines the first ones with the number of the others") {
  const std::string two = fault_of(R"({"comand": "x", "timeout": "never"})");
  CHECK(two.find("comand: no such key") != std::string::npos);
  CHECK(two.find("timeout: ") != std::string::npos);
  CHECK(two.find("command: is missing") != std::string::npos);

  InputFaults faults;
  for (std::uint64_t line = 1; line <= 50; ++line) read_json_task("{", "f", line, "/", kNow, faults);
  const std::string text = faults.error().message;
  CHECK(std::count(text.begin(), text.end(), '\n') == 20);
  CHECK(text.find("and 30 more") != std::string::npos);
}

TEST_CASE("deep nesting is refused, not followed") {
  const std::string deep = "{\"env\": " + std::string(1'000'000, '[');
  CHECK(fault_of(deep).find("nested too deeply") != std::string::npos);
}

TEST_CASE("objects side by side may have the same keys") {
  const JsonTask task = must_read(R"({"command": "x", "after": [{"task": "a"}, {"task": "b"}], "env": {"task": "1"}})");
  CHECK(task.after.size() == 2);
}

}  // namespace allot
