// SPDX-License-Identifier: MIT
// A batch in one word, as snakemake's --cluster-status wants it.
#pragma once

#include <string>

#include "cli/driver_watch.h"

namespace allot::cli {

struct SnakemakeStatus {
  std::string word;    ///< "running", "success" or "failed"
  std::string reason;  ///< for stderr; empty: nothing to say
};

/// Reads the records of the tasks only where nobody drives the batch any more. Errors: gave_up (it is damaged).
Result<SnakemakeStatus> snakemake_status(const BatchDirectory& batch);

}  // namespace allot::cli
