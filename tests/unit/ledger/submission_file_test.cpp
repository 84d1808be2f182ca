// SPDX-License-Identifier: MIT
#include "ledger/submission_file.h"

#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "process/fd.h"
#include "tests/support/catch.h"
#include "tests/support/temp_directory.h"

using namespace allot;

namespace {

IntentRecord intent_for(std::uint32_t submission, StepRanges steps) {
  IntentRecord intent;
  intent.submission = submission;
  intent.token = "0123456789ab-" + std::to_string(submission);
  intent.id_base = "0123456789ab";
  intent.is_array = true;
  intent.step_origin = 3;
  intent.steps = std::move(steps);
  intent.attempt = 2;
  intent.resources.cores = 4;
  intent.resources.memory_bytes = 1u << 30;
  intent.resources.runtime_milliseconds = 60'000;
  intent.resources.pass_through["reservation"] = "mine";
  intent.name = "a name";
  intent.at_ns = 17;
  intent.excluded_nodes = {"n3"};
  intent.round = 1;
  return intent;
}

// Every other step: as many ranges as steps.
StepRanges scattered(std::uint64_t count) {
  StepRanges steps;
  for (std::uint64_t i = 0; i < count; ++i) steps.append(2 * i);
  return steps;
}

mode_t mode_of(const std::string& path) {
  struct stat info {};
  REQUIRE(::stat(path.c_str(), &info) == 0);
  return info.st_mode & 07777;
}

void append_raw(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::app | std::ios::binary) << bytes;
}

}  // namespace

