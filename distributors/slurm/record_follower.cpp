// SPDX-License-Identifier: MIT
#include "distributors/slurm/record_follower.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "ledger/record_file.h"
#include "ledger/writer_name.h"
#include "process/fd.h"

namespace allot::slurm {
namespace {

constexpr std::size_t kMostBytes = 4u << 20;  // of one file in one look: the rest comes with the next one

}  // namespace

Result<std::vector<RecordFollower::News>> RecordFollower::look() {
  DIR* directory = ::opendir(directory_.c_str());
  if (directory == nullptr) return fail(errno_error(errno, directory_));
  std::vector<std::string> writers;
  while (const dirent* entry = ::readdir(directory)) {
    const std::string name = entry->d_name;
    if (name[0] != '.' && !is_driver_writer(name)) writers.push_back(name);
  }
  ::closedir(directory);
  std::vector<News> news;
  for (const std::string& writer : writers) {
    const std::string path = directory_ + "/" + writer;
    std::uint64_t& told = told_[writer];
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0 || static_cast<std::uint64_t>(info.st_size) <= told) continue;
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) return fail(errno_error(errno, path));
    News item;
    wire::Records& records = item.records;
    records.writer = writer;
    records.offset = told;
    records.bytes.resize(std::min(static_cast<std::size_t>(info.st_size) - told, kMostBytes));
    const ssize_t n = pread_all(file.get(), records.bytes.data(), records.bytes.size(), static_cast<off_t>(told));
    if (n < 0) return fail(errno_error(errno, path));
    records.bytes.resize(static_cast<std::size_t>(n));
    bool has_end = false;
    const auto report = scan_frames(records.bytes, told, [&](const DecodedRecord& record, std::uint64_t) {
      const auto* end = std::get_if<FinishedRecord>(&record.record);
      has_end = has_end || end != nullptr;
      if (end != nullptr && end->usage.wall_seconds) {
        ++item.ended_tasks;
        item.ended_seconds += *end->usage.wall_seconds;
      }
      return true;
    });
    if (report.valid_end <= told) continue;  // being written
    // Told is what a power loss cannot take back. The worker node syncs, too: here mostly nothing is left to do.
    if (has_end && ::fdatasync(file.get()) != 0) return fail(errno_error(errno, path));
    records.bytes.resize(report.valid_end - told);
    told = report.valid_end;
    news.push_back(std::move(item));
  }
  return news;
}

}  // namespace allot::slurm
