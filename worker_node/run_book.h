// SPDX-License-Identifier: MIT
// What a distributor knows of the tasks submitted to it: 16 bytes each, and where in the ledger the rest is.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "ledger/batch_directory.h"
#include "ledger/fold.h"
#include "ledger/record_file.h"
#include "protocol/cluster_distributor.h"
#include "worker_node/event_log.h"
#include "worker_node/wire.h"

namespace allot {

/// Not thread-safe, but for materialise(): the distributor holds its lock around every other call.
class RunBook {
 public:
  enum CellFlag : std::uint8_t {
    kHeld = 1,
    kTerminating = 2,
    kRemoved = 4,
    kHanded = 8,    ///< a worker node has it
    kJudged = 16,   ///< the distributor records its end, wherever it ran
    kDropped = 32,  ///< by drop()
  };
  struct Cell {
    std::uint64_t end_offset : 48 = 0;  // frame of its finished record
    std::uint64_t writer : 16 = 0;      // index into Batch::writers
    TaskPhase phase = TaskPhase::queued;
    ExitClass exit_class = ExitClass::lost;
    std::uint8_t flags = 0;
    std::uint16_t restart = 0;
    std::uint16_t began_at = 0;  // of a judged one: where it began, as its writer + 1; 0: it never did
  };

  struct Batch {
    std::string path;  // as the submissions have it
    BatchDirectory directory;
    std::string blocked;                      // why nothing of it can start any more; empty: it can
    std::vector<std::string> writers, nodes;  // nodes: of the writers
    std::unordered_map<std::string, std::uint16_t> writer_index;
    std::map<std::uint32_t, std::uint32_t> entry_of_submission;  // Submission::number → entry
    std::uint64_t last_event = 0;                                // sequence of its last one
    std::shared_ptr<void> pin = std::make_shared<char>();        // copied by calls that are under way
  };

  struct Entry {
    Submission submission;
    SubmittedIds ids;
    std::vector<Cell> cells;             // in the order of the steps
    std::vector<std::uint64_t> offsets;  // of each range's first cell
    std::uint64_t unfinished = 0;
    std::uint32_t batch = 0;
    std::uint8_t generation = 0;  // how often this place was another submission's (EventItem)
    bool is_left_by_stop = false;

    std::uint64_t index_of(std::uint64_t step) const;
    Cell& cell(std::uint64_t step) { return cells[index_of(step)]; }
  };

  struct Found {
    std::uint32_t entry = 0;
    std::uint64_t step = 0;
  };

  /// Takes a submission up. Second: false when its token was known: the ids are those of the first time.
  Result<std::pair<std::uint32_t, bool>> add(const Submission& submission);
  /// Forgets a submission again, which nobody has been told of.
  void take_back(std::uint32_t entry);
  /// Errors: fix_request (a task of it has not finished), retry_later (an event of it is not acknowledged).
  Result<void> check_forgettable(std::uint32_t batch) const;
  /// Forgets such a batch, which is not pinned, with all its submissions; their numbers are used again.
  void forget(std::uint32_t batch);
  /// While a copy lives the batch is not forgotten: for calls that give up the distributor's lock in between.
  std::shared_ptr<void> pin(std::uint32_t batch) { return batches_[batch]->pin; }
  bool is_pinned(std::uint32_t batch) const { return batches_[batch]->pin.use_count() > 1; }
  /// What has not finished is not started any more by this distributor.
  void leave_by_stop();

  const Entry& entry(std::uint32_t number) const { return entries_[number]; }
  Entry& entry(std::uint32_t number) { return entries_[number]; }
  Batch& batch(std::uint32_t number) const { return *batches_[number]; }
  std::size_t size() const { return entries_.size(); }
  /// The batch's number; opens it if it is new here.
  Result<std::uint32_t> open_batch(const std::string& path);
  /// The one that lies at that path now. Others that were removed from there may still be known.
  std::optional<std::uint32_t> current_batch(const std::string& path) const;
  /// The one that has been known by that path for longest: the next to be forgotten.
  std::optional<std::uint32_t> find_batch(const std::string& path) const;
  std::optional<Found> find(const std::string& id) const;
  std::optional<std::uint32_t> find_token(const std::string& batch_directory, const std::string& token) const;
  std::optional<std::uint32_t> find_submission(std::uint32_t batch, std::uint32_t number) const;

  /// Takes in the bytes of a slot's record file. Returns the tasks that ended by them.
  std::vector<Found> take_records(std::uint32_t batch, const wire::Records& records);
  /// The same from the ledger itself: all that is in the files of these writers and not known yet.
  Result<std::vector<Found>> take_files(std::uint32_t batch, const std::vector<std::string>& writers);
  Result<std::vector<Found>> take_ledger(std::uint32_t batch);  ///< of every writer of the batch
  /// A queued task was taken out on request.
  void remove(Found task);
  /// It ends without a record, because its batch is blocked, which says why.
  void drop(Found task, ExitClass exit_class, CellFlag flag = kDropped);
  void set_phase(Found task, TaskPhase phase);

  Snapshot snapshot(const std::optional<std::vector<std::string>>& ids) const;
  Result<ExitInfo> exit_info(const std::string& id) const;
  std::map<std::string, UsageStats> usage(const std::vector<std::string>& ids) const;

  /// Where a task's end is written, copied out so that it can be read without the distributor's lock.
  struct EndPlace {
    std::string path;
    std::uint64_t offset = 0;
    Cell cell;
    std::string node;     // empty: it has not run
    std::string dropped;  // why, if it was
  };
  EndPlace end_place(Found task) const;
  static Result<FinishedRecord> read_end(const EndPlace& place);
  static ExitInfo unrecorded_info(const EndPlace& place);
  EventLog& events() { return events_; }

 private:
  bool take_record(std::uint32_t batch, std::uint16_t writer, const DecodedRecord& record, std::uint64_t offset,
                   std::vector<Found>& ended);
  std::uint16_t writer_number(Batch& batch, const std::string& name);
  void tell(Entry& entry, EventItem item);

  std::deque<Entry> entries_;
  std::vector<std::uint32_t> free_entries_;
  std::vector<std::unique_ptr<Batch>> batches_;  // null: forgotten
  std::vector<std::uint32_t> free_batches_;
  std::unordered_map<std::string, std::vector<std::uint32_t>> batches_by_path_;  // the oldest first
  std::unordered_map<std::string, std::uint32_t> entry_by_base_;
  std::map<std::pair<std::uint32_t, std::string>, std::uint32_t> entry_by_token_;
  EventLog events_;
};

/// wait_for_events for a distributor whose book is guarded by `mutex`.
Result<std::vector<Event>> events_of(RunBook& book, std::mutex& mutex, std::uint64_t cursor,
                                     std::chrono::milliseconds timeout);

}  // namespace allot
