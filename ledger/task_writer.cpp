// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "ledger/bytes.h"
#include "ledger/checksum.h"
#include "ledger/task_codec.h"
#include "ledger/task_table.h"
#include "process/fault_point.h"
#include "process/fd.h"

namespace allot {

using ledger::kIndexEntryBytes;
using ledger::kMaxSteps;
using ledger::kRowHeaderBytes;
using ledger::kTaskDataHeader;

namespace {

constexpr std::size_t kDataBufferBytes = 256 * 1024;
// The index may name only rows that are safe on disk, so each filled index buffer costs one fdatasync of the data:
// every 131 072 steps.
constexpr std::size_t kIndexBufferBytes = 1024 * 1024;

Error table_error(int error, const std::string& what) {
  const bool passing = error == ENOSPC || error == EDQUOT || error == EAGAIN || error == ENOMEM;
  return {passing ? ErrorCode::retry_later : ErrorCode::gave_up, what + ": " + errno_text(error)};
}

Result<void> sync_data(int fd, const std::string& path) {
  while (::fdatasync(fd) != 0) {
    if (errno != EINTR) return fail(table_error(errno, path + ": cannot be synced to disk"));
  }
  return {};
}

Result<std::uint64_t> size_of(int fd, const std::string& path) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return fail(table_error(errno, path));
  return static_cast<std::uint64_t>(status.st_size);
}

}  // namespace

struct TaskTableWriter::Impl {
  // One of the two files: what is in it, and what is to be appended.
  struct File {
    std::string path;
    Fd fd;
    std::uint64_t size = 0;  // bytes in the file that count
    std::string buffer;
    bool torn = false;  // more than that is in it: a failed write, or one taken back, could not be cut off yet

    std::uint64_t end() const { return size + buffer.size(); }

    Result<void> open(const std::string& file_path) {
      path = file_path;
      // O_APPEND: after a failed write was cut off, the next one begins at the end without a seek.
      fd = open_private(path, O_RDWR | O_APPEND);
      if (!fd) return fail(table_error(errno, path));
      auto bytes = size_of(fd.get(), path);
      if (!bytes) return fail(std::move(bytes.error()));
      size = *bytes;
      return {};
    }

    Result<void> cut(std::uint64_t to) {
      size = to;
      torn = ::ftruncate(fd.get(), static_cast<off_t>(to)) != 0;
      if (!torn) return {};
      return fail(table_error(errno, path + ": cannot be cut back to " + std::to_string(to) + " bytes"));
    }

    // Writes the buffer. After a failure the file is as long as before and the buffer is kept.
    Result<void> flush() {
      if (buffer.empty()) return {};
      if (torn) {
        if (auto result = cut(size); !result) return result;
      }
      ALLOT_FAULT_POINT("table_write");
      std::size_t written = 0;
      if (!write_all(fd.get(), buffer, &written)) {
        Error error = table_error(errno, path + ": cannot be written");
        if (written > 0) {
          if (auto cut_result = cut(size); !cut_result) return cut_result;
        }
        return fail(std::move(error));
      }
      size += written;
      buffer.clear();
      return {};
    }
  };

  File data;
  File index;
  bool data_synced = true;

  std::uint64_t steps() const { return index.end() / kIndexEntryBytes; }

  Result<void> open(const std::string& data_path, const std::string& index_path, std::optional<std::uint64_t> most);
  Result<void> check_last_row(std::uint64_t* end) const;
  Result<void> sync_rows();
  Result<void> flush_index();
  Result<void> add_entries(std::uint64_t row_offset, std::uint64_t count);
  Result<std::uint64_t> append(std::uint64_t count, auto&& encode);
};

