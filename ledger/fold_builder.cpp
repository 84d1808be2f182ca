// SPDX-License-Identifier: MIT
#include "ledger/fold_builder.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <boost/filesystem.hpp>
#include <limits>
#include <set>

#include "ledger/bytes.h"
#include "ledger/task_codec.h"
#include "process/fd.h"

namespace allot {
namespace {

constexpr std::size_t kMaxDamageLines = 1000;
constexpr std::string_view kDriverPrefix = "driver-";

// N of "driver-N"; 0 for a worker node's file.
std::uint64_t epoch_of(std::string_view name) {
  if (!name.starts_with(kDriverPrefix)) return 0;
  const std::string_view digits = name.substr(kDriverPrefix.size());
  if (digits.empty() || digits.size() > 18 || digits.find_first_not_of("0123456789") != std::string_view::npos)
    return 0;
  return std::stoull(std::string(digits));
}

}  // namespace

FoldBuilder::FoldBuilder(const BatchDirectory& batch) {
  fold_.batch_ = batch;
}

std::string FoldBuilder::name_of(Place place) const {
  return "records/" + fold_.record_files_[place.file] + " @" + std::to_string(place.offset);
}

void FoldBuilder::damage(std::string line) {
  if (fold_.damage_.size() < kMaxDamageLines) {
    fold_.damage_.push_back(std::move(line));
  } else {
    ++unlisted_damage_;
  }
}

Result<Fold> FoldBuilder::build() {
  if (auto listed = list_files(); !listed) return fail(std::move(listed.error()));
  find_missing_files();
  if (auto driver = fold_.batch_.current_driver(); driver && *driver) claimed_steps_ = (*driver)->tasks;
  fold_.tasks_.resize(steps_in_table());
  for (std::size_t file = 0; file < fold_.record_files_.size(); ++file) {
    if (auto read = read_file(static_cast<std::uint16_t>(file)); !read) return fail(std::move(read.error()));
  }
  // Rows are on disk before the intents that name them: read again, so that none of those lacks its row.
  fold_.tasks_.resize(std::max<std::uint64_t>(steps_in_table(), fold_.tasks_.size()));
  for (const DriverAct& act : acts_) apply(act);
  for (auto& [number, submission] : submissions_) fold_.submissions_.push_back(std::move(submission.first));
  std::sort(fold_.other_records_.begin(), fold_.other_records_.end());
  number_attempts();
  settle_states();
  check_table();
  find_whether_ended();
  if (unlisted_damage_ > 0) fold_.damage_.push_back("… and " + std::to_string(unlisted_damage_) + " more like these");
  return std::move(fold_);
}

Result<void> FoldBuilder::list_files() {
  namespace fs = boost::filesystem;
  std::vector<std::string>& names = fold_.record_files_;
  boost::system::error_code error;
  for (fs::directory_iterator it(fold_.batch_.records_directory(), error), end; !error && it != end;
       it.increment(error)) {
    std::string name = it->path().filename().string();
    if (name[0] != '.') names.push_back(std::move(name));
  }
  if (error) {
    return fail(ErrorCode::gave_up,
                fold_.batch_.records_directory() + ": the records cannot be listed: " + errno_text(error.value()));
  }
  if (names.size() > std::numeric_limits<std::uint16_t>::max()) {
    return fail(ErrorCode::gave_up, fold_.batch_.records_directory() + ": " + std::to_string(names.size()) +
                                        " record files are more than a batch can have (65535)");
  }
  std::sort(names.begin(), names.end(), [](const std::string& a, const std::string& b) {
    return std::make_tuple(epoch_of(a), std::string_view(a)) < std::make_tuple(epoch_of(b), std::string_view(b));
  });
  for (const std::string& name : names) epochs_.push_back(epoch_of(name));
  left_in_order_.resize(names.size());
  fold_.sessions_.resize(names.size());
  return {};
}

Result<void> FoldBuilder::read_file(std::uint16_t file) {
  auto report = scan_record_payloads(fold_.batch_.record_path(fold_.record_files_[file]), 0,
                                     [&](std::string_view payload, std::uint64_t offset) {
                                       return take(payload, {file, offset});
                                     });
  if (!report) return fail(std::move(report.error()));
  report_damage(file, *report);
  return {};
}

void FoldBuilder::note_gap(std::string text, bool is_proven) {
  if (!fold_.gap_ || (is_proven && !fold_.gap_->is_proven)) fold_.gap_ = RecordGap{std::move(text), is_proven};
}

bool FoldBuilder::has_output(const std::string& writer) const {
  for (const OutputStream stream : {OutputStream::standard_output, OutputStream::standard_error}) {
    struct stat status {};
    if (::stat(fold_.batch_.output_path(writer, stream).c_str(), &status) == 0 && status.st_size > 0) return true;
  }
  return false;
}

// A worker node makes its record file before the files of its output.
void FoldBuilder::find_missing_files() {
  namespace fs = boost::filesystem;
  std::set<std::string> known(fold_.record_files_.begin(), fold_.record_files_.end());
  boost::system::error_code error, ignored;
  for (fs::directory_iterator it(fold_.batch_.path() + "/output", error), end; !error && it != end;
       it.increment(error)) {
    const std::string writer = it->path().stem().string();
    const std::string suffix = it->path().extension().string();
    if ((suffix != ".out" && suffix != ".err") || !known.insert(writer).second) continue;
    // Of a batch that is being run both may have come since the records were listed.
    if (!has_output(writer) || fs::exists(fold_.batch_.record_path(writer), ignored)) continue;
    const std::string text = "records/" + writer + " is missing: there is output of its worker node";
    damage(text);
    note_gap(text);
  }
}

void FoldBuilder::report_damage(std::uint16_t file, const ScanReport& report) {
  const std::string name = "records/" + fold_.record_files_[file];
  if (epochs_[file] == 0) {
    if (!report.damaged.empty()) {
      note_gap(name + " is damaged at " + std::to_string(report.damaged.front().offset));
    } else if (report.tail_is_damaged) {
      note_gap(name + " is damaged at " + std::to_string(report.valid_end));
    } else if (report.last_sequence == 0) {
      // A worker node that has begun meanwhile has written a record before the output.
      struct stat status {};
      const bool has_run = has_output(fold_.record_files_[file]) &&
                           ::stat(fold_.batch_.record_path(fold_.record_files_[file]).c_str(), &status) == 0 &&
                           static_cast<std::size_t>(status.st_size) < sizeof kRecordFileHeader;
      if (has_run) damage(name + " holds no record, and there is output of its worker node");
      note_gap(name + " holds no record", has_run);
    }
  }
  for (const DamagedRegion& region : report.damaged) {
    damage(name + " @" + std::to_string(region.offset) + ": " + std::to_string(region.length) +
           " bytes are damaged; the records in them are lost, those around them are not");
  }
  if (report.more_damaged > 0) damage(name + ": " + std::to_string(report.more_damaged) + " more damaged regions");
  if (report.torn_bytes > 0) {
    damage(name + " @" + std::to_string(report.valid_end) + ": the last " + std::to_string(report.torn_bytes) +
           (report.tail_is_damaged ? " bytes are damaged; the records in them are lost"
                                   : " bytes are no whole record: its writer died over it, or is writing it now"));
  }
  if (report.unknown_records > 0) {
    damage(name + ": " + std::to_string(report.unknown_records) +
           " records are of types that this version of allot does not know; a newer one wrote them");
  }
}

PayloadAnswer FoldBuilder::take(std::string_view payload, Place place) {
  using ledger::RecordType;
  const auto type = static_cast<RecordType>(ledger::payload_type(payload));
  if (type == RecordType::started || type == RecordType::finished) {  // nearly all records: no decoding of texts
    const bool started = type == RecordType::started;
    const auto glance = started ? ledger::glance_at_started(payload) : ledger::glance_at_finished(payload);
    if (!glance) return PayloadAnswer::damaged;
    see_submission(glance->key.submission);
    add_run_record(*glance, started ? RefKind::started : RefKind::finished, place);
    return PayloadAnswer::next;
  }
  auto decoded = decode_payload(payload);
  if (!decoded) return PayloadAnswer::damaged;
  if (!*decoded) return PayloadAnswer::next;
  Record& record = (*decoded)->record;
  DriverAct act;
  act.place = place;
  if (auto* opened = std::get_if<OpenedRecord>(&record)) {
    fold_.sessions_[place.file] = std::move(*opened);
    left_in_order_[place.file] = false;
  } else if (std::holds_alternative<EndedRecord>(record)) {
    left_in_order_[place.file] = true;
  } else if (auto* intent = std::get_if<IntentRecord>(&record)) {
    take_intent(std::move(*intent), place);
  } else if (auto* submitted = std::get_if<SubmittedRecord>(&record)) {
    take_submitted(std::move(*submitted), place);
  } else if (const auto* verdict = std::get_if<VerdictRecord>(&record)) {
    act.kind = DriverAct::Kind::verdict;
    act.key = verdict->key;
    act.started = verdict->started;
    act.exit_class = verdict->exit_info.exit_class;
    act.number = ledger::outcome_number(verdict->exit_info);
    see_submission(verdict->key.submission);
    acts_.push_back(act);
  } else if (auto* withdrawn = std::get_if<WithdrawnRecord>(&record)) {
    act.kind = DriverAct::Kind::withdrawn;
    act.key.submission = withdrawn->submission;
    see_submission(withdrawn->submission);
    act.list = static_cast<std::uint32_t>(step_lists_.size());
    step_lists_.push_back(std::move(withdrawn->steps));
    acts_.push_back(act);
  } else if (const auto* abandoned = std::get_if<AbandonedRecord>(&record)) {
    act.kind = DriverAct::Kind::abandoned;
    act.key.step = abandoned->step;
    acts_.push_back(act);
  } else if (const auto* retry = std::get_if<RetryRecord>(&record)) {
    act.kind = DriverAct::Kind::retry;
    act.key = retry->key;
    see_submission(retry->key.submission);
    acts_.push_back(act);
  } else if (auto* held = std::get_if<HeldRecord>(&record)) {
    act.kind = DriverAct::Kind::held;
    act.started = held->held;
    act.list = static_cast<std::uint32_t>(step_lists_.size());
    step_lists_.push_back(std::move(held->steps));
    acts_.push_back(act);
  } else if (auto* cancelled = std::get_if<CancelledRecord>(&record)) {
    act.kind = DriverAct::Kind::cancelled;
    act.started = cancelled->cancelled;
    act.list = static_cast<std::uint32_t>(step_lists_.size());
    step_lists_.push_back(std::move(cancelled->steps));
    acts_.push_back(act);
  } else if (const auto* throttle = std::get_if<ThrottleRecord>(&record)) {
    act.kind = DriverAct::Kind::throttle;
    act.key.submission = throttle->max_running;
    acts_.push_back(act);
  } else if (auto* added = std::get_if<AddedRecord>(&record)) {
    take_added(std::move(*added), place);
  }
  return PayloadAnswer::next;
}

void FoldBuilder::take_intent(IntentRecord&& intent, Place place) {
  if (intent.submission == 0) return damage(name_of(place) + ": an intent without a submission's number");
  see_submission(intent.submission);
  if (!intent.steps.empty()) intended_steps_ = std::max(intended_steps_, intent.steps.back() + 1);
  DriverAct act;
  act.place = place;
  act.key.submission = intent.submission;
  auto [it, is_new] = submissions_.try_emplace(intent.submission);
  auto& [known, known_place] = it->second;
  if (is_new) {
    known.intent = std::move(intent);
    known.file = place.file;
    known_place = place;
    acts_.push_back(act);
    return;
  }
  if (known.intent.token == intent.token && known_place.file == place.file) {  // an intent too large for one frame
    StepRanges& steps = known.intent.steps;
    if (!steps.empty() && !intent.steps.empty() && steps.back() >= intent.steps.front()) {
      return damage(name_of(place) + ": an intent for submission " + std::to_string(intent.submission) +
                    " repeats steps of the one at " + name_of(known_place));
    }
    for (const StepRange& range : intent.steps.ranges()) steps.append_range(range.first, range.count);
    return;
  }
  damage(name_of(place) + ": a second intent for submission " + std::to_string(intent.submission) +
         " beside the one at " + name_of(known_place) + "; the later driver's counts");
  if (epochs_[place.file] <= epochs_[known_place.file]) return;
  known = FoldedSubmission{};
  known.intent = std::move(intent);
  known.file = place.file;
  known_place = place;
}

void FoldBuilder::take_submitted(SubmittedRecord&& submitted, Place place) {
  see_submission(submitted.submission);
  auto it = submissions_.find(submitted.submission);
  if (it == submissions_.end()) {
    return damage(name_of(place) + ": the answer to submission " + std::to_string(submitted.submission) +
                  ", of which no intent is known");
  }
  FoldedSubmission& submission = it->second.first;
  submission.accepted = submitted.error.empty();
  submission.native_id = std::move(submitted.native_id);
  submission.error = std::move(submitted.error);
}

void FoldBuilder::take_added(AddedRecord&& added, Place place) {
  see_submission(added.parent.submission);
  const std::uint64_t end = std::uint64_t{added.first_step} + added.count;
  // The claim is older than what was added since.
  if (claimed_steps_) claimed_steps_ = std::max(*claimed_steps_, end);
  DriverAct act;
  act.kind = DriverAct::Kind::added;
  act.place = place;
  act.key = added.parent;
  act.list = static_cast<std::uint32_t>(fold_.additions_.size());
  fold_.additions_.push_back(std::move(added));
  acts_.push_back(act);
}

// --- run records

FoldedTask* FoldBuilder::task_of(std::uint64_t step, Place place) {
  if (step >= fold_.tasks_.size()) {
    // The batch may have grown since its table was looked at. What ran has a row; that it was added its driver's file
    // says, which is read after those of the worker nodes.
    const std::uint64_t steps = claimed_steps_ ? index_entries() : steps_in_table();
    if (step >= steps) {
      damage(name_of(place) + ": a record of step " + std::to_string(step) + "; the batch has " +
             std::to_string(steps));
      return nullptr;
    }
    fold_.tasks_.resize(steps);
  }
  return &fold_.tasks_[step];
}

void FoldBuilder::keep(RefKind kind, const RunKey& key, Place place) {
  fold_.other_records_.push_back({key.step, key.submission, key.restart, place.file, kind, place.offset});
}

// Moves the end of the current run to the other records.
void FoldBuilder::retire_end(FoldedTask& task, std::uint32_t step) {
  if (task.end_kind == EndKind::none) return;
  keep(Fold::ref_kind(task.end_kind), {step, task.submission, task.restart}, {task.end_file, task.end_offset});
  task.end_kind = EndKind::none;
  task.output_incomplete = false;
}

void FoldBuilder::set_end(FoldedTask& task, std::uint32_t step, EndKind kind, Place place) {
  retire_end(task, step);
  task.end_kind = kind;
  task.end_file = place.file;
  task.end_offset = place.offset;
}

// Makes `key` the task's current run; what is known of the one before becomes history.
void FoldBuilder::set_current(FoldedTask& task, std::uint32_t step, const RunKey& key) {
  if (task.started_offset != 0) {
    keep(RefKind::started, {step, task.submission, task.restart}, {task.file, task.started_offset});
  }
  retire_end(task, step);
  task = FoldedTask{};
  task.submission = key.submission;
  task.restart = key.restart;
}

void FoldBuilder::add_run_record(const ledger::RunGlance& glance, RefKind kind, Place place) {
  const RunKey& key = glance.key;
  FoldedTask* task = task_of(key.step, place);
  if (task == nullptr) return;
  if (is_newer(key, *task)) set_current(*task, key.step, key);
  if (!same_run(*task, key)) return keep(kind, key, place);
  if (kind == RefKind::started) {
    if (task->started_offset != 0) return keep(kind, key, place);
    task->file = place.file;
    task->started_offset = place.offset;
    return;
  }
  if (task->end_kind == EndKind::finished) return keep(kind, key, place);
  set_end(*task, key.step, EndKind::finished, place);
  task->exit_class = glance.exit_class;
  task->number = glance.number;
  task->output_incomplete = glance.output_incomplete;
}

// --- the end

// One run is one attempt, however many records tell of it; contradictions among those are found on the way.
void FoldBuilder::number_attempts() {
  std::vector<RecordRef> finished;
  std::vector<RecordRef> started;
  bool verdict = false;
  auto close_run = [&](FoldedTask& task, const RunKey& key) {
    if (!started.empty() || !finished.empty() || verdict) ++task.attempts;
    auto place_of = [&](const RecordRef& ref) { return name_of({ref.file, ref.offset}); };
    for (std::size_t i = 1; i < finished.size(); ++i) {
      damage("two finished records for " + text_of(key) + ": " + place_of(finished[0]) + " and " +
             place_of(finished[i]));
    }
    for (std::size_t i = 1; i < started.size(); ++i) {
      damage("two started records for " + text_of(key) + ": " + place_of(started[0]) + " and " + place_of(started[i]));
    }
    if (!finished.empty() && started.empty()) {
      damage(place_of(finished[0]) + ": a finished record for " + text_of(key) + ", which has no started record");
    }
    finished.clear();
    started.clear();
    verdict = false;
  };
  auto add = [&](const RecordRef& ref) {
    if (ref.kind == RefKind::finished) finished.push_back(ref);
    if (ref.kind == RefKind::started) started.push_back(ref);
    if (ref.kind == RefKind::verdict) verdict = true;
  };

  auto other = fold_.other_records_.begin();
  const auto end = fold_.other_records_.end();
  for (std::size_t step = 0; step < fold_.tasks_.size(); ++step) {
    FoldedTask& task = fold_.tasks_[step];
    const bool has_others = other != end && other->step == step;
    if (!has_others) {  // nearly every task
      task.attempts =
          task.started_offset != 0 || task.end_kind == EndKind::finished || task.end_kind == EndKind::verdict;
      if (task.end_kind != EndKind::finished || task.started_offset != 0) continue;
    }
    const RunKey current{static_cast<std::uint32_t>(step), task.submission, task.restart};
    task.attempts = 0;
    while (other != end && other->step == step) {
      const RunKey key{other->step, other->submission, other->restart};
      for (; other != end && RunKey{other->step, other->submission, other->restart} == key; ++other) add(*other);
      if (key != current) close_run(task, key);
    }
    // The current run is the newest: its other records came last and are still held.
    const RecordRef ref{current.step, current.submission, current.restart,
                        task.file,    RefKind::started,   task.started_offset};
    if (task.started_offset != 0) started.insert(started.begin(), ref);
    if (task.end_kind == EndKind::finished) {
      RecordRef end_ref = ref;
      end_ref.file = task.end_file;
      end_ref.offset = task.end_offset;
      finished.insert(finished.begin(), end_ref);
    }
    verdict = verdict || task.end_kind == EndKind::verdict;
    close_run(task, current);
  }
}

void FoldBuilder::settle_states() {
  for (FoldedTask& task : fold_.tasks_) {
    task.has_end = task.end_kind == EndKind::finished || task.end_kind == EndKind::verdict ||
                   task.end_kind == EndKind::never_started;
    if (task.end_kind == EndKind::abandoned) {
      task.state = TaskState::abandoned;
    } else if (task.end_kind != EndKind::none) {
      const bool is_done = task.exit_class == ExitClass::done;
      // A late result that is good needs no other run but for what it added.
      const bool is_again = is_done ? task.is_again_due : task.is_retry_due;
      task.state = is_again ? TaskState::waiting : is_done ? TaskState::done : TaskState::failed;
    } else if (task.started_offset != 0) {
      task.state = TaskState::running;
    } else {
      task.state = task.submission != 0 ? TaskState::queued : TaskState::waiting;
    }
    ++fold_.counts_[static_cast<std::size_t>(task.state)];
    if (task.is_held && (task.state == TaskState::waiting || task.state == TaskState::queued)) ++fold_.held_;
  }
}

void FoldBuilder::find_whether_ended() {
  if (epochs_.empty() || epochs_.back() == 0) return;
  auto driver = fold_.batch_.current_driver();
  if (!driver) return damage(driver.error().message);
  // A newer driver that has not written a record yet has not left either.
  fold_.ended_ = left_in_order_.back() && (!*driver || (*driver)->epoch <= epochs_.back());
}

// Tells what the table lacks, and what was appended to it by nobody.
void FoldBuilder::check_table() {
  const std::uint64_t size = fold_.tasks_.size();
  const std::uint64_t entries = index_entries();
  if (entries > size && (claimed_steps_ || steps_in_table() <= size)) {
    damage("tasks.index: " + std::to_string(entries - size) + " entries behind the " + std::to_string(size) +
           " of this batch lead to no task; they do not count");
  }
  const std::uint64_t wanted = std::max(claimed_steps_.value_or(0), intended_steps_);
  if (wanted <= size) return;
  fold_.missing_steps_ = wanted - size;
  // Of an intent's steps apply_intent() has told.
  if (claimed_steps_.value_or(0) <= size) return;
  // Before what follows from it.
  fold_.damage_.insert(fold_.damage_.begin(), "tasks.index: damaged: it names the rows of " + std::to_string(size) +
                                                  " tasks, and the batch has " + std::to_string(*claimed_steps_));
}

std::uint64_t FoldBuilder::index_entries() const {
  struct stat status {};
  if (::stat(fold_.batch_.task_index_path().c_str(), &status) != 0) return 0;  // a batch without tasks so far
  return std::min<std::uint64_t>(static_cast<std::uint64_t>(status.st_size) / ledger::kIndexEntryBytes,
                                 ledger::kMaxSteps);
}

// Never more than there are rows for: a hole at the end of the index, which costs nobody anything, must not make a
// reader allocate. A few bad entries stay, since they may be damaged ones of tasks.
std::uint64_t FoldBuilder::steps_in_table() const {
  constexpr std::uint64_t kMostBadEntries = 4096;
  const std::uint64_t entries = index_entries();
  if (claimed_steps_) return std::min(entries, *claimed_steps_);
  if (entries <= kMostBadEntries) return entries;
  const Fd index = open_regular(fold_.batch_.task_index_path(), O_RDONLY);
  struct stat data {};
  if (!index || ::stat(fold_.batch_.task_data_path().c_str(), &data) != 0) return 0;
  const auto leads_to_row = [&](std::uint64_t step) {
    char entry[ledger::kIndexEntryBytes] = {};
    const auto at = static_cast<off_t>(step * sizeof entry);
    if (pread_all(index.get(), entry, sizeof entry, at) != sizeof entry) return false;
    const auto offset = ledger::load<std::uint64_t>(entry);
    return offset >= ledger::kTaskDataHeader.size() && offset < static_cast<std::uint64_t>(data.st_size);
  };
  std::uint64_t good = 0;
  std::uint64_t bad = entries;  // the first from which on none leads anywhere
  if (leads_to_row(entries - 1)) return entries;
  for (--bad; good < bad;) {
    const std::uint64_t middle = good + (bad - good) / 2;
    if (leads_to_row(middle)) {
      good = middle + 1;
    } else {
      bad = middle;
    }
  }
  return entries - good > kMostBadEntries ? good : entries;
}

}  // namespace allot
