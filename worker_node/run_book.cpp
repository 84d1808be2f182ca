// SPDX-License-Identifier: MIT
#include "worker_node/run_book.h"

#include <algorithm>

#include "ledger/task_table.h"
#include "ledger/writer_name.h"
#include "process/identity.h"

namespace allot {
namespace {

// What an intent can keep (ledger/record.cpp).
constexpr std::size_t kMostExcludedBytes = 64 * 1024;
constexpr std::size_t kNodeHeadBytes = 4;

bool is_good_token(const std::string& token) {
  return !token.empty() && token.size() <= 64 && std::all_of(token.begin(), token.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-';
  });
}

}  // namespace

std::uint64_t RunBook::Entry::index_of(std::uint64_t step) const {
  const auto& ranges = submission.steps.ranges();
  const auto it = std::upper_bound(ranges.begin(), ranges.end(), step,
                                   [](std::uint64_t s, const StepRange& r) { return s < r.first; });
  const auto at = static_cast<std::size_t>(std::prev(it) - ranges.begin());
  return offsets[at] + (step - ranges[at].first);
}

Result<std::pair<std::uint32_t, bool>> RunBook::add(const Submission& submission) {
  const auto refuse = [&submission](const std::string& what) {
    return fail(ErrorCode::fix_request, "submission \"" + submission.token + "\": " + what);
  };
  if (!is_good_token(submission.token)) {
    return refuse("a token is 1 to 64 letters, digits, '.', '_' or '-'");
  }
  if (const auto known = find_token(submission.batch_directory, submission.token)) return std::pair(*known, false);
  if (submission.steps.empty()) return refuse("it has no steps");
  if (submission.steps.size() > kMaxArrayStep + 1) return refuse("at most 10,000,000 steps can be submitted as one");
  if (!submission.is_array && submission.steps.size() != 1) return refuse("several steps need is_array");
  if (submission.step_origin > submission.steps.front()) {
    return refuse("step_origin " + std::to_string(submission.step_origin) + " is above its first step " +
                  std::to_string(submission.steps.front()));
  }
  if (submission.is_array && submission.steps.back() - submission.step_origin > kMaxArrayStep) {
    return refuse("array step " + std::to_string(submission.steps.back() - submission.step_origin) +
                  " is above the largest, " + std::to_string(kMaxArrayStep));
  }
  std::size_t excluded_bytes = 0;
  for (const std::string& node : submission.excluded_nodes) excluded_bytes += node.size() + kNodeHeadBytes;
  if (excluded_bytes > kMostExcludedBytes) return refuse("the names of its excluded nodes are longer than 64 KiB");
  auto opened = open_batch(submission.batch_directory);
  if (!opened) return fail(opened.error());
  const std::uint32_t batch_number = *opened;
  Batch& batch = *batches_[batch_number];
  auto table = TaskTableReader::open(batch.directory.task_data_path(), batch.directory.task_index_path());
  if (!table) return fail(table.error());
  auto rows = table->size();
  if (!rows) return fail(rows.error());
  if (submission.steps.back() >= *rows) {
    return refuse("step " + std::to_string(submission.steps.back()) + " is not in the task table of " +
                  batch.directory.path() + ", which has " + std::to_string(*rows) + " steps; nothing was submitted");
  }
  if (batch.entry_of_submission.count(submission.number) != 0) {
    return refuse("number " + std::to_string(submission.number) + " was used for another submission of this batch");
  }
  std::string base = submission.id_base;
  if (base.empty()) {
    auto made = new_id_base();
    if (!made) return fail(made.error());
    base = *made;
  }
  if (entry_by_base_.count(base) != 0) return refuse("id base " + base + " is in use");

  std::uint32_t number = 0;
  if (free_entries_.empty()) {
    number = static_cast<std::uint32_t>(entries_.size());
    entries_.emplace_back();
  } else {
    number = free_entries_.back();
    free_entries_.pop_back();
  }
  Entry& entry = entries_[number];
  entry.submission = submission;
  entry.ids = {base, submission.is_array, submission.step_origin, submission.steps};
  entry.batch = batch_number;
  for (const StepRange& range : submission.steps.ranges()) {
    entry.offsets.push_back(entry.cells.size());
    entry.cells.resize(entry.cells.size() + range.count);
  }
  entry.unfinished = entry.cells.size();
  entry_by_base_.emplace(base, number);
  entry_by_token_.emplace(std::pair(batch_number, submission.token), number);
  batch.entry_of_submission.emplace(submission.number, number);
  return std::pair(number, true);
}

