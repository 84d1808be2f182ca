// SPDX-License-Identifier: MIT
#include "engine/driver_log.h"

#include <sys/stat.h>

#include <chrono>

#include "process/fault_point.h"

namespace allot {
namespace {

// So that verdicts and the driver's end still fit when the disk is full.
constexpr std::size_t kReserveBytes = 64 * 1024;

std::pair<std::uint64_t, std::uint64_t> file_at(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return {0, 0};
  return {info.st_dev, info.st_ino};
}

}  // namespace

std::int64_t unix_nanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

DriverLog::DriverLog(RecordWriter writer, std::string path)
    : writer_(std::move(writer)), path_(std::move(path)), file_(file_at(path_)) {}

Result<DriverLog> DriverLog::open(const BatchDirectory& batch, const DriverIdentity& driver) {
  std::string path = batch.record_path("driver-" + std::to_string(driver.epoch));
  auto writer = RecordWriter::open(path, kReserveBytes);
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
  return DriverLog(std::move(*writer), std::move(path));
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

// What is not found at its path may be on a disk that is not mounted now: the file itself says whether it was removed.
Result<void> DriverLog::check() {
  if (file_at(path_) == file_) return {};
  auto synced = sync();
  if (synced || synced.error().code == ErrorCode::retry_later) return {};
  return fail(ErrorCode::gone, path_ + " was removed while tasks ran: what became of them is not kept");
}

}  // namespace allot
