// SPDX-License-Identifier: MIT
#include "tests/support/contract_batch.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <set>

#include "ledger/environment.h"
#include "ledger/record_file.h"
#include "process/identity.h"
#include "tests/support/catch.h"

namespace allot::contract {

namespace {

std::int64_t unix_nanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string new_base() {
  auto base = new_id_base();
  if (!base) FAIL("new_id_base: " << base.error().message);
  return *base;
}

BatchDirectory make_directory(const std::string& path, const std::string& cwd) {
  BatchInfo info;
  info.batch_id = new_base();
  info.name = "contract";
  info.cluster = "contract";
  info.host = host_name();
  info.boot_id = boot_id();
  info.cwd = cwd;
  info.allot_version = ALLOT_VERSION;
  info.created_ns = unix_nanoseconds();
  auto directory = BatchDirectory::create(path, info);
  if (!directory) FAIL("making a batch at " << path << ": " << directory.error().message);
  const auto driver = directory->claim();
  if (!driver) FAIL("driving the batch at " << path << ": " << driver.error().message);
  if (driver->epoch != 1) FAIL("the first driver of a batch has epoch " << driver->epoch);
  return *directory;
}

std::mutex driver_mutex;  // over the drivers' record files and the tokens below
std::set<std::string> recorded_tokens;

// Throws nothing that a plugin's thread could not bear: a test that cannot write its own records has no result at all.
void append_as_driver(const std::string& batch_path, const Record& record) {
  auto records = RecordWriter::open(batch_path + "/records/driver-1");
  if (!records || !records->append(record) || !records->sync()) {
    std::fprintf(stderr, "contract: the driver's record in %s cannot be written\n", batch_path.c_str());
    std::abort();
  }
}

}  // namespace

std::string unique_token() {
  static std::atomic<unsigned> count{0};
  return "contract-" + new_base() + "-" + std::to_string(++count);
}

Batch::Batch(const std::vector<std::pair<std::string, std::string>>& extra_environment)
    : directory_(make_directory(root_ / "batch", cwd_.path())) {
  Environment environment = {
      {"PATH", "/usr/local/bin:/usr/bin:/bin"}, {"HOME", cwd_.path()}, {"CONTRACT_MARK", "batch"}};
  environment.insert(environment.end(), extra_environment.begin(), extra_environment.end());
  const auto written = write_environment(directory_.environment_path(), environment);
  if (!written) FAIL("writing the environment: " << written.error().message);
  OpenedRecord opened;
  opened.host = host_name();
  opened.boot_id = boot_id();
  opened.pid = own_identity().pid;
  opened.start_ticks = own_identity().start_ticks;
  opened.at_ns = unix_nanoseconds();
  append_as_driver(directory_.path(), opened);
}

void record_intent(const Submission& submission) {
  const std::lock_guard lock(driver_mutex);
  if (!exists(submission.batch_directory + "/records/driver-1")) return;
  if (!recorded_tokens.insert(submission.token).second) return;
  append_as_driver(submission.batch_directory, intent_of(submission, unix_nanoseconds()));
}

void record_answer(const Submission& submission, const Result<SubmittedIds>& answer) {
  const std::lock_guard lock(driver_mutex);
  if (!exists(submission.batch_directory + "/records/driver-1")) return;
  SubmittedRecord record;
  record.submission = submission.number;
  record.error = answer ? "" : answer.error().message;
  record.at_ns = unix_nanoseconds();
  append_as_driver(submission.batch_directory, record);
}

std::uint64_t Batch::add(const TaskSpec& task, std::uint64_t count) {
  auto table = TaskTableWriter::open(directory_.task_data_path(), directory_.task_index_path());
  if (!table) FAIL("opening the task table: " << table.error().message);
  const auto first = table->append(task, count);
  if (!first) FAIL("adding a task: " << first.error().message);
  const auto synced = table->sync();
  if (!synced) FAIL("syncing the task table: " << synced.error().message);
  steps_ = *first + count;
  return *first;
}

std::uint64_t Batch::add_line(std::string_view shell_line, std::uint64_t count) {
  TaskSpec task;
  task.shell_line = shell_line;
  return add(task, count);
}

std::uint64_t Batch::add_argv(std::vector<std::string> argv) {
  TaskSpec task;
  task.argv = std::move(argv);
  return add(task);
}

Submission Batch::submission(StepRanges steps, bool is_array) {
  Submission submission;
  submission.token = unique_token();
  submission.id_base = new_base();
  submission.batch_directory = directory_.path();
  submission.number = ++submissions_;
  submission.steps = std::move(steps);
  submission.is_array = is_array;
  submission.name = "contract";
  return submission;
}

Submission Batch::array(std::uint64_t first, std::uint64_t count) {
  Submission made = submission(StepRanges(first, count), true);
  made.step_origin = first;
  return made;
}

Fold Batch::fold() const {
  auto fold = Fold::load(directory_);
  if (!fold) FAIL("reading the ledger of " << path() << ": " << fold.error().message);
  return std::move(*fold);
}

TaskDetail Batch::detail(std::uint64_t step) const {
  auto detail = fold().detail(step);
  if (!detail) FAIL("the ledger has no detail of step " << step << ": " << detail.error().message);
  return std::move(*detail);
}

std::string Batch::output(std::uint64_t step, OutputStream stream) const {
  std::string bytes;
  const auto read = read_output(directory_, detail(step), stream, [&](std::string_view block) {
    bytes.append(block);
    return true;
  });
  if (!read) FAIL("output of step " << step << ": " << read.error().message << " (" << bytes.size() << " bytes read)");
  return bytes;
}

}  // namespace allot::contract
