// SPDX-License-Identifier: MIT
#include "engine/batch_maker.h"

#include <sys/stat.h>

#include <boost/filesystem.hpp>

#include <fmt/format.h>

#include "engine/unnamed_file.h"
#include "ledger/environment.h"
#include "process/fault_point.h"
#include "protocol/path_safety.h"

namespace allot {
namespace {

namespace fs = boost::filesystem;

// Takes away a batch that did not come to be; leaves the directory itself if it was there before.
class Discard {
 public:
  Discard(std::string path, bool keep_directory) : path_(std::move(path)), keep_directory_(keep_directory) {}
  Discard(const Discard&) = delete;
  Discard& operator=(const Discard&) = delete;
  ~Discard() {
    if (path_.empty()) return;
    boost::system::error_code ignored;
    // Without it the rest is no batch, should this be cut short.
    fs::remove(path_ + "/batch.json", ignored);
    for (const char* name : {"environment", "tasks.data", "tasks.index", "epochs", "records", "output", "additions"}) {
      fs::remove_all(path_ + "/" + name, ignored);
    }
    if (!keep_directory_) fs::remove(path_, ignored);
  }
  void forget() { path_.clear(); }

 private:
  std::string path_;
  bool keep_directory_;
};

// Who may write into a directory could put another batch in the place of this one.
Result<void> check_owner(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) return {};  // for others to judge
  const auto danger = find_danger({PathRole::directory, status.st_mode, status.st_uid, status.st_gid});
  if (!danger) return {};
  return fail(ErrorCode::fix_request, fmt::format("no batch can be made at {}: the directory {}; name one that nobody "
                                                  "else can write, or a new one",
                                                  path, *danger));
}

}  // namespace

Result<BatchPlan> write_tasks(const std::string& data_path, const std::string& index_path, const BatchInfo& info,
                              TaskSource& source) {
  auto table = TaskTableWriter::open(data_path, index_path);
  if (!table) return fail(std::move(table.error()));
  auto rules = parse_retry_rules(info.retry);
  if (!rules) return fail(rules.error());
  TaskCollector collector(std::move(*table), info.default_resources, std::move(*rules), info.priority);
  if (auto delivered = source.deliver(collector); !delivered) return fail(std::move(delivered.error()));
  const std::uint64_t count = collector.size();
  if (count == 0) return fail(ErrorCode::not_available, source.name() + ": holds no tasks");
  ALLOT_FAULT_POINT("driver_table_written");
  return collector.finish(count != 1 || source.is_explicit_array());
}

Result<MadeBatch> make_batch(const std::string& path, BatchInfo info, char* const* environment, TaskSource& source) {
  if (auto checked = source.check(); !checked) return fail(std::move(checked.error()));
  if (auto owned = check_owner(path); !owned) return fail(std::move(owned.error()));
  boost::system::error_code ignored;
  const bool was_there = fs::exists(path, ignored);
  auto directory = BatchDirectory::create(path, std::move(info));
  if (!directory) return fail(std::move(directory.error()));
  Discard discard(directory->path(), was_there);
  ALLOT_FAULT_POINT("driver_batch_created");
  auto written = write_environment(directory->environment_path(), capture_environment(environment));
  if (!written) return fail(std::move(written.error()));
  auto plan = write_tasks(directory->task_data_path(), directory->task_index_path(), directory->info(), source);
  if (!plan) return fail(std::move(plan.error()));
  ALLOT_FAULT_POINT("driver_table_synced");
  // Only a batch whose table is whole is ever driven: a killed driver leaves either nothing to resume or all of it. The
  // claim says how much that is, so that a table which becomes shorter later is noticed.
  auto driver = directory->claim(false, plan->task_count);
  if (!driver) return fail(std::move(driver.error()));
  discard.forget();
  ALLOT_FAULT_POINT("driver_claimed");
  return MadeBatch{std::move(*directory), std::move(*driver), std::move(*plan)};
}

Result<void> check_batch_place(const std::string& path) {
  if (auto owned = check_owner(path); !owned) return owned;
  return BatchDirectory::check_place(path);
}

Result<ReadTasks> read_tasks(const BatchInfo& info, TaskSource& source) {
  if (auto checked = source.check(); !checked) return fail(std::move(checked.error()));
  auto data = make_unnamed_file();
  if (!data) return fail(std::move(data.error()));
  auto index = make_unnamed_file();
  if (!index) return fail(std::move(index.error()));
  auto plan = write_tasks(path_of(*data), path_of(*index), info, source);
  if (!plan) return fail(std::move(plan.error()));
  auto table = TaskTableReader::open(path_of(*data), path_of(*index));
  if (!table) return fail(std::move(table.error()));
  return ReadTasks{std::move(*plan), std::move(*table), std::move(*data), std::move(*index)};
}

}  // namespace allot
