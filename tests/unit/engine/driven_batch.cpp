// SPDX-License-Identifier: MIT
#include "tests/unit/engine/driven_batch.h"

#include <fcntl.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "engine/driver.h"
#include "engine/recovery.h"
#include "ledger/environment.h"
#include "ledger/record_file.h"
#include "process/identity.h"
#include "tests/support/catch.h"

namespace allot::test {

namespace {

template <class T>
T must(Result<T> result) {
  if (!result) FAIL(result.error().message);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

}  // namespace

TestStop::TestStop() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) FAIL("pipe2");
  read_end_.reset(ends[0]);
  write_end_.reset(ends[1]);
}

int TestStop::take() {
  char requests[16];
  const auto count = ::read(read_end_.get(), requests, sizeof requests);
  return count > 0 ? static_cast<int>(count) : 0;
}

void TestStop::request() {
  if (!write_all(write_end_.get(), "x")) throw std::runtime_error("stop request");
}

std::vector<TaskSpec> plain_tasks(std::size_t count) {
  TaskSpec task;
  task.shell_line = "true";
  return std::vector<TaskSpec>(count, task);
}

std::vector<TaskSpec> tasks_after(const std::vector<std::vector<Dependency>>& after) {
  auto tasks = plain_tasks(after.size());
  for (std::size_t i = 0; i < after.size(); ++i) tasks[i].after = after[i];
  return tasks;
}

DrivenBatch::DrivenBatch(const std::vector<TaskSpec>& tasks, bool is_array) {
  settings.grace = std::chrono::seconds(60);  // whoever waits for it fails by the test's own limit
  BatchInfo info;
  info.batch_id = must(new_id_base());
  info.cluster = "fake";
  info.cwd = temporary_.path();
  directory_ = must(BatchDirectory::create(temporary_ / "batch", info));
  must(write_environment(directory_->environment_path(), {}));
  TaskCollector collector(must(TaskTableWriter::open(directory_->task_data_path(), directory_->task_index_path())), {});
  for (const auto& task : tasks) must(collector.add(task));
  plan_ = must(collector.finish(is_array));
}

DriverIdentity DrivenBatch::next_driver() {
  previous_ = must(directory_->current_driver());
  if (!previous_) return must(directory_->claim());
  // The driver before was this very process, which lives, so that claim() would refuse.
  DriverIdentity driver = *previous_;
  ++driver.epoch;
  driver.boot_id = boot_id();
  rewrite_epoch(previous_->epoch, driver.epoch, driver.boot_id);
  return driver;
}

void DrivenBatch::rewrite_epoch(std::uint64_t from, std::uint64_t to, const std::string& boot) {
  const std::string epochs = directory_->path() + "/epochs/";
  auto json = nlohmann::json::parse(must(read_file(epochs + std::to_string(from))));
  json["epoch"] = to;
  json["boot_id"] = boot;
  must(write_file_durably(epochs + std::to_string(to), json.dump()));
}

void DrivenBatch::pretend_crash_and_boot() {
  const std::string log = directory_->record_path("driver-1");
  std::uint64_t last = 0;
  must(scan_record_file(log, 0, [&](const DecodedRecord&, std::uint64_t offset) {
    last = offset;
    return true;
  }));
  REQUIRE(::truncate(log.c_str(), static_cast<off_t>(last)) == 0);
  rewrite_epoch(1, 1, "another-boot");
}

void DrivenBatch::pretend_boot_of_driver(std::uint64_t epoch) {
  const std::string name = "driver-" + std::to_string(epoch);
  std::vector<Record> records;
  must(scan_record_file(directory_->record_path(name), 0, [&](const DecodedRecord& record, std::uint64_t) {
    records.push_back(record.record);
    return true;
  }));
  REQUIRE(::unlink(directory_->record_path(name).c_str()) == 0);
  auto writer = must(RecordWriter::open(directory_->record_path(name)));
  for (auto& record : records) {
    if (std::holds_alternative<EndedRecord>(record)) continue;
    if (auto* opened = std::get_if<OpenedRecord>(&record)) opened->boot_id = "another-boot";
    must(writer.append(record));
  }
  rewrite_epoch(epoch, epoch, "another-boot");
}

