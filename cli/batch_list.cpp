// SPDX-License-Identifier: MIT
#include "cli/batch_list.h"

#include <sys/stat.h>

#include <algorithm>
#include <boost/filesystem.hpp>
#include <cerrno>

#include "cli/driver_watch.h"
#include "engine/batch_removal.h"
#include "process/fd.h"
#include "protocol/distributor_id.h"

namespace allot::cli {
namespace {

namespace fs = boost::filesystem;

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::uint64_t kIndexEntryBytes = 8;

bool exists(const std::string& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0;
}

struct Found {
  std::int64_t made_ns = 0;
  std::string path;
};

bool is_newer(const Found& a, const Found& b) {
  return a.made_ns != b.made_ns ? a.made_ns > b.made_ns : a.path > b.path;
}

std::int64_t created_ns(const std::string& path) {
  const auto batch = BatchDirectory::open(path);
  return batch ? batch->info().created_ns : 0;
}

// An id says in which second it was made. Only those of the same second are read.
void order_seconds(std::vector<Found>& found) {
  for (auto first = found.begin(); first != found.end();) {
    const auto last = std::find_if(first, found.end(), [&](const Found& one) { return one.made_ns != first->made_ns; });
    if (last - first > 1) {
      for (auto one = first; one != last; ++one) one->made_ns = created_ns(one->path);
      std::sort(first, last, is_newer);
    }
    first = last;
  }
}

}  // namespace

Result<std::vector<std::string>> batches_in(const std::string& home) {
  std::vector<Found> found;
  boost::system::error_code error;
  for (fs::directory_iterator it(home, error), end; !error && it != end; it.increment(error)) {
    const std::string path = it->path().string();
    if (it->path().filename().string().starts_with('.')) continue;  // in the making: engine/script_batch.h
    if (!exists(path + "/batch.json") && !exists(path + "/" + kRemovalMark)) continue;
    const auto seconds = id_base_seconds(it->path().filename().string());
    found.push_back({seconds ? *seconds * kSecond : created_ns(path), path});
  }
  if (error && error.value() != ENOENT) {
    return fail(ErrorCode::gave_up, home + ": the batches cannot be listed: " + errno_text(error.value()));
  }
  std::sort(found.begin(), found.end(), is_newer);
  order_seconds(found);
  std::vector<std::string> paths;
  paths.reserve(found.size());
  for (auto& one : found) paths.push_back(std::move(one.path));
  return paths;
}

ListedBatch look_at(const std::string& path) {
  ListedBatch listed;
  listed.path = path;
  listed.name = path.substr(path.rfind('/') + 1);
  auto batch = BatchDirectory::open(path);
  if (!batch) {
    listed.trouble = exists(path + "/" + kRemovalMark)
                         ? path + ": its removal was cut short; allot remove " + listed.name + " ends it"
                         : batch.error().message;
    return listed;
  }
  listed.batch = *batch;
  auto holder = DriverWatch(std::move(*batch)).look();
  if (!holder) {
    listed.trouble = holder.error().message;
    return listed;
  }
  listed.holder = std::move(*holder);
  struct stat index {};
  const bool has_index = ::stat(listed.batch->task_index_path().c_str(), &index) == 0;
  const std::uint64_t entries = has_index ? static_cast<std::uint64_t>(index.st_size) / kIndexEntryBytes : 0;
  listed.tasks = listed.holder.driver ? listed.holder.driver->tasks.value_or(entries) : entries;
  return listed;
}

std::uint64_t record_bytes(const ListedBatch& listed) {
  std::uint64_t bytes = 0;
  boost::system::error_code error;
  for (fs::directory_iterator it(listed.path + "/records", error), end; !error && it != end; it.increment(error)) {
    struct stat status {};
    if (::stat(it->path().c_str(), &status) == 0) bytes += static_cast<std::uint64_t>(status.st_size);
  }
  return bytes;
}

void count_tasks(ListedBatch& listed) {
  auto fold = load_fold(*listed.batch, listed.holder);
  // It was alive when it was looked at, before its records were read.
  if (fold && fold->ended() && listed.holder.state == Holder::State::alive) {
    if (auto now = DriverWatch(*listed.batch).look()) listed.holder = std::move(*now);
    if (listed.holder.goes_on) fold = load_fold(*listed.batch, listed.holder);
  }
  if (!fold) {
    listed.trouble = fold.error().message;
    return;
  }
  TaskCounts counts;
  counts.done = fold->count(TaskState::done);
  counts.failed = fold->count(TaskState::failed);
  counts.abandoned = fold->count(TaskState::abandoned);
  listed.tasks = fold->size() + fold->missing_steps();
  counts.unfinished = listed.tasks - counts.done - counts.failed - counts.abandoned;
  listed.counts = counts;
  if (fold->missing_steps() > 0) {
    listed.trouble = listed.path + ": damaged: " + std::to_string(fold->missing_steps()) + " of the batch's " +
                     std::to_string(listed.tasks) + " tasks are missing";
  }
}

}  // namespace allot::cli
