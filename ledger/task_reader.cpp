// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "ledger/bytes.h"
#include "ledger/checksum.h"
#include "ledger/task_codec.h"
#include "ledger/task_table.h"
#include "process/fd.h"

namespace allot {

using ledger::kIndexEntryBytes;
using ledger::kRowHeaderBytes;
using ledger::kTaskDataHeader;

namespace {

// Steps are mostly read in ascending order: one pread serves many. Small, because guards read, too, and their resident
// set is where their tasks' figures begin.
constexpr std::size_t kIndexBlockBytes = 4096;
constexpr std::size_t kDataBlockBytes = 16 * 1024;
constexpr std::uint64_t kNoOffset = ~std::uint64_t{0};

// What passes (no descriptors, no memory) is not said of the file.
Error read_error(const std::string& path) {
  if (errno == EINVAL) return {ErrorCode::gave_up, path + ": is no regular file"};
  Error error = errno_error(errno, path);
  if (error.code != ErrorCode::retry_later) error.code = ErrorCode::gave_up;
  return error;
}

}  // namespace

struct TaskTableReader::Impl {
  // A part of a file that was read once. What is in it stays true, because rows and entries never change.
  struct Block {
    std::string bytes;
    std::uint64_t begin = 0;
    std::size_t size = 0;

    bool holds(std::uint64_t offset, std::uint64_t length) const {
      return offset >= begin && length <= size && offset - begin <= size - length;
    }
    const char* at(std::uint64_t offset) const { return bytes.data() + (offset - begin); }

    bool read(int fd, std::uint64_t offset, std::size_t capacity) {
      bytes.resize(capacity);
      const ssize_t n = pread_all(fd, bytes.data(), capacity, static_cast<off_t>(offset));
      begin = offset;
      size = n > 0 ? static_cast<std::size_t>(n) : 0;
      return n >= 0;
    }
  };

  std::string data_path;
  std::string index_path;
  Fd data;
  Fd index;
  Block data_block;
  Block index_block;
  TaskSpec row;
  std::uint64_t row_offset = kNoOffset;  // of `row`
  ledger::RowSteps row_steps;
  bool row_is_large = false;

  Result<std::uint64_t> size() const {
    struct stat status {};
    if (::fstat(index.get(), &status) != 0) return fail(read_error(index_path));
    return static_cast<std::uint64_t>(status.st_size) / kIndexEntryBytes;
  }

  Result<std::uint64_t> offset_of(std::uint64_t step);
  Result<void> load(std::uint64_t step, std::uint64_t offset);
  Result<std::string_view> payload_at(std::uint64_t step, std::uint64_t offset, std::string& large);

