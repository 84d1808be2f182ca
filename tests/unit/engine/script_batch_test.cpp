// SPDX-License-Identifier: MIT
#include "engine/script_batch.h"

#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "ledger/fold.h"
#include "ledger/submission_file.h"
#include "protocol/distributor_id.h"
#include "tests/support/catch.h"
#include "tests/support/temp_directory.h"

namespace allot::test {
namespace {

namespace fs = std::filesystem;
using Catch::Matchers::ContainsSubstring;

ScriptJob job_of(std::uint64_t elements, std::uint64_t workers = 1) {
  ScriptJob job;
  job.scheduler = "slurm";
  job.job_id = 70;
  job.job_name = "mine";
  job.is_array = true;
  job.elements = elements;
  job.workers = workers;
  job.source = "tasks.txt";
  return job;
}

Result<ScriptBatch> make(const std::string& path, const ScriptJob& job, std::uint64_t tasks = 10) {
  BatchInfo info;
  info.batch_id = *new_id_base();
  info.cwd = "/";
  return find_or_make_script_batch(path, info, ::environ, job, [tasks]() -> Result<std::unique_ptr<TaskSource>> {
    return make_command_source({"true"}, tasks, true);
  });
}

Result<ScriptBatch> make_of(const std::string& path, const std::string& text) {
  TempDirectory directory;
  const std::string file = directory / "tasks";
  put_file(file, text);
  return find_or_make_script_batch(path, BatchInfo{}, ::environ, job_of(2),
                                   [&file]() -> Result<std::unique_ptr<TaskSource>> {
                                     auto reader = DelimitedReader::open(file, '\n');
                                     if (!reader) return fail(reader.error());
                                     return make_line_source(std::move(*reader), LineFormat::detect, "/");
                                   });
}

std::size_t entries_in(const std::string& path) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(path), fs::directory_iterator()));
}

}  // namespace

TEST_CASE("a batch for worker nodes without a driver is queued as a whole and its driver has left") {
  const TempDirectory directory;
  const auto made = make(directory / "b", job_of(3, 2));
  REQUIRE(made);
  CHECK(made->is_made_here);
  CHECK(made->job.worker_pack == 2);  // ten in six shares
  CHECK(made->job.element_pack() == 4);
  const auto batch = BatchDirectory::open(made->path);
  REQUIRE(batch);
  CHECK(batch->has_left(1));
  const auto fold = Fold::load(*batch);
  REQUIRE(fold);
  CHECK(fold->count(TaskState::queued) == 10);
  const auto intent = read_submission_file(made->path, kScriptSubmission);
  REQUIRE(intent);
  CHECK(intent->steps == StepRanges(0, 10));
  const auto job = script_job_of(*batch);
  REQUIRE((job && *job));
  CHECK((*job)->tasks == 10);
  CHECK((*job)->job_name == "mine");
  CHECK((*job)->elements == 3);
  CHECK(entries_in(directory.path()) == 1);  // neither a draft nor a lock
}

TEST_CASE("of worker nodes that come at once one makes the batch and the others find it") {
  const TempDirectory directory;
  constexpr int kProcesses = 12;
  std::vector<pid_t> processes;
  for (int i = 0; i < kProcesses; ++i) {
    const pid_t pid = ::fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
      const auto batch = make(directory / "b", job_of(kProcesses), 1000);
      ::_exit(!batch ? 2 : batch->is_made_here ? 1 : 0);
    }
    processes.push_back(pid);
  }
  int makers = 0;
  for (const pid_t pid : processes) {
    int status = 0;
    REQUIRE(::waitpid(pid, &status, 0) == pid);
    REQUIRE(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) != 2);
    makers += WEXITSTATUS(status) == 1 ? 1 : 0;
  }
  CHECK(makers == 1);
  CHECK(entries_in(directory.path()) == 1);
}

TEST_CASE("what a killed worker node has left of making the batch is removed by the next one") {
  const TempDirectory directory;
  fs::create_directories(directory / ".b.making.other.1/records");
  put_file(directory / ".b.lock", "");
  const auto made = make(directory / "b", job_of(2));
  REQUIRE(made);
  CHECK(made->is_made_here);
  CHECK(entries_in(directory.path()) == 1);
}

TEST_CASE("a batch of another job or of other tasks is not joined") {
  const TempDirectory directory;
  REQUIRE(make(directory / "b", job_of(2)));
  const auto refusal = [&](const ScriptJob& job) {
    const auto joined = make(directory / "b", job);
    REQUIRE_FALSE(joined);
    CHECK(joined.error().code == ErrorCode::fix_request);
    return joined.error().message;
  };
  ScriptJob other = job_of(2);
  other.job_id = 71;
  CHECK_THAT(refusal(other), ContainsSubstring("is the batch of job 70, and this is job 71"));
  other = job_of(2);
  other.source = "others.txt";
  CHECK_THAT(refusal(other), ContainsSubstring("tasks.txt, now others.txt"));
  CHECK_THAT(refusal(job_of(3)), ContainsSubstring("divided among 2 worker nodes, and this is one of 3"));
  const auto joined = make(directory / "b", job_of(2));
  REQUIRE(joined);
  CHECK_FALSE(joined->is_made_here);
  fs::remove(script_job_path(directory / "b", kScriptSubmission));
  CHECK_THAT(refusal(job_of(2)), ContainsSubstring("that a driver runs"));
}

TEST_CASE("tasks that only a driver can run are refused and leave nothing") {
  const TempDirectory directory;
  const std::pair<const char*, const char*> cases[] = {
      {"{\"name\":\"a\",\"command\":\"true\"}\n{\"command\":\"true\",\"after\":[\"a\"]}\n", "wait for others"},
      {"{\"command\":\"true\",\"resources\":{\"cores\":2}}\n{\"command\":\"true\"}\n", "the same resources"},
      {"{\"command\":\"true\",\"resources\":{\"queue\":\"long\"}}\n", "#SBATCH"},
      {"{\"command\":\"true\",\"resources\":{\"gpus\":1}}\n", "#SBATCH"},
      {"{\"command\":\"true\",\"begin\":\"2099-01-01T00:00\"}\n", "begin at a time"},
      {"{\"command\":1}\n", "command"},
      {"", "holds no tasks"},
  };
  for (const auto& [text, reason] : cases) {
    INFO(text);
    const auto made = make_of(directory / "b", text);
    REQUIRE_FALSE(made);
    CHECK_THAT(made.error().message, ContainsSubstring(reason));
    CHECK(entries_in(directory.path()) == 0);
  }
  REQUIRE(make_of(directory / "b", "{\"command\":\"true\",\"resources\":{\"cores\":2}}\n"));
}

TEST_CASE("a directory that is no batch is left as it is") {
  const TempDirectory directory;
  fs::create_directories(directory / "b/precious");
  const auto made = make(directory / "b", job_of(2));
  REQUIRE_FALSE(made);
  CHECK_THAT(made.error().message, ContainsSubstring("is no batch"));
  CHECK(fs::exists(directory / "b/precious"));
  CHECK(entries_in(directory.path()) == 1);
  fs::remove(directory / "b/precious");
  CHECK(make(directory / "b", job_of(2)));  // an empty one will do
}

TEST_CASE("each begin of a share counts") {
  const TempDirectory directory;
  REQUIRE(make(directory / "b", job_of(2)));
  CHECK(*count_begin(directory / "b", 1) == 0);
  CHECK(*count_begin(directory / "b", 1) == 1);
  CHECK(*count_begin(directory / "b", 0) == 0);
  CHECK(*count_begin(directory / "b", 1) == 2);
}

}  // namespace allot::test
