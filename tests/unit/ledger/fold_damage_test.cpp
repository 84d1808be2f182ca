// SPDX-License-Identifier: MIT
// What a fold makes of files that lost something.
#include <filesystem>

#include "ledger/fold.h"
#include "process/fd.h"
#include "tests/support/catch.h"
#include "tests/unit/ledger/mentions.h"
#include "tests/unit/ledger/sample_batch.h"

using namespace allot;
using test::mentions;
using test::put_file;
using test::SampleBatch;

TEST_CASE("what a damaged, an emptied or a missing record file hides is a gap, a torn tail is none") {
  SampleBatch batch(4);
  batch.intent(1, StepRanges(0, 4));
  batch.opened("host-0");
  const std::uint64_t second = batch.started({0, 1, 0});
  batch.finished({0, 1, 0});
  const std::uint64_t last = batch.started({1, 1, 0});
  const std::string path = batch.batch().record_path("host-0");
  const std::string whole = *read_file(path);
  CHECK_FALSE(batch.fold().gap());
  put_file(path, whole.substr(0, whole.size() - 3));
  CHECK_FALSE(batch.fold().gap());

  std::string holed = whole;
  holed.replace(second, 8, 8, '\0');
  put_file(path, holed);
  REQUIRE(batch.fold().gap());
  CHECK(batch.fold().gap()->text == "records/host-0 is damaged at " + std::to_string(second));
  holed = whole;
  holed.replace(last, whole.size() - last, whole.size() - last, '\0');
  put_file(path, holed);
  REQUIRE(batch.fold().gap());
  CHECK(batch.fold().gap()->text == "records/host-0 is damaged at " + std::to_string(last));

  put_file(path, "");
  REQUIRE(batch.fold().gap());
  CHECK_FALSE(batch.fold().gap()->is_proven);
  put_file(batch.path("output/host-0.out"), "something");
  CHECK(batch.fold().gap()->is_proven);
  std::filesystem::remove(path);
  const Fold fold = batch.fold();
  REQUIRE(fold.gap());
  CHECK(mentions(fold.gap()->text, {"records/host-0 is missing"}));
  CHECK(mentions(fold.damage().at(0), {"records/host-0 is missing"}));
}

TEST_CASE("a table shorter than the claim or an intent says lacks steps") {
  SampleBatch batch(30);
  REQUIRE(batch.batch().claim(false, 30));
  CHECK(batch.fold().missing_steps() == 0);
  CHECK(batch.fold().damage().empty());
  std::filesystem::resize_file(batch.path("tasks.index"), 20 * 8);
  Fold fold = batch.fold();
  CHECK(fold.size() == 20);
  CHECK(fold.missing_steps() == 10);
  REQUIRE(fold.damage().size() == 1);
  CHECK(mentions(fold.damage()[0], {"tasks.index", "20 tasks", "has 30"}));
  std::filesystem::resize_file(batch.path("tasks.index"), 0);
  CHECK(batch.fold().missing_steps() == 30);
  std::filesystem::resize_file(batch.path("tasks.index"), std::uint64_t{32} << 30);
  fold = batch.fold();
  CHECK(fold.size() == 30);
  CHECK(fold.missing_steps() == 0);
  CHECK(fold.damage().size() == 1);

  SampleBatch old(30);  // without such a claim
  old.intent(1, StepRanges(0, 30));
  std::filesystem::resize_file(old.path("tasks.index"), 0);
  CHECK(old.fold().missing_steps() == 30);
}

TEST_CASE("a hole behind the table's index is told and costs no memory") {
  SampleBatch batch(5000);
  std::filesystem::resize_file(batch.path("tasks.index"), std::uint64_t{32} << 30);
  const Fold fold = batch.fold();
  CHECK(fold.size() == 5000);
  REQUIRE(fold.damage().size() == 1);
  CHECK(mentions(fold.damage()[0], {"tasks.index", "entries behind the 5000"}));
}

TEST_CASE("the highest number of a submission counts whichever record names it") {
  SampleBatch batch(3);
  batch.intent(1, StepRanges(0, 1));
  CHECK(batch.fold().highest_submission() == 1);
  batch.started({1, 5, 0});
  CHECK(batch.fold().highest_submission() == 5);
  batch.add("driver-1", SubmittedRecord{7, {}, {}, 1});
  CHECK(batch.fold().highest_submission() == 7);
}
