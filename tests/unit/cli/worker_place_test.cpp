// SPDX-License-Identifier: MIT
#include "cli/worker_place.h"

#include <map>

#include "tests/support/catch.h"

namespace allot::test {
namespace {

using cli::find_worker_place;
using Variables = std::map<std::string, std::string>;

Result<cli::WorkerPlace> place_in(const Variables& variables, std::uint32_t cores = 64) {
  return find_worker_place(
      [&variables](const char* name) {
        const auto found = variables.find(name);
        return found == variables.end() ? nullptr : found->second.c_str();
      },
      cores);
}

Variables element(const char* id, const char* least, const char* most, const char* step, const char* count) {
  return {{"SLURM_JOB_ID", "77"},
          {"SLURM_ARRAY_JOB_ID", "70"},
          {"SLURM_ARRAY_TASK_ID", id},
          {"SLURM_ARRAY_TASK_MIN", least},
          {"SLURM_ARRAY_TASK_MAX", most},
          {"SLURM_ARRAY_TASK_STEP", step},
          {"SLURM_ARRAY_TASK_COUNT", count},
          {"SLURM_JOB_NAME", "my job"},
          {"SLURM_CLUSTER_NAME", "lab"}};
}

}  // namespace

TEST_CASE("a plain job is one share of one") {
  const auto place = place_in({{"SLURM_JOB_ID", "12"}, {"SLURM_JOB_NAME", "x"}, {"SLURM_CPUS_ON_NODE", "3"}});
  REQUIRE(place);
  CHECK(place->job.job_id == 12);
  CHECK_FALSE(place->job.is_array);
  CHECK(place->job.shares() == 1);
  CHECK(place->share == 0);
  CHECK(place->cores == 3);
}

TEST_CASE("an element counts from the array's first number in its steps") {
  const auto first = place_in(element("0", "0", "99", "1", "100"));
  REQUIRE(first);
  CHECK(first->job.job_id == 70);
  CHECK(first->job.job_name == "my job");
  CHECK(first->job.cluster == "lab");
  CHECK(first->job.shares() == 100);
  CHECK(first->share == 0);
  CHECK(place_in(element("99", "0", "99", "1", "100"))->share == 99);
  const auto third = place_in(element("11", "5", "14", "3", "4"));
  REQUIRE(third);
  CHECK(third->job.first_id == 5);
  CHECK(third->job.id_step == 3);
  CHECK(third->job.elements == 4);
  CHECK(third->share == 2);
  const auto single = place_in(element("8", "8", "8", "1", "1"));
  REQUIRE(single);
  CHECK(single->job.shares() == 1);
  CHECK(single->share == 0);
}

TEST_CASE("a list that is no range is refused with what to write") {
  const auto place = place_in(element("2", "1", "7", "1", "3"));
  REQUIRE_FALSE(place);
  CHECK(place.error().code == ErrorCode::fix_request);
  CHECK(place.error().message.find("--array=0-2") != std::string::npos);
  CHECK_FALSE(place_in(element("3", "1", "9", "1", "3")));  // 1,3,9: evenly spaced it is not
}

TEST_CASE("every task of a step is a worker node with its part of the cores") {
  Variables variables = element("3", "1", "5", "2", "3");
  variables["SLURM_STEP_NUM_TASKS"] = "4";
  variables["SLURM_PROCID"] = "2";
  variables["SLURM_CPUS_ON_NODE"] = "8";
  const auto place = place_in(variables);
  REQUIRE(place);
  CHECK(place->job.shares() == 12);
  CHECK(place->share == 6);
  CHECK(place->cores == 1);  // nothing says that it has more
  variables["SLURM_CPUS_PER_TASK"] = "2";
  CHECK(place_in(variables)->cores == 2);
  CHECK(place_in(variables, 1)->cores == 1);  // the kernel lets it have one
  // In the script itself SLURM_PROCID is set, too, and means nothing.
  variables.erase("SLURM_STEP_NUM_TASKS");
  CHECK(place_in(variables)->share == 1);
  variables["SLURM_STEP_NUM_TASKS"] = "2";
  CHECK_FALSE(place_in(variables));
}

TEST_CASE("outside of a job and with variables that are none of Slurm's it is said what is wrong") {
  const auto outside = place_in({});
  REQUIRE_FALSE(outside);
  CHECK(outside.error().message.find("allot run") != std::string::npos);
  for (const char* name : {"SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_JOB_ID", "SLURM_JOB_ID"}) {
    INFO(name);
    Variables variables = element("3", "1", "5", "2", "3");
    variables[name] = "3x";
    const auto wrong = place_in(variables);
    REQUIRE_FALSE(wrong);
    CHECK(wrong.error().message.find(name) != std::string::npos);
  }
  Variables variables = element("3", "1", "5", "2", "3");
  variables.erase("SLURM_ARRAY_TASK_MIN");
  CHECK_FALSE(place_in(variables));
  CHECK_FALSE(place_in(element("3", "1", "5", "2", "0")));
  CHECK_FALSE(place_in(element("9", "1", "5", "2", "3")));
}

}  // namespace allot::test
