// SPDX-License-Identifier: MIT
// What worker nodes that nobody has a connection to have written into a batch's record files since the last look.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "protocol/result.h"
#include "worker_node/wire.h"

namespace allot::slurm {

/// Not thread-safe.
class RecordFollower {
 public:
  explicit RecordFollower(std::string batch_path) : directory_(std::move(batch_path) + "/records") {}

  struct News {
    wire::Records records;
    std::uint64_t ended_tasks = 0;  ///< in these records, of any submission, whose time is known
    double ended_seconds = 0;       ///< of all of them
  };

  /// The whole frames that came since, per writer; ends are on disk before they are told. Errors: as errno says; what
  /// was not told is told the next time.
  Result<std::vector<News>> look();

 private:
  std::string directory_;
  std::map<std::string, std::uint64_t> told_;  // by writer: offset up to which it was told
};

}  // namespace allot::slurm
