// SPDX-License-Identifier: MIT
// Details of many tasks, one after the other.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ledger/fold.h"
#include "ledger/record_file.h"
#include "ledger/task_history.h"
#include "protocol/result.h"

namespace allot {

/// Reads the details of many tasks: keeps record files open (64 at most) and what was read of them last, so that steps
/// in ascending order cost about a microsecond each. Not thread-safe; the fold must outlive it.
class DetailReader {
 public:
  explicit DetailReader(const Fold& fold) : fold_(fold), readers_(fold.record_files().size()) {}
  /// As Fold::detail.
  Result<TaskDetail> detail(std::uint64_t step);
  /// The same facts run by run, every record read. Errors: fix_request (no such step).
  Result<TaskHistory> history(std::uint64_t step);

 private:
  using RecordRef = Fold::RecordRef;
  Result<DecodedRecord> read(const RecordRef& ref);
  bool is_decisive(const RecordRef& ref) const;
  void take_facts(const RecordRef& ref, const Record& record, TaskDetail& detail) const;
  std::string describe(const RecordRef& ref, const Record& record) const;
  TaskRun begin_run(std::uint64_t step, std::uint32_t submission, std::uint16_t restart) const;

  const Fold& fold_;
  std::vector<std::optional<RecordReader>> readers_;
  std::size_t open_ = 0;
};

}  // namespace allot
