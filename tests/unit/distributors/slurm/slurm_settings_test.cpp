// SPDX-License-Identifier: MIT
#include "distributors/slurm/slurm_settings.h"

#include "tests/support/catch.h"

namespace allot::slurm {
namespace {

Submission of_tasks(std::uint64_t count) {
  Submission submission;
  submission.token = "t-1";
  submission.steps = StepRanges(0, count);
  submission.is_array = true;
  return submission;
}

Layout must_layout(const SlurmSettings& settings, const Submission& submission, const Pace& pace = {}) {
  auto layout = layout_of(settings, submission, pace);
  REQUIRE(layout);
  return *layout;
}

}  // namespace

TEST_CASE("without packing each task has an element", "[slurm]") {
  const Layout layout = must_layout({}, of_tasks(1000));
  CHECK(layout.pack == 1);
  CHECK(layout.slots == 1);
  CHECK(layout.elements(1000) == 1000);
}

TEST_CASE("packing is by the number asked for and never wider than the tasks", "[slurm]") {
  SlurmSettings settings;
  settings.pack = "300";
  settings.pack_slots = 8;
  CHECK(must_layout(settings, of_tasks(1000)).elements(1000) == 4);
  const Layout few = must_layout(settings, of_tasks(5));
  CHECK(few.pack == 5);
  CHECK(few.slots == 5);
  Submission asked = of_tasks(1000);
  asked.resources.pass_through = {{"pack", "10"}, {"pack_slots", "2"}};
  CHECK(must_layout(settings, asked).pack == 10);
  CHECK(must_layout(settings, asked).slots == 2);
}

TEST_CASE("packing by itself gives each core a share, or what lasts its time once that is known", "[slurm]") {
  SlurmSettings settings;
  settings.pack = "auto";
  Pace pace;
  pace.cores = 64;
  pace.cores_of_a_node = 16;
  const Layout unknown = must_layout(settings, of_tasks(1000), pace);
  CHECK(unknown.slots == 4);
  CHECK(unknown.elements(1000) <= 16);
  pace.mean_seconds = 100;
  CHECK(must_layout(settings, of_tasks(100'000), pace).pack == 1);
  pace.mean_seconds = 0.002;
  CHECK(must_layout(settings, of_tasks(1'000'000), pace).pack >= 10'000);
}

TEST_CASE("pass-through options are taken or refused by name", "[slurm]") {
  Submission submission = of_tasks(1);
  submission.resources.pass_through = {
      {"qos", "long"}, {"reservation", "r"}, {"gres", "gpu:a100:1"}, {"exclude", "n9"}, {"nice", "7"}};
  submission.excluded_nodes = {"n1", "n2"};
  const auto request = job_request({}, submission, {}, "main");
  REQUIRE(request);
  CHECK(request->qos == "long");
  CHECK(request->gres == "gres:gpu:a100:1");
  CHECK(request->excluded_nodes == "n1,n2,n9");
  CHECK(request->nice == 7u);
  CHECK(request->partition == "main");
  for (const auto& [key, value] : std::map<std::string, std::string>{
           {"hold", "1"}, {"nice", "-1"}, {"pack", "0"}, {"pack_slots", "65"}, {"output", "relative"}, {"qos", ""}}) {
    INFO(key);
    Submission wrong = of_tasks(1);
    wrong.resources.pass_through = {{key, value}};
    const auto layout = layout_of({}, wrong, {});
    const auto refused = job_request({}, wrong, {}, "main");
    REQUIRE((!layout || !refused));
    const std::string text = !layout ? layout.error().message : refused.error().message;
    CHECK(text.find(key) != std::string::npos);
  }
}

TEST_CASE("an element asks for what its tasks need at once, and for time for all of them", "[slurm]") {
  Submission submission = of_tasks(100);
  submission.resources.cores = 2;
  submission.resources.memory_bytes = std::uint64_t{100} << 20;
  submission.resources.runtime_milliseconds = 60'000;
  Layout layout;
  layout.pack = 10;
  layout.slots = 5;
  const auto request = job_request({}, submission, layout, "main");
  REQUIRE(request);
  CHECK(request->cores == 10u);
  CHECK(request->memory_megabytes >= 500u);
  CHECK(request->memory_megabytes <= 520u);
  CHECK(request->minutes >= 3u);  // two turns of a minute, and what ending takes
  CHECK(request->minutes <= 4u);
}

TEST_CASE("packing by itself runs no more at once than a node has room for", "[slurm]") {
  SlurmSettings settings;
  settings.pack = "auto";
  Pace pace;
  pace.cores = 64;
  pace.cores_of_a_node = 16;
  pace.megabytes_of_a_node = 1000;
  pace.gpus_of_a_node = 2;
  Submission submission = of_tasks(1000);
  submission.resources.memory_bytes = std::uint64_t{300} << 20;
  CHECK(must_layout(settings, submission, pace).slots == 3);
  submission.resources.memory_bytes = std::uint64_t{600} << 20;
  CHECK(must_layout(settings, submission, pace).slots == 1);
  submission.resources.memory_bytes.reset();
  submission.resources.gpus = 1;
  CHECK(must_layout(settings, submission, pace).slots == 2);
  submission.resources.cores = 12;
  CHECK(must_layout(settings, submission, pace).slots == 1);
}

}  // namespace allot::slurm
