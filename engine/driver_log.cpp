// SPDX-License-Identifier: MIT
#include "engine/driver_log.h"

#include <chrono>

#include "process/fault_point.h"

namespace allot {
namespace {

// So that verdicts and the driver's end still fit when the disk is full.
constexpr std::size_t kReserveBytes = 64 * 1024;

}  // namespace

std::int64_t unix_nanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

Result<DriverLog> DriverLog::open(const BatchDirectory& batch, const DriverIdentity& driver) {
  auto writer = RecordWriter::open(batch.record_path("driver-" + std::to_string(driver.epoch)), kReserveBytes);
  if (!writer) return fail(std::move(writer.error()));
  OpenedRecord opened;
  opened.host = driver.host;
  opened.boot_id = driver.boot_id;
  opened.pid = driver.pid;
  opened.start_ticks = driver.start_ticks;
  opened.at_ns = unix_nanoseconds();
  if (auto written = writer->append(opened); !written) return fail(std::move(written.error()));
  writer->has_reserve();
  ALLOT_FAULT_POINT("driver_opened");
  return DriverLog(std::move(*writer));
}

Result<void> DriverLog::flush() {
  if (!has_notes_) return {};
  ALLOT_FAULT_POINT("driver_note_write");
  if (auto written = writer_.write(); !written) return written;
  has_notes_ = false;
  return {};
}

Result<void> DriverLog::commit(const Record& record) {
  if (auto flushed = flush(); !flushed) return flushed;
  writer_.add(record);
  ALLOT_FAULT_POINT("driver_commit_write");
  if (auto written = writer_.write(); !written) {
    writer_.discard();
    return written;
  }
  ALLOT_FAULT_POINT("driver_commit_sync");
  if (auto synced = writer_.sync(); !synced) {
    // It is in the file, so it counts; only power loss could take it away.
    return fail(ErrorCode::gave_up, synced.error().message);
  }
  return {};
}

Result<void> DriverLog::sync() {
  if (auto flushed = flush(); !flushed) return flushed;
  return writer_.sync();
}

}  // namespace allot