Result<std::uint32_t> RunBook::open_batch(const std::string& path) {
  if (auto known = current_batch(path)) return *known;
  auto directory = BatchDirectory::open(path);
  if (!directory) return fail(directory.error());
  std::uint32_t number = 0;
  if (free_batches_.empty()) {
    number = static_cast<std::uint32_t>(batches_.size());
    batches_.emplace_back();
  } else {
    number = free_batches_.back();
    free_batches_.pop_back();
  }
  batches_[number] = std::make_unique<Batch>();
  batches_[number]->path = path;
  batches_[number]->directory = std::move(*directory);
  batches_by_path_[path].push_back(number);
  return number;
}

void RunBook::take_back(std::uint32_t number) {
  Entry& entry = entries_[number];
  entry_by_base_.erase(entry.ids.base);
  entry_by_token_.erase({entry.batch, entry.submission.token});
  batches_[entry.batch]->entry_of_submission.erase(entry.submission.number);
  const auto generation = static_cast<std::uint8_t>(entry.generation + 1);
  entry = Entry();
  entry.generation = generation;
  free_entries_.push_back(number);
}

Result<void> RunBook::check_forgettable(std::uint32_t number) const {
  const Batch& batch = *batches_[number];
  const std::string head = "batch " + batch.directory.path() + " cannot be forgotten: ";
  for (const auto& [submission, entry] : batch.entry_of_submission) {
    if (entries_[entry].unfinished == 0) continue;
    return fail(ErrorCode::fix_request, head + std::to_string(entries_[entry].unfinished) +
                                            " tasks of its submission " + std::to_string(submission) +
                                            " have not finished");
  }
  if (batch.last_event > events_.acknowledged()) {
    return fail(ErrorCode::retry_later, head + "its event " + std::to_string(batch.last_event) +
                                            " has not been acknowledged; pass it as a cursor to wait_for_events");
  }
  return {};
}

void RunBook::forget(std::uint32_t number) {
  const auto entries = std::move(batches_[number]->entry_of_submission);
  for (const auto& [submission, entry] : entries) take_back(entry);
  const auto at_path = batches_by_path_.find(batches_[number]->path);
  std::erase(at_path->second, number);
  if (at_path->second.empty()) batches_by_path_.erase(at_path);
  batches_[number].reset();
  free_batches_.push_back(number);
}

void RunBook::leave_by_stop() {
  for (Entry& entry : entries_) entry.is_left_by_stop = entry.unfinished > 0;
}

std::optional<std::uint32_t> RunBook::current_batch(const std::string& path) const {
  const auto it = batches_by_path_.find(path);
  if (it == batches_by_path_.end()) return std::nullopt;
  const std::uint32_t last = it->second.back();
  // What cannot be read now, or is not there any more, proves no other batch.
  const auto there = BatchDirectory::open(path);
  if (there && there->info().batch_id != batches_[last]->directory.info().batch_id) return std::nullopt;
  return last;
}

std::optional<std::uint32_t> RunBook::find_batch(const std::string& path) const {
  const auto it = batches_by_path_.find(path);
  return it == batches_by_path_.end() ? std::nullopt : std::optional(it->second.front());
}

