// SPDX-License-Identifier: MIT
#include "ledger/output_store.h"

#include <fcntl.h>

#include <algorithm>
#include <boost/filesystem/operations.hpp>
#include <cerrno>
#include <limits>

#include "ledger/task_table.h"
#include "ledger/writer_name.h"
#include "process/fd.h"

namespace allot {
namespace {

constexpr std::size_t kBlockBytes = 1u << 20;

// The path that the task was given for this stream, or the file in it if it is a directory; empty if the table cannot
// tell.
std::string given_path(const BatchDirectory& batch, const TaskDetail& detail, OutputStream stream) {
  auto table = TaskTableReader::open(batch.task_data_path(), batch.task_index_path());
  if (!table) return {};
  auto row = table->row(detail.step);
  if (!row) return {};
  std::string path = stream == OutputStream::standard_output ? (*row)->stdout_path : (*row)->stderr_path;
  boost::system::error_code ignored;
  if (!boost::filesystem::is_directory(path, ignored)) return path;
  return path + "/" +
         output_file_name((*row)->name, stream == OutputStream::standard_output ? 'o' : 'e', detail.distributor_id);
}

// Why no record tells of output.
std::string reason_of_none(const TaskDetail& detail) {
  const std::string& text = detail.exit_info.text;
  const std::string because = text.empty() ? "" : " (" + text + ")";
  switch (detail.folded.end_kind) {
    case EndKind::none:
      return "the task is " + std::string(to_string(detail.folded.state));
    case EndKind::never_started:
      return (detail.exit_info.exit_class == ExitClass::lost ? "no start of the task is known" : "it never started") +
             because;
    case EndKind::withdrawn:
    case EndKind::abandoned:
      return "it never started" + because;
    case EndKind::finished:
    case EndKind::verdict:
      break;
  }
  return "its worker node left no record of it" + because;
}

std::string bytes_text(std::uint64_t bytes) {
  return std::to_string(bytes) + (bytes == 1 ? " byte" : " bytes");
}

}  // namespace

Result<void> read_output(const BatchDirectory& batch, const TaskDetail& detail, OutputStream stream,
                         const std::function<bool(std::string_view)>& sink) {
  const bool is_stdout = stream == OutputStream::standard_output;
  const OutputExtent& extent = is_stdout ? detail.standard_output : detail.standard_error;
  const std::string what =
      std::string("the ") + (is_stdout ? "stdout" : "stderr") + " of step " + std::to_string(detail.step);
  if (detail.output_writer.empty()) {
    return fail(ErrorCode::not_available, what + " is not recorded: " + reason_of_none(detail));
  }
  if (extent.external) {
    std::string path = given_path(batch, detail, stream);
    return fail(ErrorCode::not_available,
                what + " is not in the batch: it was written to " + (path.empty() ? "a file of the user's" : path));
  }
  auto lost = [&]() -> Result<void> {
    if (extent.lost_bytes == 0) return {};
    return fail(ErrorCode::gave_up, what + " is incomplete: " + bytes_text(extent.lost_bytes) +
                                        " could not be written when the task printed them");
  };
  if (extent.length == 0) return lost();

  const std::string path = batch.output_path(detail.output_writer, stream);
  constexpr auto kMaxOffset = static_cast<std::uint64_t>(std::numeric_limits<off_t>::max());
  if (extent.offset > kMaxOffset || extent.length > kMaxOffset - extent.offset) {
    return fail(ErrorCode::gave_up, path + ": " + what + " is recorded at an impossible place");
  }
  const Fd fd = open_regular(path, O_RDONLY);
  if (!fd) return fail(ErrorCode::gave_up, path + ": " + what + " cannot be read: " + errno_text(errno));
  std::string block(std::min<std::uint64_t>(extent.length, kBlockBytes), '\0');
  for (std::uint64_t done = 0; done < extent.length;) {
    const std::size_t wanted = std::min<std::uint64_t>(extent.length - done, block.size());
    const ssize_t n = pread_all(fd.get(), block.data(), wanted, static_cast<off_t>(extent.offset + done));
    if (n < 0) return fail(ErrorCode::gave_up, path + ": " + what + " cannot be read: " + errno_text(errno));
    if (n > 0 && !sink({block.data(), static_cast<std::size_t>(n)})) return {};
    done += static_cast<std::uint64_t>(n);
    if (static_cast<std::size_t>(n) < wanted) {
      return fail(ErrorCode::gave_up, path + ": " + what + " is incomplete: the file ends " +
                                          bytes_text(extent.length - done + extent.lost_bytes) + " too early");
    }
  }
  return lost();
}

}  // namespace allot