void DrivenBatch::claim_and_die() {
  const DriverIdentity driver = next_driver();
  must(DriverLog::open(*directory_, driver));
}

DrivenBatch::Damage DrivenBatch::damage_first_run() {
  const Fold folded = fold();
  for (std::uint64_t step = 0; step < folded.size(); ++step) {
    const FoldedTask& task = folded.task(step);
    if (task.end_kind != EndKind::finished) continue;
    const std::string name = folded.record_files()[task.file];
    const std::string path = directory_->record_path(name);
    std::string bytes = must(read_file(path));
    const std::size_t length = task.end_offset + 4 - task.started_offset;  // the header of the finished record, too
    bytes.replace(task.started_offset, length, length, '\0');
    must(write_file_durably(path, bytes));
    return {step, "records/" + name, task.started_offset};
  }
  FAIL("no run has ended");
  return {};
}

Result<BatchResult> DrivenBatch::drive(FakeCluster& cluster, const Begin& begin) {
  const DriverIdentity driver = next_driver();
  auto log = must(DriverLog::open(*directory_, driver));
  FakeDistributor distributor(cluster);
  must(distributor.start());
  const DriverContext context{*directory_, driver, log, distributor, queues, observer, stop, settings};
  auto state = begin(context);
  if (!state) return fail(state.error());
  return drive_batch(context, std::move(*state), nullptr, [this](BatchRun& run) { run_ = &run; });
}

void DrivenBatch::when(std::function<bool(const BatchProgress&)> condition, std::function<void(BatchRun&)> act) {
  awaited_.push_back({std::move(condition), std::move(act), false});
  if (observer.on_progress) return;
  observer.on_progress = [this](const BatchProgress& progress) {
    // What an act waits for comes behind it.
    for (auto& item : awaited_) {
      if (item.is_done || !item.condition(progress)) continue;
      item.is_done = true;
      item.act(*run_);
    }
  };
}

BatchResult DrivenBatch::run(FakeCluster& cluster) {
  return must(
      drive(cluster, [this](const DriverContext&) -> Result<BatchState> { return fresh_state(std::move(*plan_)); }));
}

BatchResult DrivenBatch::resume(FakeCluster& cluster) {
  return must(drive(cluster, [this](const DriverContext& context) -> Result<BatchState> {
    auto recovered = recover(context, previous_, request);
    if (!recovered) return fail(recovered.error());
    return std::move(recovered->state);
  }));
}

Error DrivenBatch::failing_resume(FakeCluster& cluster) {
  const auto result = drive(cluster, [this](const DriverContext& context) -> Result<BatchState> {
    auto recovered = recover(context, previous_);
    REQUIRE_FALSE(recovered);
    return fail(recovered.error());
  });
  return result.error();
}

Fold DrivenBatch::fold() const {
  return must(Fold::load(*directory_));
}

std::string DrivenBatch::states() const {
  const Fold folded = fold();
  for (const auto& damage : folded.damage()) FAIL_CHECK(damage);
  std::string letters;
  for (std::uint64_t step = 0; step < folded.size(); ++step) letters += to_string(folded.task(step).state)[0];
  return letters;
}

std::vector<Record> DrivenBatch::driver_records() const {
  std::vector<Record> records;
  for (int epoch = 1;; ++epoch) {
    const std::string path = directory_->record_path("driver-" + std::to_string(epoch));
    if (::access(path.c_str(), F_OK) != 0) return records;
    must(scan_record_file(path, 0, [&](const DecodedRecord& record, std::uint64_t) {
      records.push_back(record.record);
      return true;
    }));
  }
}

}  // namespace allot::test