std::optional<RunBook::Found> RunBook::find(const std::string& id) const {
  const auto parsed = parse_distributor_id(id);
  if (!parsed) return std::nullopt;
  auto it = entry_by_base_.find(parsed->base);
  if (it == entry_by_base_.end()) return std::nullopt;
  const Entry& entry = entries_[it->second];
  if (parsed->array_step.has_value() != entry.ids.is_array) return std::nullopt;
  const std::uint64_t step =
      entry.ids.is_array ? entry.ids.step_origin + *parsed->array_step : entry.submission.steps.front();
  if (!entry.submission.steps.contains(step)) return std::nullopt;
  return Found{it->second, step};
}

std::optional<std::uint32_t> RunBook::find_token(const std::string& batch_directory, const std::string& token) const {
  const auto batch = current_batch(batch_directory);
  if (!batch) return std::nullopt;
  auto it = entry_by_token_.find({*batch, token});
  return it == entry_by_token_.end() ? std::nullopt : std::optional(it->second);
}

std::optional<std::uint32_t> RunBook::find_submission(std::uint32_t batch, std::uint32_t number) const {
  const auto& known = batches_[batch]->entry_of_submission;
  auto it = known.find(number);
  return it == known.end() ? std::nullopt : std::optional(it->second);
}

std::uint16_t RunBook::writer_number(Batch& batch, const std::string& name) {
  auto [it, added] = batch.writer_index.emplace(name, static_cast<std::uint16_t>(batch.writers.size()));
  if (added) {
    batch.writers.push_back(name);
    batch.nodes.push_back(host_of_slot_writer(name));
  }
  return it->second;
}

void RunBook::tell(Entry& entry, EventItem item) {
  item.generation = entry.generation;
  batches_[entry.batch]->last_event = events_.push(item);
}

bool RunBook::take_record(std::uint32_t batch, std::uint16_t writer, const DecodedRecord& record, std::uint64_t offset,
                          std::vector<Found>& ended) {
  const auto* started = std::get_if<StartedRecord>(&record.record);
  const auto* finished = std::get_if<FinishedRecord>(&record.record);
  if (started == nullptr && finished == nullptr) return true;
  const RunKey& key = started != nullptr ? started->key : finished->key;
  const auto number = find_submission(batch, key.submission);
  if (!number) return true;  // of an earlier driver's submission: the ledger has it
  Entry& entry = entries_[*number];
  if (!entry.submission.steps.contains(key.step)) return true;
  Cell& cell = entry.cell(key.step);
  if (cell.phase == TaskPhase::finished) return true;
  EventItem item;
  item.entry = *number;
  item.step = key.step;
  if (started != nullptr) {
    if (cell.phase == TaskPhase::running) return true;
    cell.phase = TaskPhase::running;
    cell.writer = writer;
    cell.restart = key.restart;
    item.phase = TaskPhase::running;
    item.at_ns = started->at_ns;
    tell(entry, item);
    return true;
  }
  if ((cell.flags & kJudged) != 0 && cell.phase == TaskPhase::running) {
    cell.began_at = static_cast<std::uint16_t>(cell.writer + 1);
  }
  cell.phase = TaskPhase::finished;
  cell.exit_class = finished->exit_info.exit_class;
  cell.writer = writer;
  cell.end_offset = offset;
  cell.restart = key.restart;
  --entry.unfinished;
  ended.push_back({*number, key.step});
  item.phase = TaskPhase::finished;
  item.at_ns = finished->ended_ns;
  item.has_usage = finished->usage.wall_seconds.has_value();
  item.wall_seconds = static_cast<float>(finished->usage.wall_seconds.value_or(0));
  item.max_rss_bytes = finished->usage.max_rss_bytes.value_or(0);
  item.output_incomplete = finished->standard_output.lost_bytes + finished->standard_error.lost_bytes > 0;
  tell(entry, item);
  return true;
}

std::vector<RunBook::Found> RunBook::take_records(std::uint32_t batch, const wire::Records& records) {
  std::vector<Found> ended;
  const std::uint16_t writer = writer_number(*batches_[batch], records.writer);
  scan_frames(records.bytes, records.offset, [&](const DecodedRecord& record, std::uint64_t offset) {
    return take_record(batch, writer, record, offset, ended);
  });
  return ended;
}

