// SPDX-License-Identifier: MIT
// All that the checker goes by: the records of a batch and the side effects of its tasks, as they were found.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "ledger/batch_directory.h"
#include "ledger/record.h"
#include "protocol/result.h"
#include "tests/faults/effect_line.h"

namespace allot::faults {

/// Where a record stands, for messages.
struct Place {
  std::string file;  ///< name in records/
  std::uint64_t offset = 0;
  std::string text() const { return "records/" + file + ":" + std::to_string(offset); }
};

template <class R>
struct Placed {
  R record;
  Place place;
};

/// The records that name one run, in the order of their files and of their places there.
struct Run {
  std::vector<Placed<StartedRecord>> started;
  std::vector<Placed<FinishedRecord>> finished;
  std::vector<Placed<VerdictRecord>> verdicts;
  std::vector<Placed<RetryRecord>> retries;
  std::vector<Placed<AddedRecord>> additions;
};

struct Submitted {
  std::vector<Placed<IntentRecord>> intents;  ///< parts of one, where it became several frames
  bool is_refused = false;
  bool covers(std::uint64_t step) const {
    for (const auto& intent : intents) {
      if (intent.record.steps.contains(step)) return true;
    }
    return false;
  }
};

struct Evidence {
  std::uint64_t steps = 0;  ///< in the task table, that count
  std::map<RunKey, Run> runs;
  std::map<std::uint32_t, Submitted> submissions;  ///< by number
  std::vector<Placed<WithdrawnRecord>> withdrawn;
  std::vector<Placed<AbandonedRecord>> abandoned;
  std::map<std::uint64_t, std::vector<EffectLine>> effects;  ///< by step, in the order of the file
  std::vector<std::string> faults;                           ///< of the files themselves, ready to print
};

/// Reads everything; an empty `effects_directory`: no effects. Errors: what keeps the evidence from being read at all.
Result<Evidence> gather(const BatchDirectory& batch, const std::string& effects_directory);

}  // namespace allot::faults
