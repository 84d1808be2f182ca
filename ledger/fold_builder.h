// SPDX-License-Identifier: MIT
// How a Fold is made. Internal to the ledger.
//
// The files of worker nodes are read first: each started and finished record finds its place by its run key, whatever
// the order. What drivers wrote (intents, verdicts, withdrawals, …) is collected meanwhile and applied afterwards in
// the order in which it was written: drivers follow each other by epoch, and a driver's records by sequence. Neither
// depends on a clock. A batch that is being run changes under the reading; what is newer than the reading is missing,
// nothing is made up.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "ledger/fold.h"
#include "ledger/record_codec.h"

namespace allot {

inline bool same_run(const FoldedTask& task, const RunKey& key) {
  return task.submission == key.submission && task.restart == key.restart;
}

inline bool is_newer(const RunKey& key, const FoldedTask& task) {
  return std::tie(key.submission, key.restart) > std::tie(task.submission, task.restart);
}

inline std::string text_of(const RunKey& key) {
  return "the run of step " + std::to_string(key.step) + " in submission " + std::to_string(key.submission) +
         (key.restart > 0 ? " (restart " + std::to_string(key.restart) + ")" : "");
}

class FoldBuilder {
 public:
  explicit FoldBuilder(const BatchDirectory& batch);
  Result<Fold> build();

 private:
  using RefKind = Fold::RefKind;
  using RecordRef = Fold::RecordRef;

  struct Place {
    std::uint16_t file = 0;
    std::uint64_t offset = 0;
  };
  // What a driver wrote that depends on what was written before.
  struct DriverAct {
    enum class Kind : std::uint8_t { intent, verdict, withdrawn, abandoned, retry, held, throttle, cancelled, added };
    Kind kind = Kind::intent;
    ExitClass exit_class = ExitClass::lost;
    std::uint8_t number = 0;
    bool started = false;    // verdict: of a run that began; held: held and not released; cancelled: not taken back
    RunKey key;              // intent and withdrawn: the submission alone; throttle: the limit in its place
    std::uint32_t list = 0;  // withdrawn, held, cancelled: index into step_lists_; added: of additions
    Place place;
  };

  Result<void> list_files();
  void find_missing_files();
  void check_table();
  void note_gap(std::string text, bool is_proven = true);
  Result<void> read_file(std::uint16_t file);
  void report_damage(std::uint16_t file, const ScanReport& report);
  bool has_output(const std::string& writer) const;
  PayloadAnswer take(std::string_view payload, Place place);
  void see_submission(std::uint32_t number) { fold_.highest_submission_ = std::max(fold_.highest_submission_, number); }
  void take_intent(IntentRecord&& intent, Place place);
  void take_submitted(SubmittedRecord&& submitted, Place place);
  void take_added(AddedRecord&& added, Place place);

  FoldedTask* task_of(std::uint64_t step, Place place);
  void add_run_record(const ledger::RunGlance& glance, RefKind kind, Place place);
  void set_current(FoldedTask& task, std::uint32_t step, const RunKey& key);
  void retire_end(FoldedTask& task, std::uint32_t step);
  void set_end(FoldedTask& task, std::uint32_t step, EndKind kind, Place place);
  void keep(RefKind kind, const RunKey& key, Place place);

  void apply(const DriverAct& act);
  void apply_intent(const DriverAct& act);
  void apply_verdict(const DriverAct& act);
  void apply_withdrawn(const DriverAct& act);
  void apply_abandoned(const DriverAct& act);
  void apply_retry(const DriverAct& act);
  void apply_mark(const DriverAct& act);
  void apply_added(const DriverAct& act);

  void number_attempts();
  void settle_states();
  void find_whether_ended();

  std::uint64_t index_entries() const;
  std::uint64_t steps_in_table() const;
  std::string name_of(Place place) const;
  void damage(std::string line);

  Fold fold_;
  std::vector<std::uint64_t> epochs_;  // by file; 0: a worker node's
  std::vector<bool> left_in_order_;    // by file
  std::vector<DriverAct> acts_;
  std::vector<StepRanges> step_lists_;
  std::map<std::uint32_t, std::pair<FoldedSubmission, Place>> submissions_;
  std::uint64_t unlisted_damage_ = 0;
  std::optional<std::uint64_t> claimed_steps_;  // what the newest driver's claim says of the table
  std::uint64_t intended_steps_ = 0;            // one above the highest step that an intent names
};

}  // namespace allot
