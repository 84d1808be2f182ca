// SPDX-License-Identifier: MIT
// A batch with one submission, as a driver leaves it for a scheduler's jobs, and elements of it that really run.
#pragma once

#include <sys/stat.h>

#include <string>
#include <utility>
#include <vector>

#include "ledger/driver_records.h"
#include "ledger/environment.h"
#include "ledger/fold.h"
#include "ledger/output_store.h"
#include "ledger/record_file.h"
#include "ledger/submission_file.h"
#include "ledger/task_table.h"
#include "process/install_paths.h"
#include "protocol/distributor_id.h"
#include "tests/support/catch.h"
#include "tests/support/run_program.h"
#include "tests/support/temp_directory.h"

namespace allot::test {

class ElementBatch {
 public:
  static constexpr std::uint32_t kSubmission = 7;

  /// A task for each line; the submission has those at `steps` (all, if empty).
  explicit ElementBatch(const std::vector<std::string>& lines, StepRanges steps = {}) {
    BatchInfo info;
    // Of its own: by them slots are claimed on this host, and what a dead guard left is found.
    const auto id = new_id_base(), base = new_id_base();
    REQUIRE((id && base));
    info.batch_id = *id;
    info.cwd = "/";
    auto made = BatchDirectory::create(directory_ / "batch", info);
    REQUIRE(made);
    batch_ = *made;
    REQUIRE(write_environment(batch_.environment_path(), {{"PATH", "/usr/local/bin:/usr/bin:/bin"}}));
    auto table = TaskTableWriter::open(batch_.task_data_path(), batch_.task_index_path());
    REQUIRE(table);
    for (const std::string& line : lines) REQUIRE(table->append_shell_line(line, 1));
    REQUIRE(table->sync());
    intent_.submission = kSubmission;
    intent_.token = "token";
    intent_.id_base = *base;
    intent_.is_array = true;
    intent_.steps = steps.empty() ? StepRanges(0, lines.size()) : std::move(steps);
    add("driver-1", intent_);
    REQUIRE(write_submission_file(path(), intent_));
    REQUIRE(::mkdir((directory_ / "run").c_str(), 0700) == 0);
  }

  const std::string& path() const { return batch_.path(); }
  const BatchDirectory& batch() const { return batch_; }
  const std::string& directory() const { return directory_.path(); }

  void add(const std::string& writer, const Record& record) {
    auto records = RecordWriter::open(batch_.record_path(writer));
    REQUIRE(records);
    REQUIRE(records->append(record));
  }

  /// How an element of this submission is started; what is given comes on top.
  ProgramOptions element(const std::vector<std::string>& arguments,
                         const std::vector<std::pair<std::string, std::string>>& environment = {}) const {
    ProgramOptions options;
    options.argv = {element_program(), "batch=" + path(), "submission=" + std::to_string(kSubmission)};
    options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
    options.environment = environment;
    options.environment.emplace_back("XDG_RUNTIME_DIR", directory_ / "run");
    options.timeout = std::chrono::seconds(100);
    return options;
  }
  ProgramOutcome run(const std::vector<std::string>& arguments,
                     const std::vector<std::pair<std::string, std::string>>& environment = {}) const {
    return run_program(element(arguments, environment));
  }

  /// What the ledger says; no damage is allowed in it.
  Fold fold() const {
    auto folded = Fold::load(batch_);
    REQUIRE(folded);
    for (const std::string& damage : folded->damage()) FAIL_CHECK(damage);
    return std::move(*folded);
  }
  TaskDetail detail(std::uint64_t step) const {
    const Fold folded = fold();
    auto detail = folded.detail(step);
    REQUIRE(detail);
    return std::move(*detail);
  }
  /// "done", "error (3)", "queued", …
  std::string state(std::uint64_t step) const {
    const Fold folded = fold();
    if (!folded.task(step).has_end) return std::string(to_string(folded.task(step).state));
    return describe(detail(step).exit_info);
  }
  std::vector<std::string> states() const {
    std::vector<std::string> all;
    for (std::uint64_t step = 0; step < fold().size(); ++step) all.push_back(state(step));
    return all;
  }
  std::string output(std::uint64_t step) const {
    std::string bytes;
    const auto read = read_output(batch_, detail(step), OutputStream::standard_output, [&bytes](std::string_view part) {
      bytes += part;
      return true;
    });
    REQUIRE(read);
    return bytes;
  }
  /// Sessions of guards, in all files of the batch.
  std::vector<OpenedRecord> sessions() const {
    std::vector<OpenedRecord> found;
    const Fold folded = fold();
    for (const std::string& name : folded.record_files()) {
      REQUIRE(scan_record_file(batch_.record_path(name), 0, [&found](const DecodedRecord& record, std::uint64_t) {
        if (const auto* opened = std::get_if<OpenedRecord>(&record.record)) found.push_back(*opened);
        return true;
      }));
    }
    return found;
  }

 private:
  TempDirectory directory_;
  BatchDirectory batch_;
  IntentRecord intent_;
};

}  // namespace allot::test