Result<void> TaskTableWriter::Impl::open(const std::string& data_path, const std::string& index_path,
                                         std::optional<std::uint64_t> most) {
  if (auto result = data.open(data_path); !result) return result;
  if (auto result = index.open(index_path); !result) return result;
  if (index.size % kIndexEntryBytes != 0) {  // an entry that a killed writer left half written
    if (auto result = index.cut(index.size - index.size % kIndexEntryBytes); !result) return result;
  }
  if (most && index.size < *most * kIndexEntryBytes) {
    return fail(ErrorCode::gave_up, index.path + ": damaged: it names the rows of " + std::to_string(steps()) +
                                        " tasks, and the batch has " + std::to_string(*most));
  }
  if (most && index.size > *most * kIndexEntryBytes) {
    if (auto result = index.cut(*most * kIndexEntryBytes); !result) return result;
  }
  char header[8] = {};
  if (pread_all(data.fd.get(), header, sizeof header, 0) < 0) return fail(table_error(errno, data.path));
  const bool whole_header = data.size >= sizeof header;
  if (whole_header && std::string_view(header, sizeof header) != kTaskDataHeader) {
    return fail(ErrorCode::gave_up, data.path + ": is no task table of this format");
  }
  std::uint64_t end = whole_header ? sizeof header : 0;
  if (index.size > 0) {
    if (auto result = check_last_row(&end); !result) return result;
  }
  if (data.size > end) {  // rows that never got into the index
    if (auto result = data.cut(end); !result) return result;
  }
  if (end == 0) data.buffer.assign(kTaskDataHeader);
  data_synced = false;
  return {};
}

// The index names only rows that were synced before, so a bad last row is damage, not a torn tail: its steps may have
// been submitted, and their numbers must not be given to other commands.
Result<void> TaskTableWriter::Impl::check_last_row(std::uint64_t* end) const {
  const std::uint64_t step = index.size / kIndexEntryBytes - 1;
  char entry[kIndexEntryBytes] = {};
  char head[kRowHeaderBytes] = {};
  if (pread_all(index.fd.get(), entry, sizeof entry, static_cast<off_t>(step * kIndexEntryBytes)) < 0) {
    return fail(table_error(errno, index.path));
  }
  const auto offset = ledger::load<std::uint64_t>(entry);
  auto damaged = [&](const char* why) {
    return fail(ErrorCode::gave_up, data.path + ": the row of step " + std::to_string(step) + " at offset " +
                                        std::to_string(offset) + " is damaged (" + why +
                                        "); nothing can be added to this batch: make a new one for further tasks");
  };
  if (offset < kTaskDataHeader.size() || offset > data.size || data.size - offset < kRowHeaderBytes) {
    return damaged("it lies outside of the file");
  }
  if (pread_all(data.fd.get(), head, sizeof head, static_cast<off_t>(offset)) < 0) {
    return fail(table_error(errno, data.path));
  }
  const auto length = ledger::load<std::uint32_t>(head);
  if (length > kMaxRowBytes || length > data.size - offset - kRowHeaderBytes) return damaged("its length is wrong");
  std::string payload(length, '\0');
  if (pread_all(data.fd.get(), payload.data(), length, static_cast<off_t>(offset + kRowHeaderBytes)) < 0) {
    return fail(table_error(errno, data.path));
  }
  if (ledger::checksum(payload) != ledger::load<std::uint32_t>(head + 4)) return damaged("its checksum does not match");
  *end = offset + kRowHeaderBytes + length;
  return {};
}

Result<void> TaskTableWriter::Impl::sync_rows() {
  if (auto result = data.flush(); !result) return result;
  if (data_synced) return {};
  ALLOT_FAULT_POINT("table_sync");
  if (auto result = sync_data(data.fd.get(), data.path); !result) return result;
  data_synced = true;
  return {};
}

Result<void> TaskTableWriter::Impl::flush_index() {
  if (index.buffer.empty()) return {};
  if (auto result = sync_rows(); !result) return result;
  return index.flush();
}

