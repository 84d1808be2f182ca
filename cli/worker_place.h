// SPDX-License-Identifier: MIT
// Where in a user's own Slurm job this process is: which job, which of its worker nodes, with what.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "protocol/result.h"
#include "worker_node/script_job.h"

namespace allot::cli {

struct WorkerPlace {
  ScriptJob job;                        ///< but for `tasks`, `worker_pack`, `cores` and `source`
  std::uint64_t share = 0;              ///< below job.shares()
  std::uint32_t cores = 1;              ///< that this process may use
  std::string node;                     ///< the scheduler's name of the node; empty: none
  std::string native_id;                ///< of this element by itself
  std::optional<std::int64_t> ends_at;  ///< Unix seconds, when the job's time is over; nothing: unknown
};

/// `variable`: the value of a variable of the environment, null if it is not set (getenv). `cores`: those that the
/// kernel lets this process use. Errors: fix_request where this is no Slurm job, or an array whose elements cannot be
/// counted from within one of them.
Result<WorkerPlace> find_worker_place(const std::function<const char*(const char*)>& variable, std::uint32_t cores);

}  // namespace allot::cli
