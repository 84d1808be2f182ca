// SPDX-License-Identifier: MIT
#include "worker_node/own_batch.h"

#include <pwd.h>
#include <unistd.h>

#include <chrono>
#include <climits>
#include <cstdlib>

#include "ledger/environment.h"
#include "ledger/writer_name.h"
#include "process/fd.h"
#include "process/identity.h"

namespace allot {
namespace {

std::int64_t real_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace

Result<std::string> default_batches_directory() {
  if (const char* state = std::getenv("XDG_STATE_HOME"); state != nullptr && state[0] == '/') {
    return std::string(state) + "/allot/batches";
  }
  const char* home = std::getenv("HOME");
  if (home == nullptr || home[0] != '/') {
    const passwd* entry = ::getpwuid(::geteuid());
    home = entry != nullptr ? entry->pw_dir : nullptr;
  }
  if (home == nullptr || home[0] != '/') {
    return fail(ErrorCode::fix_request, "no place for batches: set HOME or XDG_STATE_HOME, or name a batch directory");
  }
  return std::string(home) + "/.local/state/allot/batches";
}

Result<void> OwnBatch::make() {
  auto base = default_batches_directory();
  if (!base) return fail(base.error());
  auto id = new_id_base();
  if (!id) return fail(id.error());
  char cwd[PATH_MAX];
  if (::getcwd(cwd, sizeof cwd) == nullptr) return fail(errno_error(errno, "the current directory"));
  BatchInfo info;
  info.batch_id = *id;
  info.name = "commands submitted to cluster " + cluster_name_;
  info.cluster = cluster_name_;
  info.host = host_name();
  info.boot_id = boot_id();
  info.cwd = cwd;
  info.allot_version = ALLOT_VERSION;
  info.created_ns = real_ns();
  auto batch = BatchDirectory::create(*base + "/" + *id, info);
  if (!batch) return fail(batch.error());
  if (auto written = write_environment(batch->environment_path(), capture_environment(::environ)); !written)
    return written;
  auto driver = batch->claim();
  if (!driver) return fail(driver.error());
  auto table = TaskTableWriter::open(batch->task_data_path(), batch->task_index_path());
  if (!table) return fail(table.error());
  auto records = RecordWriter::open(batch->record_path(driver_writer_name(driver->epoch)));
  if (!records) return fail(records.error());
  OpenedRecord opened;
  opened.host = driver->host;
  opened.boot_id = driver->boot_id;
  opened.pid = driver->pid;
  opened.start_ticks = driver->start_ticks;
  opened.at_ns = real_ns();
  if (auto written = records->append(opened); !written) return written;
  batch_ = std::move(*batch);
  table_.emplace(std::move(*table));
  records_.emplace(std::move(*records));
  return {};
}

Result<Submission> OwnBatch::write(const std::string& command, const std::string& name,
                                   const RequestedResources& resources, std::uint64_t count, bool is_array) {
  if (!records_) {
    if (auto made = make(); !made) return fail(made.error());
  }
  TaskSpec task;
  task.shell_line = command;
  task.name = name;
  task.resources = resources;
  auto first = table_->append(task, count);
  if (!first) return fail(first.error());
  if (auto synced = table_->sync(); !synced) return fail(synced.error());
  auto base = new_id_base();
  if (!base) return fail(base.error());
  Submission submission;
  submission.id_base = *base;
  submission.token = "own-" + *base;
  submission.batch_directory = batch_.path();
  submission.number = ++last_number_;
  submission.steps = StepRanges(*first, count);
  submission.is_array = is_array;
  submission.step_origin = *first;
  submission.resources = resources;
  submission.name = name;
  if (auto written = records_->append(intent_of(submission, real_ns())); !written) {
    records_->discard();
    return fail(written.error());
  }
  if (auto synced = records_->sync(); !synced) return fail(synced.error());
  return submission;
}

Result<void> OwnBatch::record_answer(const Submission& submission, const std::string& error) {
  SubmittedRecord record;
  record.submission = submission.number;
  record.error = error;
  record.at_ns = real_ns();
  return records_->append(record);
}

}  // namespace allot
