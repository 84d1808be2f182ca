// SPDX-License-Identifier: MIT
// A batch directory: where everything that is known of a batch lies, and who may drive it.
//
//   batch.json            BatchInfo, written once (temporary name, fsync, rename)
//   environment           the tasks' environment, checksummed (0600); see environment.h
//   tasks.data tasks.index   the task table: task_table.h
//   epochs/N              one file per driver, made with link(2): the highest N drives the batch
//   records/NAME          append-only records, one writer each: host-k (slots), driver-N (drivers): record.h
//   output/NAME.out .err  what the tasks of slot NAME printed, one after the other; extents in the finished records
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "protocol/resources.h"
#include "protocol/result.h"

namespace allot {

/// Version of everything in a batch directory. A reader refuses a newer one in words.
inline constexpr std::uint32_t kBatchFormat = 2;

struct BatchInfo {
  std::uint32_t format = kBatchFormat;
  std::string batch_id;  ///< 12 base-32 characters, as an id base
  std::string name;
  std::string cluster;  ///< cluster it was made for
  std::string host;     ///< node name of the maker
  std::string boot_id;  ///< kernel boot id of the maker's host
  std::string cwd;      ///< default working directory of the tasks, absolute
  std::string allot_version;
  std::int64_t created_ns = 0;               ///< Unix time
  RequestedResources default_resources;      ///< of tasks that state none themselves, field by field
  std::string retry;                         ///< rules of the batch, as engine/retry_policy.h writes them
  std::optional<std::uint32_t> max_running;  ///< tasks queued or running at once, instead of the cluster's
  std::int32_t priority = 0;                 ///< beside other batches: added to that of each task
  std::int64_t begin_ns = 0;                 ///< Unix time before which nothing is submitted; 0: at once
  /// What files of the tasks do not get; of the maker where nothing is given. Batches made before it was kept have
  /// none: their tasks get that of whoever drives them.
  std::optional<std::uint32_t> umask;
};

/// Who drives (or drove) a batch.
struct DriverIdentity {
  std::uint64_t epoch = 0;
  std::string host;
  std::string boot_id;
  std::int64_t pid = 0;
  std::uint64_t start_ticks = 0;  ///< field 22 of /proc/PID/stat: tells a reused pid apart
  std::int64_t since_ns = 0;      ///< Unix time
  /// Steps in the table of a batch that was made whole, handed on from driver to driver; nothing where it may grow.
  std::optional<std::uint64_t> tasks;
};

enum class OutputStream { standard_output, standard_error };

/// Paths and identity of one batch. A value; holds no descriptors. Thread rule: const methods from any thread.
class BatchDirectory {
 public:
  /// Makes the directory and its skeleton (mode 0700 whatever the umask) and what is missing above it (by the umask,
  /// and for nobody else to write into).
  /// Errors: fix_request when `path` exists and is not an empty directory, or cannot be written (path and reason in the
  /// text).
  static Result<BatchDirectory> create(const std::string& path, BatchInfo info);

  /// Whether a batch could be made there, as far as that can be seen without making anything. Errors: as create.
  static Result<void> check_place(const std::string& path);

  /// Errors: fix_request when there is no batch, or its format is newer than kBatchFormat (both numbers named); gave_up
  /// when batch.json is damaged.
  static Result<BatchDirectory> open(const std::string& path);

  const std::string& path() const { return path_; }
  const BatchInfo& info() const { return info_; }

  std::string task_data_path() const { return path_ + "/tasks.data"; }
  std::string task_index_path() const { return path_ + "/tasks.index"; }
  std::string environment_path() const { return path_ + "/environment"; }
  std::string records_directory() const { return path_ + "/records"; }
  std::string record_path(const std::string& writer) const { return path_ + "/records/" + writer; }
  std::string output_path(const std::string& writer, OutputStream stream) const {
    return path_ + "/output/" + writer + (stream == OutputStream::standard_output ? ".out" : ".err");
  }

  /// The highest epoch and who holds it; nothing for a batch that was never driven.
  Result<std::optional<DriverIdentity>> current_driver() const;

  /// True if that driver has said at the end of its records that it leaves.
  bool has_left(std::uint64_t epoch) const;

  /// Becomes the driver: makes epochs/N with N one above the highest. Refused with fix_request, naming the holder,
  /// while the holder lives on this host (pid, start time and boot id agree), or sits on another host unless
  /// `take_over_other_host`. Lost races are errors (retry_later), never two drivers with one epoch. `tasks`: steps in
  /// the table, which is whole; without it the claim says what the one before said.
  Result<DriverIdentity> claim(bool take_over_other_host = false, std::optional<std::uint64_t> tasks = {}) const;

 private:
  std::string path_;
  BatchInfo info_;
};

}  // namespace allot
