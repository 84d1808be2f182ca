// SPDX-License-Identifier: MIT
// Which steps of its submission an element is to run: known from files of the batch alone.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "ledger/batch_directory.h"
#include "ledger/driver_records.h"
#include "protocol/result.h"
#include "worker_node/element_options.h"

namespace allot {

/// What the batch is. Errors: fix_request (no batch, or of a newer format), gave_up (damaged).
Result<BatchInfo> read_batch_info(const std::string& batch_path);

/// The steps at the element's positions. Errors: fix_request where the submission has no such element, gave_up.
Result<StepRanges> steps_of_element(const IntentRecord& intent, const ElementOptions& options);

/// What the records of a batch say of a submission's earlier runs.
struct EarlierRuns {
  StepRanges ended;                               ///< have a finished record, a verdict, or were withdrawn
  std::map<std::uint32_t, std::uint32_t> starts;  ///< of those that have not: how often they have started
  std::uint64_t done = 0;                         ///< of those that have: how many ended well
};
/// Looks at `steps` only. Reads every record file. Errors: gave_up, also where a part of one cannot be read: an end in
/// it would be overlooked, and its task run again.
Result<EarlierRuns> find_earlier_runs(const std::string& batch_path, std::uint32_t submission, const StepRanges& steps);

}  // namespace allot
