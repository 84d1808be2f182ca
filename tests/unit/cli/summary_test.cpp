// SPDX-License-Identifier: MIT
#include "cli/summary.h"

#include <nlohmann/json.hpp>

#include "tests/support/catch.h"

namespace allot::cli {

namespace {

BatchResult some_result() {
  BatchResult result;
  result.progress.total = 100;
  result.progress.done = 90;
  result.progress.failed = 8;
  result.progress.abandoned = 1;
  result.progress.waiting = 1;
  result.by_class[static_cast<std::size_t>(ExitClass::done)] = 90;
  result.by_class[static_cast<std::size_t>(ExitClass::error)] = 5;
  result.by_class[static_cast<std::size_t>(ExitClass::killed)] = 3;
  result.wall_seconds = 12.5;
  result.stop_requests = 1;
  result.highlights.add_wall_seconds(7, 3.25);
  result.highlights.add_max_rss(8, 12 << 20);
  result.highlights.add_failure(9, {ExitClass::error, 3, {}, "first line\nlast line\n"});
  return result;
}

std::string command_of(std::uint64_t step) {
  return "command " + std::to_string(step);
}

}  // namespace

TEST_CASE("the summary for people") {
  const std::string text = summary_text(some_result(), "/some/where", command_of);
  CHECK(
      text ==
      "100 tasks: 90 done, 8 failed, 1 abandoned (a task that they wait for did not end as they need), 1 not ended, in "
      "12.50 s; cancelled\n"
      "  done                  90\n"
      "  error                  5\n"
      "  killed                 3\n"
      "slowest:     3.25 s  step 7: command 7\n"
      "biggest:   12.0 MiB  step 8: command 8\n"
      "first 1 of 5 failures:\n"
      "  step 9: error (3): command 9\n"
      "    | first line\n"
      "    | last line\n"
      "batch: /some/where\n"
      "next:  allot status /some/where --tasks\n"
      "       allot output /some/where\n"
      "       allot resume /some/where\n");
}

TEST_CASE("the summary for programs") {
  const auto json = nlohmann::json::parse(summary_json(some_result(), "/some/where"));
  CHECK(json["batch"] == "/some/where");
  CHECK(json["tasks"] == 100);
  CHECK(json["done"] == 90);
  CHECK(json["failed"] == 8);
  CHECK(json["abandoned"] == 1);
  CHECK(json["unfinished"] == 1);
  CHECK(json["by_class"]["killed"] == 3);
  CHECK(json["wall_seconds"] == 12.5);
  CHECK(json["incomplete_outputs"] == 0);
  CHECK_FALSE(json.contains("batch_base64"));
  const auto other = nlohmann::json::parse(summary_json(some_result(), "/some/\xff"));
  CHECK(other["batch_base64"] == "L3NvbWUv/w==");
}

TEST_CASE("the end of an error text: five lines, safe, bounded") {
  CHECK(tail_lines("", "> ").empty());
  CHECK(tail_lines("\n\n", "> ").empty());
  CHECK(tail_lines("one", "> ") == "> one\n");
  CHECK(tail_lines("1\n2\n3\n4\n5\n6\n7\n\n", "> ") == "> 3\n> 4\n> 5\n> 6\n> 7\n");
  CHECK(tail_lines("x\n\na\n\nb", "> ") == "> x\n> \n> a\n> \n> b\n");
  CHECK(tail_lines("\x1b]0;title\x07", "> ") == "> \\x1b]0;title\\x07\n");
  CHECK(tail_lines(std::string(5000, 'x'), "").size() < 300);
}

TEST_CASE("only the slowest and the biggest are kept, in order") {
  Highlights highlights;
  for (const double seconds : {1.0, 5.0, 3.0, 4.0, 2.0}) {
    highlights.add_wall_seconds(static_cast<std::uint64_t>(seconds * 10), seconds);
  }
  REQUIRE(highlights.slowest().size() == 3);
  CHECK(highlights.slowest()[0].step == 50);
  CHECK(highlights.slowest()[2].step == 30);
  for (std::uint64_t step = 0; step < 20; ++step) highlights.add_failure(step, {});
  CHECK(highlights.failures().size() == Highlights::kMostFailures);
  CHECK(highlights.failures().front().step == 0);
}

}  // namespace allot::cli