  tl::unexpected<Error> damaged(std::uint64_t step, std::uint64_t offset, const char* why) const {
    return fail(ErrorCode::gave_up, data_path + ": the row of step " + std::to_string(step) + " at offset " +
                                        std::to_string(offset) + " is damaged (" + why + "); it cannot be run");
  }
};

Result<std::uint64_t> TaskTableReader::Impl::offset_of(std::uint64_t step) {
  if (step < ledger::kMaxSteps) {
    const std::uint64_t at = step * kIndexEntryBytes;
    if (!index_block.holds(at, kIndexEntryBytes) && !index_block.read(index.get(), at, kIndexBlockBytes)) {
      return fail(read_error(index_path));
    }
    if (index_block.holds(at, kIndexEntryBytes)) return ledger::load<std::uint64_t>(index_block.at(at));
  }
  auto steps = size();
  if (!steps) return steps;
  return fail(ErrorCode::fix_request,
              index_path + ": there is no step " + std::to_string(step) + "; the batch has " + std::to_string(*steps));
}

// The payload, checked; in the block or, if it is larger than that, in `large`.
Result<std::string_view> TaskTableReader::Impl::payload_at(std::uint64_t step, std::uint64_t offset,
                                                           std::string& large) {
  if (offset < kTaskDataHeader.size() ||
      offset > static_cast<std::uint64_t>(INT64_MAX) - kMaxRowBytes - kRowHeaderBytes) {
    return damaged(step, offset, "it lies outside of the file");
  }
  bool fresh = false;
  auto hold = [&](std::uint64_t length) {
    if (data_block.holds(offset, length)) return true;
    if (fresh) return false;
    fresh = true;
    return data_block.read(data.get(), offset, kDataBlockBytes) && data_block.holds(offset, length);
  };
  if (!hold(kRowHeaderBytes)) return damaged(step, offset, "the file ends before it");
  const auto length = ledger::load<std::uint32_t>(data_block.at(offset));
  const auto sum = ledger::load<std::uint32_t>(data_block.at(offset) + 4);
  std::string_view payload;
  if (hold(kRowHeaderBytes + std::uint64_t{length})) {
    payload = {data_block.at(offset) + kRowHeaderBytes, length};
  } else {
    struct stat status {};
    if (::fstat(data.get(), &status) != 0) return fail(read_error(data_path));
    const auto file_bytes = static_cast<std::uint64_t>(status.st_size);
    if (length > kMaxRowBytes || offset + kRowHeaderBytes + length > file_bytes) {
      return damaged(step, offset, "its length is wrong");
    }
    large.resize(length);
    const ssize_t n = pread_all(data.get(), large.data(), length, static_cast<off_t>(offset + kRowHeaderBytes));
    if (n < 0) return fail(read_error(data_path));
    if (static_cast<std::size_t>(n) < length) return damaged(step, offset, "the file ends within it");
    payload = large;
  }
  if (ledger::checksum(payload) != sum) return damaged(step, offset, "its checksum does not match");
  return payload;
}

Result<void> TaskTableReader::Impl::load(std::uint64_t step, std::uint64_t offset) {
  row_offset = kNoOffset;
  std::string large;
  auto payload = payload_at(step, offset, large);
  if (!payload) return fail(std::move(payload.error()));
  if (row_is_large) row = TaskSpec();  // one huge command must not stay in a small process
  row_is_large = !large.empty();
  if (!ledger::decode_row(*payload, row, row_steps)) return damaged(step, offset, "its fields do not add up");
  row_offset = offset;
  return {};
}

TaskTableReader::TaskTableReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TaskTableReader::TaskTableReader(TaskTableReader&&) noexcept = default;
TaskTableReader& TaskTableReader::operator=(TaskTableReader&&) noexcept = default;
TaskTableReader::~TaskTableReader() = default;

Result<TaskTableReader> TaskTableReader::open(const std::string& data_path, const std::string& index_path) {
  auto impl = std::make_unique<Impl>();
  impl->data_path = data_path;
  impl->index_path = index_path;
  impl->data = open_regular(data_path, O_RDONLY);
  if (!impl->data) return fail(read_error(data_path));
  impl->index = open_regular(index_path, O_RDONLY);
  if (!impl->index) return fail(read_error(index_path));
  char header[8];
  const ssize_t n = pread_all(impl->data.get(), header, sizeof header, 0);
  if (n < 0) return fail(read_error(data_path));
  // Shorter: a writer has opened it and has written nothing yet.
  if (n == sizeof header && std::string_view(header, sizeof header) != kTaskDataHeader) {
    return fail(ErrorCode::gave_up, data_path + ": is no task table of this format");
  }
  return TaskTableReader(std::move(impl));
}

Result<std::uint64_t> TaskTableReader::size() const {
  return impl_->size();
}

Result<const TaskSpec*> TaskTableReader::row(std::uint64_t step) {
  auto offset = impl_->offset_of(step);
  if (!offset) return fail(std::move(offset.error()));
  if (*offset != impl_->row_offset) {
    if (auto result = impl_->load(step, *offset); !result) return fail(std::move(result.error()));
  }
  if (!impl_->row_steps.contains(step)) {
    return fail(ErrorCode::gave_up, impl_->index_path + ": damaged: the entry of step " + std::to_string(step) +
                                        " leads to the row of step " + std::to_string(impl_->row_steps.first) +
                                        "; it cannot be run");
  }
  return &impl_->row;
}

std::uint64_t TaskTableReader::row_count() const {
  return impl_->row_steps.count;
}

Result<void> TaskTableReader::read(std::uint64_t step, TaskSpec& task) {
  auto found = row(step);
  if (!found) return fail(std::move(found.error()));
  if (task != **found) task = **found;
  return {};
}

}  // namespace allot
