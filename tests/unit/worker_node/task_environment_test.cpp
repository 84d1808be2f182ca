// SPDX-License-Identifier: MIT
#include "worker_node/task_environment.h"

#include <map>

#include "tests/support/catch.h"

using namespace allot;

namespace {

std::map<std::string, std::string> as_map(char* const* block) {
  std::map<std::string, std::string> map;
  for (; *block != nullptr; ++block) {
    const std::string entry = *block;
    const std::size_t equals = entry.find('=');
    // A name that comes twice would make a program's answer a matter of luck.
    REQUIRE(map.emplace(entry.substr(0, equals), entry.substr(equals + 1)).second);
  }
  return map;
}

RunContext context() {
  RunContext run;
  run.distributor_id = "0123456789ab_4";
  run.id_base = "0123456789ab";
  run.array_step = 4;
  run.task_name = "n";
  run.attempt = 2;
  run.batch_directory = "/b";
  return run;
}

}  // namespace

TEST_CASE("a task sees the batch's environment, its own on top, and what allot sets") {
  std::string secret = "MY_TOKEN=s3cret", stale = "ALLOT_DISTRIBUTOR_ID=outer", node = "TMPDIR=/node",
              plain = "FOO=own";
  char* own[] = {secret.data(), stale.data(), node.data(), plain.data(), nullptr};
  TaskEnvironment environment({{"PATH", "/bin"}, {"FOO", "batch"}, {"PWD", "/old"}}, own);
  TaskSpec task;
  task.env = {{"FOO", "first"}, {"BAR", "x=y"}, {"FOO", "last"}};
  auto map = as_map(environment.build(task, context(), "/new"));
  CHECK(map["FOO"] == "last");
  CHECK(map["BAR"] == "x=y");
  CHECK(map["PATH"] == "/bin");
  CHECK(map["PWD"] == "/new");
  CHECK(map["MY_TOKEN"] == "s3cret");  // not written anywhere: inherited
  CHECK(map["TMPDIR"] == "/node");
  CHECK(map["ALLOT_DISTRIBUTOR_ID"] == "0123456789ab_4");
  CHECK(map["ALLOT_ARRAY_STEP_ID"] == "4");
  CHECK(map["ARRAY_STEP_ID"] == "4");
  CHECK(map["JOB_ID"] == "0123456789ab");
  CHECK(map["ALLOT_ATTEMPT"] == "2");
  CHECK(map["ALLOT_BATCH_DIR"] == "/b");
  CHECK(std::string(environment.find("PATH")) == "/bin");

  // The next task gets nothing of it; one that is no array has no step.
  RunContext single = context();
  single.array_step.reset();
  map = as_map(environment.build({}, single, ""));
  CHECK(map["FOO"] == "batch");
  CHECK(map["PWD"] == "/old");
  CHECK(map.count("BAR") == 0);
  CHECK(map.count("ALLOT_ARRAY_STEP_ID") == 0);
  CHECK(map.count("ARRAY_STEP_ID") == 0);
}

TEST_CASE("arranging keeps every variable") {
  TaskEnvironment environment({{"PATH", "/bin"}, {"A", "1"}, {"B", "2"}}, nullptr);
  const auto before = as_map(environment.build({}, context(), "/"));
  char* const* arranged = environment.arrange();
  REQUIRE(arranged != nullptr);
  CHECK(as_map(arranged) == before);
}

TEST_CASE("a variable that became a secret since the batch was made comes once") {
  std::string now = "DATABASE_URL=db://me:word@host/x";
  char* own[] = {now.data(), nullptr};
  auto map = as_map(TaskEnvironment({{"DATABASE_URL", "db://host/x"}}, own).build({}, context(), ""));
  CHECK(map["DATABASE_URL"] == "db://host/x");
  map = as_map(TaskEnvironment({}, own).build({}, context(), ""));
  CHECK(map["DATABASE_URL"] == "db://me:word@host/x");
}