Result<void> TaskTableWriter::Impl::add_entries(std::uint64_t row_offset, std::uint64_t count) {
  // Room for a large array is allocated first: its entries are then either all written or none of them seen by a
  // reader.
  if (count > kIndexBufferBytes / kIndexEntryBytes) {
    const auto bytes = static_cast<off_t>(index.buffer.size() + count * kIndexEntryBytes);
    if (::fallocate(index.fd.get(), FALLOC_FL_KEEP_SIZE, static_cast<off_t>(index.size), bytes) != 0 &&
        errno != EOPNOTSUPP && errno != ENOSYS && errno != EINTR) {
      return fail(table_error(errno, index.path + ": no room for " + std::to_string(count) + " steps"));
    }
  }
  char entry[kIndexEntryBytes];
  ledger::store(entry, row_offset);
  while (count > 0) {
    const std::size_t part =
        std::min<std::uint64_t>(count, (kIndexBufferBytes - index.buffer.size()) / kIndexEntryBytes);
    for (std::size_t i = 0; i < part; ++i) index.buffer.append(entry, sizeof entry);
    count -= part;
    if (index.buffer.size() >= kIndexBufferBytes) {
      if (auto result = flush_index(); !result) return result;
    }
  }
  return {};
}

Result<std::uint64_t> TaskTableWriter::Impl::append(std::uint64_t count, auto&& encode) {
  const std::uint64_t first = steps();
  if (count == 0 || count > kMaxSteps - first) {
    return fail(ErrorCode::fix_request, "a task for " + std::to_string(count) + " steps: a batch may have 1 to " +
                                            std::to_string(kMaxSteps) + " and has " + std::to_string(first));
  }
  const std::uint64_t row_offset = data.end();
  if (auto result = encode(data.buffer, ledger::RowSteps{first, count}); !result)
    return fail(std::move(result.error()));
  data_synced = false;
  Result<void> result;
  if (data.buffer.size() >= kDataBufferBytes) {
    result = data.flush();
    if (data.buffer.capacity() > 2 * kDataBufferBytes) data.buffer.shrink_to_fit();
  }
  if (result) result = add_entries(row_offset, count);
  if (result) return first;

  // Take it back: the caller is told that nothing of it is in the table.
  if (data.size <= row_offset) data.buffer.resize(row_offset - data.size);
  const std::uint64_t index_end = first * kIndexEntryBytes;
  if (index.size <= index_end) {
    index.buffer.resize(index_end - index.size);
  } else {
    index.buffer.clear();
    [[maybe_unused]] auto tried_again_before_the_next_write = index.cut(index_end);
  }
  return fail(std::move(result.error()));
}

TaskTableWriter::TaskTableWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TaskTableWriter::TaskTableWriter(TaskTableWriter&&) noexcept = default;
TaskTableWriter& TaskTableWriter::operator=(TaskTableWriter&&) noexcept = default;
TaskTableWriter::~TaskTableWriter() = default;

Result<TaskTableWriter> TaskTableWriter::open(const std::string& data_path, const std::string& index_path,
                                              std::optional<std::uint64_t> most) {
  auto impl = std::make_unique<Impl>();
  if (auto result = impl->open(data_path, index_path, most); !result) return fail(std::move(result.error()));
  return TaskTableWriter(std::move(impl));
}

Result<std::uint64_t> TaskTableWriter::append(const TaskSpec& task, std::uint64_t count) {
  return impl_->append(
      count, [&](std::string& bytes, ledger::RowSteps steps) { return ledger::append_row(bytes, task, steps); });
}

Result<std::uint64_t> TaskTableWriter::append_shell_line(std::string_view line, std::uint64_t source_line) {
  return impl_->append(1, [&](std::string& bytes, ledger::RowSteps steps) {
    return ledger::append_shell_row(bytes, line, source_line, steps);
  });
}

std::uint64_t TaskTableWriter::size() const {
  return impl_->steps();
}

Result<void> TaskTableWriter::sync() {
  if (auto result = impl_->sync_rows(); !result) return result;
  if (auto result = impl_->flush_index(); !result) return result;
  ALLOT_FAULT_POINT("table_sync");
  return sync_data(impl_->index.fd.get(), impl_->index.path);
}

}  // namespace allot
