// SPDX-License-Identifier: MIT
#include "distributors/slurm/native_job.h"

#include <filesystem>
#include <fstream>

#include "tests/support/catch.h"
#include "tests/support/temp_directory.h"

namespace allot::slurm {

TEST_CASE("how a submission was sent is kept and read back", "[slurm]") {
  const test::TempDirectory temp;
  std::filesystem::create_directory(temp / "submissions");
  CHECK(read_sending(temp.path(), 7).error().code == ErrorCode::gone);
  Sending sending;
  sending.try_number = 2;
  sending.tasks = 1000;
  sending.layout = {10, 4};
  sending.is_array = true;
  sending.job_name = job_name_of("abc-7", 1);
  sending.sent_at = 1'700'000'000;
  REQUIRE(write_sending(temp.path(), 7, sending));
  auto read = read_sending(temp.path(), 7);
  REQUIRE(read);
  CHECK(read->try_number == 2);
  CHECK(read->layout.pack == 10);
  CHECK(read->layout.slots == 4);
  CHECK(read->job_name == "allot-abc-7");
  CHECK_FALSE(read->job_id);
  CHECK(job_name_of("abc-7", 2) == "allot-abc-7+2");
  sending.job_id = 42;
  sending.submitted_at = 1'700'000'001;
  REQUIRE(write_sending(temp.path(), 7, sending));
  CHECK(read_sending(temp.path(), 7)->job_id == 42u);
  CHECK(read_sending(temp.path(), 7)->submitted_at == 1'700'000'001);
  for (const char* damaged : {"", "{", "{}", "[]", "{\"try\": \"x\"}",
                              R"({"try":1,"tasks":1,"pack":0,"slots":1,"is_array":true,"job_name":"","sent_at":0})"}) {
    INFO(damaged);
    std::ofstream(temp / "submissions/7.slurm", std::ios::trunc) << damaged;
    CHECK(read_sending(temp.path(), 7).error().code == ErrorCode::gave_up);
  }
}

TEST_CASE("the elements of a job and their positions", "[slurm]") {
  NativeJob job;
  job.sending.tasks = 25;
  job.sending.layout = {10, 1};
  job.sending.is_array = true;
  job.sending.job_id = 12;
  CHECK(job.element_count() == 3);
  CHECK(job.positions(2) == std::pair<std::uint64_t, std::uint64_t>(20, 25));
  CHECK(job.element_of(19) == 1);
  CHECK(job.native_id(StepRanges(0, 3)) == "12");
  CHECK(job.native_id(StepRanges(1, 1)) == "12_1");
  CHECK(job.native_id(StepRanges(1, 2)) == "12_[1-2]");
}

TEST_CASE("a job is known by its id and name, and under another name by the time of its submission", "[slurm]") {
  NativeJob job;
  job.sending.job_id = 12;
  job.sending.job_name = "allot-abc-7";
  JobRecord record;
  record.job_id = 12;
  record.name = "allot-abc-7";
  record.submitted = 1000;
  CHECK(job.is_told_by(record));
  record.job_id = 13;
  CHECK_FALSE(job.is_told_by(record));
  record.array_job_id = 12;
  CHECK(job.is_told_by(record));
  record.name = "renamed";
  CHECK_FALSE(job.is_told_by(record));  // its id may have been given again
  job.sending.submitted_at = 1000;
  CHECK(job.is_told_by(record));
  record.submitted = 1001;
  CHECK_FALSE(job.is_told_by(record));
  job.sending.submitted_at = 0;
  job.sending.is_users_own = true;
  job.sending.sent_at = 1001;  // when it began
  CHECK(job.is_told_by(record));
  job.sending.sent_at = 1000;
  CHECK_FALSE(job.is_told_by(record));
}

}  // namespace allot::slurm
