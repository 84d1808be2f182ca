// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "ledger/record_codec.h"
#include "ledger/record_file.h"
#include "process/fault_point.h"
#include "process/fd.h"

namespace allot {
namespace {

constexpr std::uint64_t kAllocationStepBytes = 256 * 1024;
// What has been larger once (a long error text) does not stay in a guard's memory.
constexpr std::size_t kKeptBufferBytes = 64 * 1024;

Error write_error(int error, const std::string& what) {
  const bool passing = error == ENOSPC || error == EDQUOT || error == EAGAIN || error == ENOMEM || error == EINTR;
  return {passing ? ErrorCode::retry_later : ErrorCode::gave_up, what + ": " + errno_text(error)};
}

}  // namespace

Result<RecordWriter> RecordWriter::open(const std::string& path, std::size_t reserve_bytes) {
  RecordWriter writer;
  writer.path_ = path;
  writer.reserve_bytes_ = reserve_bytes;
  // O_APPEND, so that after a failed write was cut off the next one begins at the end without a seek.
  writer.fd_ = open_private(path, O_RDWR | O_APPEND).release();
  if (writer.fd_ < 0) return fail(write_error(errno, path));
  if (const auto closed = find_closed_end(writer.fd_)) {
    writer.offset_ = writer.allocated_to_ = closed->end;
    writer.sequence_ = writer.written_sequence_ = closed->last_sequence;
    writer.allocate_ahead();
    return writer;
  }
  auto report = scan_record_payloads(path, 0, [](std::string_view, std::uint64_t) { return PayloadAnswer::next; });
  if (!report) return fail(std::move(report.error()));
  writer.offset_ = report->valid_end;
  writer.allocated_to_ = report->valid_end;
  writer.sequence_ = writer.written_sequence_ = report->last_sequence;
  if (report->torn_bytes > 0) {
    // Without one good frame the torn tail is the whole file: be sure that it is a record file before it is emptied. A
    // power loss can leave zeros.
    char head[sizeof kRecordFileHeader - 1] = {};
    if (writer.offset_ == 0 && pread_all(writer.fd_, head, sizeof head, 0) == static_cast<ssize_t>(sizeof head) &&
        std::any_of(std::begin(head), std::end(head), [](char c) { return c != 0; })) {
      return fail(ErrorCode::gave_up, path + ": is no record file of this format; move it away to go on without it");
    }
    if (::ftruncate(writer.fd_, static_cast<off_t>(writer.offset_)) != 0) {
      return fail(write_error(errno, path + ": the torn tail cannot be cut off"));
    }
  }
  if (writer.offset_ == 0) writer.buffer_.assign(kRecordFileHeader);
  writer.allocate_ahead();
  return writer;
}

RecordWriter::RecordWriter(RecordWriter&& other) noexcept {
  *this = std::move(other);
}

RecordWriter& RecordWriter::operator=(RecordWriter&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(path_, other.path_);
  std::swap(buffer_, other.buffer_);
  std::swap(offset_, other.offset_);
  std::swap(sequence_, other.sequence_);
  std::swap(written_sequence_, other.written_sequence_);
  std::swap(allocated_to_, other.allocated_to_);
  std::swap(reserve_bytes_, other.reserve_bytes_);
  std::swap(reserve_supported_, other.reserve_supported_);
  std::swap(needs_cut_, other.needs_cut_);
  return *this;
}

RecordWriter::~RecordWriter() {
  if (fd_ < 0) return;
  if (allocated_to_ > offset_ || needs_cut_) {
    // Gives back what was allocated ahead. If it fails the file keeps some room it does not need.
    [[maybe_unused]] const int ignored = ::ftruncate(fd_, static_cast<off_t>(offset_));
  }
  ::close(fd_);
}

void RecordWriter::add(const Record& record) {
  sequence_ += append_frame(buffer_, record, sequence_ + 1, buffered_end());
}

Result<void> RecordWriter::cut_back(const std::string& what, int error) {
  // This gives back the room allocated ahead as well; it is asked for again at once.
  needs_cut_ = ::ftruncate(fd_, static_cast<off_t>(offset_)) != 0;
  allocated_to_ = offset_;
  allocate_ahead();
  return fail(write_error(error, path_ + ": " + what));
}

Result<void> RecordWriter::write() {
  if (buffer_.empty()) return {};
  if (needs_cut_) {
    if (::ftruncate(fd_, static_cast<off_t>(offset_)) != 0) {
      return fail(write_error(errno, path_ + ": what a failed write left behind cannot be cut off"));
    }
    needs_cut_ = false;
  }
  ALLOT_FAULT_POINT("record_write_before");
  std::size_t written = 0;
  if (!write_all(fd_, buffer_, &written)) {
    const int error = errno;
    if (written > 0) return cut_back("a record cannot be written", error);
    return fail(write_error(error, path_ + ": a record cannot be written"));
  }
  ALLOT_FAULT_POINT("record_write_after");
  offset_ += written;
  written_sequence_ = sequence_;
  buffer_.clear();
  if (buffer_.capacity() > kKeptBufferBytes) buffer_.shrink_to_fit();
  if (allocated_to_ < offset_ + reserve_bytes_) allocate_ahead();
  return {};
}

Result<void> RecordWriter::sync() {
  struct stat info {};
  if (::fstat(fd_, &info) == 0 && info.st_nlink == 0) {
    return fail(ErrorCode::gave_up, path_ + ": was removed; what it held is lost");
  }
  ALLOT_FAULT_POINT("record_sync_before");
  while (::fdatasync(fd_) != 0) {
    if (errno != EINTR) return fail(write_error(errno, path_ + ": cannot be synced to disk"));
  }
  ALLOT_FAULT_POINT("record_sync_after");
  return {};
}

// Allocates so that at least reserve_bytes_ lie behind everything buffered, a step more where there is room.
bool RecordWriter::allocate_ahead() {
  if (reserve_bytes_ == 0 || !reserve_supported_) return reserve_bytes_ == 0;
  const std::uint64_t needed = buffered_end() + reserve_bytes_;
  if (allocated_to_ >= needed) return true;
  for (const std::uint64_t target : {needed + kAllocationStepBytes, needed}) {
    int result = 0;
    do {
      result = ::fallocate(fd_, FALLOC_FL_KEEP_SIZE, static_cast<off_t>(allocated_to_),
                           static_cast<off_t>(target - allocated_to_));
    } while (result != 0 && errno == EINTR);
    if (result == 0) {
      allocated_to_ = target;
      return true;
    }
    if (errno == EOPNOTSUPP || errno == ENOSYS) {
      reserve_supported_ = false;
      return false;
    }
  }
  return false;
}

bool RecordWriter::has_reserve() {
  if (allocate_ahead()) return true;
  const std::uint64_t enough = std::min<std::uint64_t>(reserve_bytes_, kMaxFinishedBytes);
  if (reserve_supported_) return allocated_to_ >= buffered_end() + enough;
  struct statvfs space {};
  return ::fstatvfs(fd_, &space) == 0 && std::uint64_t{space.f_bavail} * space.f_frsize >= enough + buffer_.size();
}

}  // namespace allot
