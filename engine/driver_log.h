// SPDX-License-Identifier: MIT
// The driver's own record file: intents, verdicts, withdrawals, its beginning and end.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "ledger/batch_directory.h"
#include "ledger/record_file.h"
#include "protocol/result.h"

namespace allot {

/// Not thread-safe.
class DriverLog {
 public:
  /// Opens records/driver-EPOCH and records who writes it. Errors: as RecordWriter::open and write.
  static Result<DriverLog> open(const BatchDirectory& batch, const DriverIdentity& driver);

  /// Buffers a record that must be stored before the next commit(), or soon.
  void note(const Record& record) {
    writer_.add(record);
    has_notes_ = true;
  }
  /// Writes what is buffered. On error it stays buffered.
  Result<void> flush();
  /// flush(), then writes this one and syncs. When it returns an error with retry_later, `record` has not become a
  /// fact.
  Result<void> commit(const Record& record);
  /// Writes what is buffered and syncs.
  Result<void> sync();

  /// Errors: gone (it was removed: nothing that it is told is kept).
  Result<void> check();

  bool has_reserve() { return writer_.has_reserve(); }

 private:
  DriverLog(RecordWriter writer, std::string path);

  RecordWriter writer_;
  std::string path_;
  std::pair<std::uint64_t, std::uint64_t> file_;  // its device and inode
  bool has_notes_ = false;
};

/// Now, as nanoseconds since 1970: for records.
std::int64_t unix_nanoseconds();

}  // namespace allot