Result<std::vector<RunBook::Found>> RunBook::take_files(std::uint32_t batch_number,
                                                        const std::vector<std::string>& writers) {
  std::vector<Found> ended;
  Batch& batch = *batches_[batch_number];
  for (const std::string& name : writers) {
    const std::uint16_t writer = writer_number(batch, name);
    auto report =
        scan_record_file(batch.directory.record_path(name), 0, [&](const DecodedRecord& record, std::uint64_t offset) {
          return take_record(batch_number, writer, record, offset, ended);
        });
    if (!report) return fail(report.error());
  }
  return ended;
}

Result<std::vector<RunBook::Found>> RunBook::take_ledger(std::uint32_t batch_number) {
  auto fold = Fold::load(batches_[batch_number]->directory);
  if (!fold) return fail(fold.error());
  return take_files(batch_number, fold->record_files());
}

void RunBook::remove(Found task) {
  drop(task, ExitClass::killed, kRemoved);
}

void RunBook::drop(Found task, ExitClass exit_class, CellFlag flag) {
  Entry& entry = entries_[task.entry];
  Cell& cell = entry.cell(task.step);
  if (cell.phase == TaskPhase::finished) return;
  if (cell.phase == TaskPhase::running) cell.began_at = static_cast<std::uint16_t>(cell.writer + 1);
  cell.phase = TaskPhase::finished;
  cell.exit_class = exit_class;
  cell.flags |= flag;
  --entry.unfinished;
  EventItem item;
  item.entry = task.entry;
  item.step = static_cast<std::uint32_t>(task.step);
  item.phase = TaskPhase::finished;
  item.at_ns =
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  tell(entry, item);
}

void RunBook::set_phase(Found task, TaskPhase phase) {
  Cell& cell = entries_[task.entry].cell(task.step);
  if (cell.phase != TaskPhase::finished) cell.phase = phase;
}

Snapshot RunBook::snapshot(const std::optional<std::vector<std::string>>& ids) const {
  Snapshot snapshot;
  snapshot.as_of = std::chrono::system_clock::now();
  const auto take = [&](const Entry& entry, std::uint64_t step) {
    const Cell& cell = entry.cells[entry.index_of(step)];
    if (cell.phase == TaskPhase::finished) return;
    const bool held = cell.phase == TaskPhase::queued && (cell.flags & kHeld) != 0;
    snapshot.phases.emplace(entry.ids.id_of(step), held ? TaskPhase::held : cell.phase);
  };
  if (ids) {
    for (const std::string& id : *ids) {
      if (auto found = find(id)) take(entries_[found->entry], found->step);
    }
    return snapshot;
  }
  for (const Entry& entry : entries_) {
    if (entry.unfinished == 0) continue;
    entry.submission.steps.for_each([&](std::uint64_t step) { take(entry, step); });
  }
  return snapshot;
}

ExitInfo RunBook::unrecorded_info(const EndPlace& place) {
  ExitInfo info;
  info.exit_class = place.cell.exit_class;
  info.text = place.dropped.empty() ? "removed from the queue before it started" : place.dropped;
  return info;
}

RunBook::EndPlace RunBook::end_place(Found task) const {
  const Entry& entry = entries_[task.entry];
  EndPlace place;
  place.cell = entry.cells[entry.index_of(task.step)];
  const bool has_begun = place.cell.phase == TaskPhase::running || place.cell.phase == TaskPhase::finished;
  if (!has_begun || (place.cell.flags & kRemoved) != 0) return place;
  const Batch& batch = *batches_[entry.batch];
  if ((place.cell.flags & kDropped) != 0) {
    if (place.cell.began_at > 0) place.node = batch.nodes[place.cell.began_at - 1u];
    place.dropped = batch.blocked;
    return place;
  }
  const bool is_judged = place.cell.phase == TaskPhase::finished && (place.cell.flags & kJudged) != 0;
  if (!is_judged) {
    place.node = batch.nodes[place.cell.writer];
  } else if (place.cell.began_at > 0) {
    place.node = batch.nodes[place.cell.began_at - 1u];
  }
  if (place.cell.phase == TaskPhase::finished) {
    place.path = batch.directory.record_path(batch.writers[place.cell.writer]);
    place.offset = place.cell.end_offset;
  }
  return place;
}

