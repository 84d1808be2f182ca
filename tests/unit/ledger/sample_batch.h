// SPDX-License-Identifier: MIT
// A batch in a temporary directory, written record by record.
#pragma once

#include <map>
#include <string>

#include "ledger/batch_directory.h"
#include "ledger/fold.h"
#include "ledger/record_file.h"
#include "ledger/task_table.h"
#include "tests/support/catch.h"
#include "tests/support/temp_directory.h"

namespace allot::test {

class SampleBatch {
 public:
  explicit SampleBatch(std::uint64_t steps, const std::string& batch_id = {}) {
    BatchInfo info;
    info.batch_id = batch_id;
    auto made = BatchDirectory::create(directory_ / "batch", info);
    REQUIRE(made);
    batch_ = *made;
    auto table = TaskTableWriter::open(batch_.task_data_path(), batch_.task_index_path());
    REQUIRE(table);
    TaskSpec task;
    task.argv = {"true"};
    if (steps > 0) REQUIRE(table->append(task, steps));
    REQUIRE(table->sync());
  }

  const BatchDirectory& batch() const { return batch_; }
  std::string path(const std::string& name) const { return batch_.path() + "/" + name; }

  /// Appends a record; returns the offset of its frame.
  std::uint64_t add(const std::string& writer, const Record& record) {
    auto it = writers_.find(writer);
    if (it == writers_.end()) {
      auto opened = RecordWriter::open(batch_.record_path(writer));
      REQUIRE(opened);
      it = writers_.emplace(writer, std::move(*opened)).first;
    }
    const std::uint64_t offset = std::max<std::uint64_t>(it->second.offset(), 8);
    REQUIRE(it->second.append(record));
    return offset;
  }
  std::uint64_t opened(const std::string& writer, const std::string& host = "node1") {
    OpenedRecord record;
    record.host = host;
    record.pid = 4711;
    return add(writer, record);
  }
  std::uint64_t intent(std::uint32_t submission, StepRanges steps, const std::string& writer = "driver-1") {
    IntentRecord record;
    record.submission = submission;
    record.token = "token-" + std::to_string(submission) + "-" + writer;
    record.id_base = "0123456789ab";
    record.is_array = steps.size() > 1;
    record.step_origin = steps.empty() ? 0 : steps.front();
    record.steps = std::move(steps);
    return add(writer, record);
  }
  std::uint64_t started(RunKey key, const std::string& writer = "host-0") {
    return add(writer, StartedRecord{key, 1, 1'700'000'000'000'000'000});
  }
  std::uint64_t finished(RunKey key, ExitClass exit_class = ExitClass::done, const std::string& writer = "host-0") {
    FinishedRecord record;
    record.key = key;
    record.started_ns = 1'700'000'000'000'000'000;
    record.ended_ns = 1'700'000'000'520'000'000;
    record.exit_info.exit_class = exit_class;
    if (exit_class == ExitClass::done) record.exit_info.exit_code = 0;
    if (exit_class == ExitClass::error) record.exit_info.exit_code = 3;
    if (exit_class == ExitClass::signaled) record.exit_info.signal = 11;
    record.usage.wall_seconds = 0.52;
    return add(writer, record);
  }
  std::uint64_t verdict(RunKey key, ExitClass exit_class = ExitClass::lost, bool started = true,
                        const std::string& writer = "driver-1") {
    return add(writer, VerdictRecord{key, started, {exit_class, {}, {}, "its guard (pid 4711) is gone"}, 5});
  }
  std::uint64_t withdrawn(std::uint32_t submission, StepRanges steps, const std::string& writer = "driver-1") {
    return add(writer, WithdrawnRecord{submission, std::move(steps), "cancelled", 6});
  }
  std::uint64_t abandoned(std::uint32_t step, std::uint32_t cause, const std::string& writer = "driver-1") {
    return add(writer, AbandonedRecord{step, cause, "its dependency failed", 7});
  }

  Fold fold() const {
    auto folded = Fold::load(batch_);
    REQUIRE(folded);
    return std::move(*folded);
  }

 private:
  TempDirectory directory_;
  BatchDirectory batch_;
  std::map<std::string, RecordWriter> writers_;
};

}  // namespace allot::test
