// SPDX-License-Identifier: MIT
// The worker node of one element of a scheduler's array: runs the element's steps, a few at a time, and leaves.
//
// It has a batch directory and a guard for each slot, and nothing else: no driver, no socket, no thread. It knows no
// scheduler. What it is told comes by signals and by the files of ledger/submission_file.h.
#pragma once

#include <sys/types.h>

#include <bitset>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ledger/driver_records.h"
#include "ledger/record_file.h"
#include "ledger/submission_file.h"
#include "process/fd.h"
#include "protocol/result.h"
#include "worker_node/element_options.h"
#include "worker_node/guard.h"
#include "worker_node/shared_queue.h"
#include "worker_node/slot_files.h"

namespace allot {

class Element {
 public:
  /// The process is the element's alone: a subreaper, with the signals of block_signals() blocked. `begun`: when it
  /// began, nanoseconds of CLOCK_MONOTONIC.
  Element(ElementOptions options, std::int64_t begun);
  Element(const Element&) = delete;
  Element& operator=(const Element&) = delete;
  ~Element();

  /// Blocks what an element is told by. To come first in a process: until then such a signal ends it.
  static void block_signals();

  /// Runs until nothing is left to do, or nothing can be done. Returns the exit status: 0, whatever became of the
  /// tasks; 1 where something could not be run or kept (told on stderr), and what never started is still queued then; 2
  /// where the submission has no such element. One that is alone runs only what no other one runs, says on stderr what
  /// became of its steps, and returns 1 also where some of them are not done.
  int run();

 private:
  struct Slot : SlotFiles {
    std::uint32_t index = 0;
    Fd poke;
    Fd lifeline;  // closing it tells the guard that we are gone
    Fd guard_exit;
    pid_t guard_pid = 0;  // 0: none
    int death_status = 0;
    bool unburied = false;  // what the last guard was doing is not settled yet
    bool broken = false;
    std::uint64_t begin = 0;  // of the element's records
    std::uint32_t deaths_in_a_row = 0;
    std::uint64_t seen = 0;    // end of the records at the last commit
    std::uint64_t synced = 0;  // end of those that are on disk
    std::uint64_t output_synced = 0;
  };

  /// Faults that may pass; each is told when it comes and when it goes.
  enum Trouble { kSync, kSpace, kFence, kGuards, kRequests, kOwnRecords, kTroubleCount };

  // Getting ready (element.cpp).
  std::optional<int> get_ready();
  Result<void> find_steps();
  Result<void> claim_slots();
  Result<void> map_queue();
  Result<void> start_guard(Slot& slot);
  [[noreturn]] void become_guard(const Slot& slot, int lifeline);
  void complain(const std::string& text) const;
  void fail_with(const std::string& text);  // the exit status becomes 1
  bool claim_for_oneself();
  void tell_ends();

  // The loop (element_loop.cpp).
  void loop();
  void hear_signals();
  void on_guard_exit(Slot& slot);
  void look_after_slots();
  void commit();
  int commit_slot(Slot& slot);
  bool is_commit_due(std::int64_t now) const;
  bool has_news() const;
  bool has_settled_entries() const;
  bool slot_idles_with_news() const;
  bool is_done() const;
  void set_trouble(Trouble kind, const std::string& text);
  bool is_troubled() const;
  void keep_trouble_bounded(std::int64_t now);

  // Entries (element_queue.cpp).
  void publish();
  void collect();
  void free_ended();
  void put_back(std::uint32_t index);
  Result<void> bury(Slot& slot);
  void mend(Slot& slot);
  void poke(const Slot& slot);
  void poke_sleepers();
  std::uint32_t attempt_of(std::uint32_t step) const;
  void read_requests();
  void obey(const StopRequest& request);
  void take_out_of_backlog(const StopRequest& request);
  bool has_request_for(std::uint32_t step) const;
  void stop_entry(std::uint32_t index, ExitClass reason, std::int64_t grace_milliseconds);
  void stop_starting();
  std::optional<ExitClass> ask_why();
  void end_by_scheduler();
  Result<void> open_own_records();
  void record_removed();

  ElementOptions options_;
  const std::int64_t begun_;
  GuardOptions guard_options_;
  IntentRecord intent_;  // its ranges are let go once the element's own are known
  SlotPlace place_;
  Fd signals_, wake_, memory_, step_claim_;
  SharedQueue* queue_ = nullptr;
  std::vector<Slot> slots_;

  std::deque<StepRange> backlog_;                                // no room in the queue yet
  std::map<std::uint32_t, std::uint32_t> restarted_;             // steps that ran before a requeue: how often
  std::vector<std::uint32_t> live_;                              // entries in use, in the order of their publication
  std::uint64_t step_count_ = 0, to_run_ = 0, done_before_ = 0;  // its own; of these, before a requeue: open, done
  std::bitset<kQueueCapacity> in_use_, has_ended_;
  std::vector<std::uint32_t> ended_;  // entries whose end may not be on disk yet

  std::vector<StopRequest> requests_;
  std::uint64_t requests_read_ = 0;
  std::vector<std::uint32_t> removed_;  // steps taken out, of which there is no record yet
  SlotFiles own_files_;                 // for these records; claimed when there is one
  std::optional<RecordWriter> own_records_;
  bool own_unsynced_ = false;
  bool leaving_ = false;          // nothing more starts
  std::optional<ExitClass> why_;  // what the scheduler has said of its SIGTERM
  bool ledger_is_gone_ = false;   // records or outputs were removed
  bool gave_up_ = false;          // the bound of trouble has passed: what is not on disk will not be
  int status_ = 0;
  std::string troubles_[kTroubleCount];                // empty: none
  std::int64_t trouble_since_ = 0, gather_until_ = 0;  // deadlines: nanoseconds of CLOCK_MONOTONIC; 0: none
  std::int64_t care_at_ = 0;
  std::int64_t requests_at_ = 0;
};

}  // namespace allot