Result<FinishedRecord> RunBook::read_end(const EndPlace& place) {
  auto record = read_record_at(place.path, place.offset);
  if (!record) return fail(record.error());
  if (auto* finished = std::get_if<FinishedRecord>(&record->record)) return std::move(*finished);
  return fail(ErrorCode::gave_up, place.path + ": no finished record at offset " + std::to_string(place.offset));
}

Result<ExitInfo> RunBook::exit_info(const std::string& id) const {
  const auto found = find(id);
  if (!found) return fail(ErrorCode::not_available, "id \"" + id + "\" was not given out here");
  const EndPlace place = end_place(*found);
  if (place.cell.phase != TaskPhase::finished) {
    return fail(ErrorCode::not_available, "id " + id + " has not finished");
  }
  if (place.path.empty()) return unrecorded_info(place);
  auto end = read_end(place);
  if (!end) return fail(ErrorCode::not_available, end.error().message);
  return end->exit_info;
}

std::map<std::string, UsageStats> RunBook::usage(const std::vector<std::string>& ids) const {
  std::map<std::string, UsageStats> stats;
  for (const std::string& id : ids) {
    const auto found = find(id);
    if (!found) continue;
    const EndPlace place = end_place(*found);
    UsageStats used;
    if (!place.path.empty()) {
      if (auto end = read_end(place)) used = end->usage;
    }
    used.node = place.node;
    stats.emplace(id, std::move(used));
  }
  return stats;
}

Result<std::vector<Event>> events_of(RunBook& book, std::mutex& mutex, std::uint64_t cursor,
                                     std::chrono::milliseconds timeout) {
  auto batch = book.events().wait(cursor, timeout);
  if (!batch) return fail(batch.error());
  std::vector<Event> events;
  std::vector<RunBook::EndPlace> places;
  events.reserve(batch->items.size());
  places.reserve(batch->items.size());
  {
    std::lock_guard lock(mutex);
    for (std::size_t i = 0; i < batch->items.size(); ++i) {
      const EventItem& item = batch->items[i];
      const RunBook::Entry& entry = book.entry(item.entry);
      // Acknowledged by another caller since, and its batch forgotten.
      if (entry.generation != item.generation) continue;
      RunBook::EndPlace place = book.end_place({item.entry, item.step});
      Event event;
      event.sequence = batch->first_sequence + i;
      event.distributor_id = entry.ids.id_of(item.step);
      event.batch_directory = entry.submission.batch_directory;
      event.submission = entry.submission.number;
      event.step = item.step;
      event.phase = item.phase;
      event.at = std::chrono::system_clock::time_point(
          std::chrono::duration_cast<std::chrono::system_clock::duration>(std::chrono::nanoseconds(item.at_ns)));
      if (item.has_usage) {
        event.wall_seconds = item.wall_seconds;
        event.max_rss_bytes = item.max_rss_bytes;
      }
      event.output_incomplete = item.output_incomplete;
      event.node = place.node;
      events.push_back(std::move(event));
      places.push_back(std::move(place));
    }
  }
  // Texts lie in the ledger; a done task has none worth a read.
  for (std::size_t i = 0; i < events.size(); ++i) {
    if (events[i].phase != TaskPhase::finished) continue;
    ExitInfo info;
    info.exit_class = places[i].cell.exit_class;
    if (places[i].path.empty()) {
      info = RunBook::unrecorded_info(places[i]);
    } else if (info.exit_class == ExitClass::done && !events[i].output_incomplete) {
      info.exit_code = 0;
    } else if (auto end = RunBook::read_end(places[i])) {
      info = std::move(end->exit_info);
    } else {
      info.text = end.error().message;
    }
    events[i].exit_info = std::move(info);
  }
  return events;
}

}  // namespace allot