TEST_CASE("a submission file gives back the intent that was written") {
  const test::TempDirectory batch;
  const std::uint64_t ranges = GENERATE(1u, 5u, 40'000u);  // the last one takes more than one frame
  const IntentRecord intent = intent_for(7, scattered(ranges));
  REQUIRE(write_submission_file(batch.path(), intent));
  const auto read = read_submission_file(batch.path(), 7);
  REQUIRE(read);
  CHECK(read->submission == 7);
  CHECK(read->token == intent.token);
  CHECK(read->id_base == intent.id_base);
  CHECK(read->is_array);
  CHECK(read->step_origin == 3);
  CHECK(read->steps == intent.steps);
  CHECK(read->attempt == 2);
  CHECK(read->resources.cores == 4u);
  CHECK(read->resources.runtime_milliseconds == 60'000);
  CHECK(read->resources.pass_through == intent.resources.pass_through);
  CHECK(read->name == "a name");
  CHECK(read->excluded_nodes == intent.excluded_nodes);
  CHECK(read->round == 1);
  CHECK(mode_of(submission_file_path(batch.path(), 7)) == 0600);
  CHECK(mode_of(batch / "submissions") == 0700);
}

TEST_CASE("a submission file is replaced as a whole") {
  const test::TempDirectory batch;
  REQUIRE(write_submission_file(batch.path(), intent_for(7, {0, 100})));
  REQUIRE(write_submission_file(batch.path(), intent_for(7, {5, 1})));
  CHECK(read_submission_file(batch.path(), 7)->steps == StepRanges(5, 1));
  std::size_t files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(batch / "submissions")) ++files;
  CHECK(files == 1);
}

TEST_CASE("a submission file that is missing is told from one that is damaged") {
  const test::TempDirectory batch;
  CHECK(read_submission_file(batch.path(), 7).error().code == ErrorCode::gone);
  REQUIRE(write_submission_file(batch.path(), intent_for(7, scattered(40'000))));
  CHECK(read_submission_file(batch.path(), 8).error().code == ErrorCode::gone);

  const std::string path = submission_file_path(batch.path(), 7);
  const std::string whole = *read_file(path);
  const auto is_refused = [&](const std::string& bytes) {
    test::put_file(path, bytes);
    const auto read = read_submission_file(batch.path(), 7);
    return !read && read.error().code == ErrorCode::gave_up && read.error().message.find(path) == 0;
  };
  CHECK(is_refused(""));
  CHECK(is_refused("ALLOTRC1"));
  CHECK(is_refused("anything else"));
  CHECK(is_refused(whole.substr(0, whole.size() - 1)));
  CHECK(is_refused(whole.substr(0, whole.size() / 2)));
  CHECK(is_refused(whole + "x"));
  CHECK(is_refused(whole + whole.substr(8)));
  for (const std::size_t at : {std::size_t{0}, std::size_t{9}, std::size_t{40}, whole.size() - 2}) {
    INFO("a flipped bit at " << at);
    std::string flipped = whole;
    flipped[at] = static_cast<char>(flipped[at] ^ 4);
    CHECK(is_refused(flipped));
  }
  test::put_file(path, whole);
  CHECK(read_submission_file(batch.path(), 7));
  // Of another submission, under this one's name.
  REQUIRE(write_submission_file(batch.path(), intent_for(9, {0, 1})));
  std::filesystem::rename(submission_file_path(batch.path(), 9), path);
  CHECK(read_submission_file(batch.path(), 7).error().message.find("is of submission 9") != std::string::npos);
}

TEST_CASE("a fence stands once it was put up and is never lowered") {
  const test::TempDirectory batch;
  CHECK(read_fence(batch.path(), 7) == 0u);
  REQUIRE(write_fence(batch.path(), 7, 2));
  CHECK(read_fence(batch.path(), 7) == 2u);
  CHECK(read_fence(batch.path(), 8) == 0u);
  REQUIRE(write_fence(batch.path(), 7, 1));
  CHECK(read_fence(batch.path(), 7) == 2u);
  REQUIRE(write_fence(batch.path(), 7, 3));
  CHECK(read_fence(batch.path(), 7) == 3u);
  CHECK(mode_of(fence_path(batch.path(), 7)) == 0600);
}

TEST_CASE("a fence that cannot be read is no fence that lets through") {
  const test::TempDirectory batch;
  REQUIRE(write_fence(batch.path(), 7, 2));
  for (const char* bytes : {"", "\n", "2", "-1\n", "2 \n", "x\n", "99999999999\n"}) {
    test::put_file(fence_path(batch.path(), 7), bytes);
    INFO("it holds " << bytes);
    CHECK(read_fence(batch.path(), 7).error().code == ErrorCode::gave_up);
    CHECK_FALSE(write_fence(batch.path(), 7, 5));
  }
  std::filesystem::remove(fence_path(batch.path(), 7));
  std::filesystem::create_directory(fence_path(batch.path(), 7));
  CHECK_FALSE(read_fence(batch.path(), 7));
}

TEST_CASE("requests to stop are read in order and each once") {
  const test::TempDirectory batch;
  auto read = read_stop_requests(batch.path(), 7);
  REQUIRE(read);
  CHECK(read->requests.empty());
  CHECK(read->end == 0);

  const StopRequest one{false, 3, 3, 5000}, some{false, 10, 4'294'967'295u, 0}, all{true, 0, 0, 20};
  REQUIRE(append_stop_requests(batch.path(), 7, {one, some}));
  CHECK(*read_file(stop_requests_path(batch.path(), 7)) == "3-3 5000\n10-4294967295 0\n");
  CHECK(mode_of(stop_requests_path(batch.path(), 7)) == 0600);
  read = read_stop_requests(batch.path(), 7);
  REQUIRE(read);
  CHECK(read->requests == std::vector<StopRequest>{one, some});
  CHECK(read_stop_requests(batch.path(), 7, read->end)->requests.empty());

  REQUIRE(append_stop_requests(batch.path(), 7, {all}));
  read = read_stop_requests(batch.path(), 7, read->end);
  REQUIRE(read);
  CHECK(read->requests == std::vector<StopRequest>{all});
  CHECK(read->unreadable == 0);
  CHECK(read_stop_requests(batch.path(), 7)->requests.size() == 3);
}

TEST_CASE("the torn line of a writer that was killed never becomes a part of the next one") {
  const test::TempDirectory batch;
  REQUIRE(append_stop_requests(batch.path(), 7, {{false, 3, 3, 5000}}));
  append_raw(stop_requests_path(batch.path(), 7), "1");
  auto read = read_stop_requests(batch.path(), 7);
  REQUIRE(read);
  CHECK(read->requests.size() == 1);
  CHECK(read->unreadable == 0);
  const std::uint64_t end = read->end;
  CHECK(end == 9);

  REQUIRE(append_stop_requests(batch.path(), 7, {{false, 5, 20, 100}}));
  read = read_stop_requests(batch.path(), 7, end);
  REQUIRE(read);
  CHECK(read->requests == std::vector<StopRequest>{{false, 5, 20, 100}});
  CHECK(read->unreadable == 1);
}

TEST_CASE("a line that is no request is counted and stops nothing") {
  const test::TempDirectory batch;
  REQUIRE(append_stop_requests(batch.path(), 7, {{false, 1, 1, 1}}));
  const char* lines[] = {"",     " ",     "3",       "3-4",    "3-4 ",   "3-4 x",   "4-3 5",
                         "-4 5", "3- 5",  "3-4 5 6", "+3-4 5", "3-4 -5", " 3-4 5",  "3-4294967296 5",
                         "all",  "all x", "ALL 5",   "3,4 5",  "3-4\t5", "3-4 5\r", "allthat 5"};
  for (const char* line : lines) append_raw(stop_requests_path(batch.path(), 7), std::string(line) + "\n");
  const auto read = read_stop_requests(batch.path(), 7);
  REQUIRE(read);
  CHECK(read->requests.size() == 1);
  CHECK(read->unreadable == std::size(lines));
}

TEST_CASE("names in submissions that are ours are told from those that are not") {
  for (const char* name : {"7", "7.fence", "7.stop", "4294967295", "7.tmp.123", "7.fence.tmp.123", "7.slurm", "7.job",
                           "7.slurm.tmp.9", "7.begun.12.0"}) {
    INFO(name);
    CHECK(is_submission_file(name));
  }
  for (const char* name : {"", "x", "7.", ".fence", "7.stop.", "7.stop2", "7.tmp.", "7.tmp.x", "x.tmp.1", ".tmp.1",
                           "7 ", "-7", "7.fence.stop", "7.begun.1", "7.begun..1", ".begun.1.1"}) {
    INFO(name);
    CHECK_FALSE(is_submission_file(name));
  }
}
