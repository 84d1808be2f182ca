// SPDX-License-Identifier: MIT
// Record files: appending (one writer per file) and scanning (any number of readers, also while it is written).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ledger/record.h"
#include "process/fd.h"
#include "protocol/result.h"

namespace allot {

struct DamagedRegion {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

/// A worker node's record file that does not hold all that was written into it.
struct RecordGap {
  std::string text;       ///< file and offset
  bool is_proven = true;  ///< false: an empty file, whose worker node may have died before it wrote
};

struct ScanReport {
  std::uint64_t valid_end = 0;   ///< offset behind the last whole frame
  std::uint64_t torn_bytes = 0;  ///< bytes behind valid_end: a frame cut short (by a crash, or being written)
  bool tail_is_damaged = false;  ///< those bytes do not begin as a frame does: no writer has left them so
  std::uint64_t last_sequence = 0;
  std::uint64_t unknown_records = 0;   ///< of types that this version does not know
  std::vector<DamagedRegion> damaged;  ///< skipped regions before valid_end (bit rot, zeroed blocks); the first 1 024
  std::uint64_t more_damaged = 0;      ///< regions beyond those
};

/// Called for every good record with the offset of its frame. Return false to stop.
using RecordVisitor = std::function<bool(const DecodedRecord&, std::uint64_t offset)>;

/// Scans frames in `bytes`, which lie at `base_offset` of their file (0: the header is expected first). A frame with a
/// damaged payload is stepped over by its length; after a damaged header the next good one is searched for. Each byte
/// is checksummed once at most: linear time and constant memory whatever the input.
ScanReport scan_frames(std::string_view bytes, std::uint64_t base_offset, const RecordVisitor& visit);

/// Scans a file from `from` (0 or a frame's offset), reading in blocks. Errors: gave_up with path and errno.
/// A missing file is an empty report.
Result<ScanReport> scan_record_file(const std::string& path, std::uint64_t from, const RecordVisitor& visit);

/// What to do after a payload: go on, stop, or count the frame as damaged and go on.
enum class PayloadAnswer : std::uint8_t { next, stop, damaged };
/// For readers that decode only what they need. Called with type and sequence still in the payload, unknown types too.
using PayloadVisitor = std::function<PayloadAnswer(std::string_view payload, std::uint64_t offset)>;
Result<ScanReport> scan_record_payloads(const std::string& path, std::uint64_t from, const PayloadVisitor& visit);

/// Reads single records of one file by the offsets of their frames. Keeps the file open and the block read last, so
/// that records that lie close to each other cost one pread. Not thread-safe.
class RecordReader {
 public:
  static Result<RecordReader> open(const std::string& path);
  /// Errors as read_record_at.
  Result<DecodedRecord> read(std::uint64_t offset);

 private:
  Result<std::string_view> frame_at(std::uint64_t offset);
  bool fill(std::uint64_t offset, std::size_t bytes);

  std::string path_;
  Fd fd_;
  std::string block_;
  std::uint64_t block_begin_ = 0;
};

/// Reads the one record whose frame is at `offset`. Errors: gave_up (no file, no frame there, damaged, an unknown
/// type).
Result<DecodedRecord> read_record_at(const std::string& path, std::uint64_t offset);

/// The end of a file that was left in order.
struct ClosedEnd {
  ClosedRecord record;
  std::uint64_t end = 0;
  std::uint64_t last_sequence = 0;
};
/// Told by the last frame alone, whatever the size of the file. Nothing where the file does not end with a whole record
/// of that type: then it is to be scanned. `fd` is open for reading.
std::optional<ClosedEnd> find_closed_end(int fd);

/// Appends to one file. Not thread-safe. Keeps room allocated ahead (fallocate with KEEP_SIZE) where the file system
/// can, so that finished records of running tasks still fit when the disk is full.
class RecordWriter {
 public:
  /// Opens or creates; scans an existing file unless it was left in order, cuts a torn tail and continues its sequence.
  /// `reserve_bytes`: room kept allocated ahead of the end (0: none).
  static Result<RecordWriter> open(const std::string& path, std::size_t reserve_bytes = 0);
  RecordWriter(RecordWriter&& other) noexcept;
  RecordWriter& operator=(RecordWriter&& other) noexcept;
  ~RecordWriter();

  /// Buffers a record; write() puts all that is buffered into the file with one write(2).
  void add(const Record& record);
  /// Error retry_later (disk full, quota) or gave_up (anything else): what was buffered stays buffered, the file ends
  /// at a whole frame, and the next call tries again.
  Result<void> write();
  Result<void> append(const Record& record) {
    add(record);
    return write();
  }
  /// Forgets what is buffered and not written: of a fact that will not come to be.
  void discard() {
    buffer_.clear();
    sequence_ = written_sequence_;
  }
  /// fdatasync(2). Errors: retry_later, gave_up (also when the file was removed: nobody would find it).
  Result<void> sync();

  /// True while the room kept ahead suffices for one more running task (kMaxFinishedBytes, or `reserve_bytes` if that
  /// is less); tries to allocate more when it runs low. Where the file system cannot allocate ahead: while that much is
  /// free.
  bool has_reserve();

  std::uint64_t offset() const { return offset_; }  ///< end of what write() has put into the file
  int descriptor() const { return fd_; }

 private:
  RecordWriter() = default;
  Result<void> cut_back(const std::string& what, int error);
  std::uint64_t buffered_end() const { return offset_ + buffer_.size(); }
  bool allocate_ahead();

  int fd_ = -1;
  std::string path_;
  std::string buffer_;
  std::uint64_t offset_ = 0;
  std::uint64_t sequence_ = 0;
  std::uint64_t written_sequence_ = 0;
  std::uint64_t allocated_to_ = 0;
  std::size_t reserve_bytes_ = 0;
  bool reserve_supported_ = true;
  bool needs_cut_ = false;  ///< a failed write left bytes behind offset_ that could not be cut yet
};

}  // namespace allot
