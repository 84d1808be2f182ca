// SPDX-License-Identifier: MIT
// What is learnt of tasks that were submitted: from the records that their elements write, from the controller's table,
// and, of what both leave open, from the accounting.
#include <algorithm>
#include <utility>

#include "distributors/slurm/element_set.h"
#include "distributors/slurm/slurm_distributor.h"
#include "ledger/submission_file.h"
#include "process/fault_point.h"
#include "worker_node/local_distributor.h"

namespace allot::slurm {
namespace {

constexpr std::chrono::seconds kFinalPatience{3};        // a reason for which it can never start must hold so long
constexpr std::chrono::seconds kUnseenPatience{20};      // between the answer to a submission and its first look
constexpr std::chrono::seconds kAccountingPatience{60};  // an accounting that is down is not waited for longer
constexpr std::chrono::seconds kAccountingDelay{2};      // which the controller takes to tell it of an end
constexpr double kSlowDown = 1.5;

std::int64_t unix_nanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// An element's figures are its task's.
bool is_of_one_task(const NativeJob& job) {
  return job.sending.layout.pack == 1 && !job.sending.is_users_own;
}

UsageStats usage_of(const JobRecord& accounted) {
  UsageStats usage;
  usage.source = UsageSource::accounting;
  usage.wall_seconds = accounted.elapsed_seconds;
  // Of a job that was killed it has neither; both are 0 then.
  if (accounted.user_seconds.value_or(0) + accounted.system_seconds.value_or(0) > 0) {
    usage.user_seconds = accounted.user_seconds;
    usage.system_seconds = accounted.system_seconds;
  }
  // Sampled, by the sum of the tree; 0: the sampler had no time to look.
  if (accounted.max_rss_bytes.value_or(0) > 0) usage.tree_peak_bytes = accounted.max_rss_bytes;
  usage.energy_joules = accounted.energy_joules;
  return usage;
}

std::string text_of_wait_status(std::uint32_t status) {
  const int signal = static_cast<int>(status & 0x7f), code = static_cast<int>((status >> 8) & 0xff);
  return std::to_string(code) + ":" + std::to_string(signal);
}

}  // namespace

void SlurmDistributor::follow_records() {
  std::unique_lock lock(mutex_);
  while (life_ == Life::running || life_ == Life::stopping) {
    lock.unlock();
    read_records();
    lock.lock();
    judge_gone();
    record_time_.wait_for(lock, settings_.record_interval,
                          [this] { return is_record_time_ || (life_ != Life::running && life_ != Life::stopping); });
    is_record_time_ = false;
  }
}

void SlurmDistributor::read_records() {
  struct Place {
    std::string id, path;
    std::shared_ptr<void> pin;
  };
  std::map<std::uint32_t, Place> batches;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [entry, job] : jobs_) {
      const RunBook::Entry& known = book_.entry(entry);
      if (known.unfinished == 0 || batches.count(known.batch) != 0) continue;
      const BatchDirectory& directory = book_.batch(known.batch).directory;
      batches.emplace(known.batch, Place{directory.info().batch_id, directory.path(), book_.pin(known.batch)});
    }
    std::erase_if(followers_, [&](const auto& item) {
      return read_again_.count(item.first) != 0 || std::none_of(batches.begin(), batches.end(), [&](const auto& batch) {
               return batch.second.id == item.first;
             });
    });
    read_again_.clear();
  }
  for (const auto& [batch, place] : batches) {
    auto [follower, added] = followers_.try_emplace(place.id, place.path);
    auto news = follower->second.look();
    std::lock_guard lock(mutex_);
    if (!news) {
      // A directory that is away for the moment; one that was removed is told by whoever drives the batch.
      note_trouble(news.error().message);
      continue;
    }
    for (const RecordFollower::News& item : *news) {
      book_.take_records(batch, item.records);
      ended_seconds_ += item.ended_seconds;
      ended_tasks_ += item.ended_tasks;
    }
    if (!news->empty()) changed_.notify_all();
  }
}

// Even what is urgent keeps this distance.
SlurmDistributor::Clock::duration SlurmDistributor::poll_distance() const {
  return std::max(settings_.shortest_poll, std::chrono::milliseconds(60'000 / settings_.requests_per_minute));
}

void SlurmDistributor::wake_poll() {
  is_poll_time_ = true;
  poll_time_.notify_all();
}

void SlurmDistributor::follow_controller() {
  std::unique_lock lock(mutex_);
  while (life_ == Life::running || life_ == Life::stopping) {
    const bool has_jobs = std::any_of(jobs_.begin(), jobs_.end(), [this](const auto& item) {
      return item.second.is_answered && book_.entry(item.first).unfinished > 0;
    });
    if (has_jobs) {
      const JobFilter filter = unfinished_jobs();
      lock.unlock();
      auto table = agent_.jobs(filter, settings_.answer_timeout);
      lock.lock();
      if (table) {
        trouble_.clear();
        ++polls_;
        take_table(*table);
        keep_submit_times(lock);
        ask_accounting(lock);
        judge_gone();
        end_impossible();
      } else {
        // No answer is no evidence: everything stays as it was.
        trouble_ = "the controller cannot be asked: " + table.error().text;
      }
      changed_.notify_all();
    }
    // Soon while something is in the making, and ever more rarely while nothing changes.
    const auto slower = kSlowDown * static_cast<double>(std::max(poll_interval_, settings_.shortest_poll).count());
    poll_interval_ = std::min(std::chrono::milliseconds(static_cast<std::int64_t>(slower)), settings_.longest_poll);
    const auto polled = Clock::now();
    const auto is_over = [this] { return life_ != Life::running && life_ != Life::stopping; };
    const auto is_woken = [&] { return is_poll_time_ || is_over(); };
    poll_time_.wait_until(lock, polled + poll_distance(), is_over);
    if (has_jobs) {
      poll_time_.wait_until(lock, polled + std::max<Clock::duration>(poll_interval_, poll_distance()), is_woken);
    } else {
      poll_time_.wait(lock, is_woken);
    }
    is_poll_time_ = false;
  }
}

JobFilter SlurmDistributor::unfinished_jobs() const {
  JobFilter filter;
  for (const auto& [entry, job] : jobs_) {
    if (job.sending.job_id && book_.entry(entry).unfinished > 0) filter.ids.push_back(*job.sending.job_id);
  }
  return filter;
}

void SlurmDistributor::take_table(const JobTable& table) {
  for (auto& [entry, job] : jobs_) {
    if (job.is_answered && book_.entry(entry).unfinished > 0) take_view(job, table);
  }
}

// By it the job is known again, also by the next driver, when somebody has given it another name.
void SlurmDistributor::keep_submit_times(std::unique_lock<std::mutex>& lock) {
  struct Kept {
    std::string batch_path;
    std::uint32_t submission = 0;
    Sending sending;
  };
  std::vector<Kept> kept;
  for (auto& [entry, job] : jobs_) {
    if (!std::exchange(job.is_to_be_kept, false) || job.sending.is_users_own) continue;
    const RunBook::Entry& known = book_.entry(entry);
    if (known.unfinished == 0) continue;
    kept.push_back({book_.batch(known.batch).directory.path(), known.submission.number, job.sending});
  }
  if (kept.empty()) return;
  lock.unlock();
  // What cannot be written is no loss as long as the job has its name.
  for (const Kept& one : kept) static_cast<void>(write_sending(one.batch_path, one.submission, one.sending));
  lock.lock();
}

void SlurmDistributor::take_view(NativeJob& job, const JobTable& table) {
  const StepRanges waited = job.waiting;
  job.waiting = {};
  job.waiting_record.reset();
  std::vector<bool> seen(job.element_count());
  bool is_whole = true;
  bool has_record = false;
  for (const JobRecord& record : table.jobs) {
    if (!job.is_told_by(record)) continue;
    has_record = true;
    if (job.sending.submitted_at == 0 && record.submitted != 0) {
      job.sending.submitted_at = record.submitted;
      job.is_to_be_kept = true;
    }
    const NativeState state = native_state(record.state);
    if (job.sending.is_array && !record.element) {
      if (record.pending.empty()) continue;  // of all that was left of an array when it was cancelled
      auto elements = parse_elements(record.pending);
      if (!elements) {
        is_whole = false;  // nothing may be taken for gone by a list that cannot be read
        continue;
      }
      if (state.phase == NativePhase::pending) {
        job.waiting = job.elements_numbered(*elements);
        job.waiting_record = record;
        job.waiting.for_each([&](std::uint64_t element) { seen[element] = true; });
        // A controller that came back may know again what it had not known for a moment.
        for (auto& [element, view] : job.elements) {
          if (!job.waiting.contains(element)) continue;
          view.is_gone = view.is_withdrawn = false;
        }
        continue;
      }
      // A whole array that was cancelled before it began: one record for all that is left of it.
      job.elements_numbered(*elements).for_each([&](std::uint64_t element) {
        seen[element] = true;
        mark_gone(job, element, &record);
      });
      continue;
    }
    const auto known = record.element ? job.element_numbered(*record.element) : std::optional<std::uint64_t>(0);
    if (!known) continue;
    const std::uint64_t element = *known;
    seen[element] = true;
    ElementView& view = job.elements[element];
    view.is_known = true;
    const bool is_over = state.phase == NativePhase::ended;
    view.state = state;
    view.record = record;
    if (is_over) {
      mark_gone(job, element, &record);
    } else {
      view.is_gone = false;
    }
  }
  const auto now = Clock::now();
  // Slurm keeps what has ended for MinJobAge (0: for good). An element that waited at a look before and is not to be
  // found within that time has not ended: it never began. Of what is cancelled out of an array nothing is kept.
  const std::chrono::seconds kept_for{site_.info.min_job_age_seconds};
  const bool is_complete = has_record && job.looked_at && (kept_for.count() == 0 || now - *job.looked_at < kept_for);
  if (has_record) {
    job.was_seen = true;
    job.looked_at = now;
  }
  // The job may be younger than the table.
  const bool may_be_unseen = !job.was_seen && now - job.accepted_at < kUnseenPatience;
  if (!is_whole || may_be_unseen || job.accepted_at + std::chrono::seconds(1) > now) {
    // This look does not say what has become of those that it does not show: they wait, as far as is known.
    StepRanges waiting;
    for (std::uint64_t element = 0; element < job.element_count(); ++element) {
      if (job.waiting.contains(element) || (waited.contains(element) && !seen[element])) waiting.append(element);
    }
    job.waiting = std::move(waiting);
    return;
  }
  for (std::uint64_t element = 0; element < job.element_count(); ++element) {
    if (seen[element] || unfinished_in(job, element) == 0) continue;
    mark_gone(job, element, nullptr);
    if (is_complete && waited.contains(element)) job.elements[element].is_withdrawn = true;
  }
  if (!(waited == job.waiting)) poll_interval_ = settings_.shortest_poll;
}

void SlurmDistributor::mark_gone(NativeJob& job, std::uint64_t element, const JobRecord* record) {
  if (element >= job.element_count() || unfinished_in(job, element) == 0) return;
  ElementView& view = job.elements[element];
  if (record != nullptr) {
    view.record = *record;
    view.state = native_state(record->state);
    view.is_known = true;
  }
  if (view.is_gone) return;
  view.is_gone = true;
  view.gone_since = Clock::now();
  poll_interval_ = settings_.shortest_poll;
  is_record_time_ = true;  // what it wrote last is there now, or will be soon
  record_time_.notify_all();
}

// What the controller has forgotten, the accounting may know; of a run that left no end it knows what that used, too.
// What became of an element is asked once; what it used until the accounting has it, or the verdict is due.
void SlurmDistributor::ask_accounting(std::unique_lock<std::mutex>& lock) {
  if (!site_.info.has_accounting) return;
  std::vector<std::string> names;
  std::int64_t since = INT64_MAX;
  const auto is_open = [this](const NativeJob& job, std::uint64_t element, const ElementView& view) {
    if (!view.is_gone || view.is_settled || view.is_accounted || view.is_withdrawn) return false;
    return view.state.phase != NativePhase::ended || (is_of_one_task(job) && unfinished_in(job, element) > 0 &&
                                                      Clock::now() - view.gone_since > kAccountingDelay);
  };
  for (const auto& known : jobs_) {
    const NativeJob& job = known.second;
    if (book_.entry(known.first).unfinished == 0) continue;
    if (std::none_of(job.elements.begin(), job.elements.end(),
                     [&](const auto& item) { return is_open(job, item.first, item.second); }))
      continue;
    names.push_back(job.sending.job_name);
    since = std::min(since, job.sending.sent_at - 60);
  }
  if (names.empty()) return;
  lock.unlock();
  auto records = agent_.accounted(names, since, settings_.answer_timeout);
  lock.lock();
  if (!records) {
    trouble_ = "the accounting cannot be asked: " + records.error().text;
    return;
  }
  for (auto& [entry, job] : jobs_) {
    if (std::find(names.begin(), names.end(), job.sending.job_name) == names.end()) continue;
    for (auto& [element, view] : job.elements) {
      if (!is_open(job, element, view)) continue;
      const bool is_for_usage = view.state.phase == NativePhase::ended;
      if (!is_for_usage) view.is_accounted = true;
      const JobRecord* latest = nullptr;  // of several runs the last one counts
      for (const JobRecord& record : *records) {
        const bool is_it = job.is_told_by(record) && record.element.has_value() == job.sending.is_array &&
                           (!record.element || job.element_numbered(*record.element) == element);
        if (is_it && (latest == nullptr || record.started >= latest->started)) latest = &record;
      }
      if (latest == nullptr || native_state(latest->state).phase != NativePhase::ended) continue;
      view.is_accounted = !is_for_usage || latest->max_rss_bytes.has_value();  // which comes with its step, later
      view.accounted = *latest;
      if (is_for_usage) continue;
      view.record = *latest;
      view.state = native_state(latest->state);
      view.is_known = true;
    }
  }
}

// Gives a verdict on what elements that are gone have left without an end. With mutex_ held.
void SlurmDistributor::judge_gone() {
  const auto now = Clock::now();
  for (auto& [entry, job] : jobs_) {
    if (book_.entry(entry).unfinished == 0) continue;
    std::vector<FinishedRecord> verdicts;
    for (auto& [element, view] : job.elements) {
      if (!view.is_gone || view.is_settled) continue;
      if (remove_never_begun(job, element)) view.is_settled = true;
      if (view.is_settled || now - view.gone_since < settings_.record_patience) continue;
      const bool may_be_told = site_.info.has_accounting && !view.is_accounted && !view.is_withdrawn &&
                               view.state.phase != NativePhase::ended;
      if (may_be_told && now - view.gone_since < settings_.record_patience + kAccountingPatience) continue;
      judge(job, element, verdicts);
      view.is_settled = true;
    }
    if (verdicts.empty()) continue;
    if (!give_verdicts(job, verdicts)) {
      for (auto& [element, view] : job.elements) view.is_settled = false;  // tried again
    }
  }
}

// Into a record file of their own, as whatever else ends a run; the next look at the records takes them from there.
// First the steps are taken out: an element that comes to life after all, with a controller that finds its state again,
// must not run what has a verdict. False: nothing was given.
bool SlurmDistributor::give_verdicts(const NativeJob& job, const std::vector<FinishedRecord>& verdicts) {
  const RunBook::Entry& entry = book_.entry(job.entry);
  const BatchDirectory& batch = book_.batch(entry.batch).directory;
  std::vector<StopRequest> stops;
  for (const FinishedRecord& verdict : verdicts) {
    book_.entry(job.entry).cell(verdict.key.step).flags |= RunBook::kJudged;
    if (!stops.empty() && stops.back().last + 1 == verdict.key.step) {
      stops.back().last = verdict.key.step;
    } else {
      stops.push_back({false, verdict.key.step, verdict.key.step, 0});
    }
  }
  if (auto noted = append_stop_requests(batch.path(), entry.submission.number, stops); !noted) {
    note_trouble(noted.error().message);
    return false;
  }
  ALLOT_FAULT_POINT("slurm_before_verdict");
  if (auto written = record_ends(batch, verdicts); !written) {
    note_trouble(written.error().message);
    return false;
  }
  is_record_time_ = true;
  record_time_.notify_all();
  return true;
}

// Of what was cancelled before it began Slurm keeps no record, or one without a node: nothing of it is to be waited
// for.
bool SlurmDistributor::remove_never_begun(NativeJob& job, std::uint64_t element) {
  const ElementView& view = job.elements[element];
  if (view.is_known && (view.state.phase != NativePhase::ended || !view.record.nodes.empty())) return false;
  RunBook::Entry& entry = book_.entry(job.entry);
  const auto [first, last] = job.positions(element);
  for (std::uint64_t position = first; position < last; ++position) {
    const RunBook::Cell& cell = entry.cells[position];
    const bool is_removed = cell.phase != TaskPhase::running && (cell.flags & RunBook::kTerminating) != 0;
    if (cell.phase != TaskPhase::finished && !is_removed) return false;
  }
  for (std::uint64_t position = first; position < last; ++position) {
    book_.remove({job.entry, step_at(entry, position)});
  }
  return true;
}

void SlurmDistributor::judge(NativeJob& job, std::uint64_t element, std::vector<FinishedRecord>& verdicts) {
  const ElementView& view = job.elements[element];
  RunBook::Entry& entry = book_.entry(job.entry);
  const auto [first, last] = job.positions(element);
  const std::string native =
      std::to_string(*job.sending.job_id) + (job.sending.is_array ? "_" + std::to_string(job.number_of(element)) : "");
  std::string evidence = "Slurm job " + native;
  if (view.is_withdrawn) {
    evidence += " waited, and at the next look it was neither waiting nor running nor had it ended: it was cancelled";
  } else if (view.is_known) {
    evidence += ": last state seen " + view.state.name;
    if (view.state.phase == NativePhase::ended) evidence += ", exit " + text_of_wait_status(view.record.wait_status);
    if (!view.record.nodes.empty()) evidence += ", on " + view.record.nodes;
    if (view.state.phase != NativePhase::ended) evidence += "; the controller does not know it any more";
  } else {
    evidence += " is not known to the controller any more, and was never seen by itself";
  }
  for (std::uint64_t position = first; position < last; ++position) {
    const std::uint64_t step = step_at(entry, position);
    RunBook::Cell& cell = entry.cells[position];
    if (cell.phase == TaskPhase::finished) continue;
    FinishedRecord verdict;
    verdict.key = {static_cast<std::uint32_t>(step), entry.submission.number, cell.restart};
    verdict.attempt = entry.submission.attempt;
    verdict.ended_ns = unix_nanoseconds();
    const bool has_ended = view.is_known && view.state.phase == NativePhase::ended;
    ExitClass end = has_ended ? view.state.exit_class : ExitClass::lost;
    // By nobody: so the accounting closes the jobs of a controller that has lost its state.
    const bool is_closed = view.record.is_accounted && !view.record.cancelled_by && end == ExitClass::killed;
    if (is_closed) end = ExitClass::lost;
    if (view.is_withdrawn && cell.phase != TaskPhase::running) end = ExitClass::killed;
    std::string text;
    if (cell.phase == TaskPhase::running) {
      text = "it began and left no end; ";
    } else if ((cell.flags & RunBook::kTerminating) == 0) {
      text = "it never began; ";
      // What ended the element is no doing of a task that had not had its turn.
      if (has_ended && (end == ExitClass::timed_out || end == ExitClass::out_of_memory)) end = ExitClass::preempted;
      const bool script_failed = has_ended && end == ExitClass::lost && view.record.wait_status != 0;
      if (script_failed) end = ExitClass::launch_failed;
    }
    if ((cell.flags & RunBook::kTerminating) != 0) {
      end = ExitClass::killed;
      text += "it was to be ended; ";
    }
    verdict.exit_info.exit_class = end;
    verdict.exit_info.text = text + evidence;
    if (view.accounted && is_of_one_task(job) && cell.phase == TaskPhase::running) {
      verdict.usage = usage_of(*view.accounted);
    }
    verdicts.push_back(std::move(verdict));
  }
}

// Those that wait for a reason that will not pass: of several reasons, those with the first one.
std::pair<PendingReason, StepRanges> SlurmDistributor::impossible_elements(const NativeJob& job) const {
  std::pair<PendingReason, StepRanges> found;
  if (book_.entry(job.entry).unfinished == 0) return found;
  const auto reason_of_record = [](const JobRecord& record) {
    return pending_reason(record.reason, record.description);
  };
  if (job.waiting_record) {
    found.first = reason_of_record(*job.waiting_record);
    if (found.first.is_final) {
      found.second = job.waiting;
      return found;
    }
  }
  for (const auto& [element, view] : job.elements) {
    if (job.waiting.contains(element) || job.pending_record(element) == nullptr) continue;
    PendingReason reason = reason_of_record(view.record);
    if (!reason.is_final || (!found.second.empty() && reason.name != found.first.name)) continue;
    found.first = std::move(reason);
    found.second.append(element);
  }
  return found;
}

// What waits for a reason that will not pass is ended as a queueing error, with the reason.
void SlurmDistributor::end_impossible() {
  for (auto& [entry, job] : jobs_) {
    const auto impossible = impossible_elements(job);
    const PendingReason& reason = impossible.first;
    const StepRanges& waiting = impossible.second;
    if (waiting.empty()) {
      job.final_since.reset();
      continue;
    }
    const auto now = Clock::now();
    if (!job.final_since) job.final_since = now;
    if (now - *job.final_since < kFinalPatience) {
      poll_interval_ = settings_.shortest_poll;
      continue;
    }
    const std::string native = job.native_id(waiting);
    const std::uint32_t ended_entry = entry;
    mutex_.unlock();
    auto cancelled = agent_.cancel(native, settings_.answer_timeout);
    mutex_.lock();
    if (!cancelled && cancelled.error().number != kNoSuchJob && cancelled.error().number != kAlreadyDone) return;
    std::vector<FinishedRecord> verdicts;
    const NativeJob* again = job_of(ended_entry);
    if (again == nullptr) return;
    RunBook::Entry& known = book_.entry(ended_entry);
    waiting.for_each([&](std::uint64_t element) {
      const auto [first, last] = again->positions(element);
      for (std::uint64_t position = first; position < last; ++position) {
        const RunBook::Cell& cell = known.cells[position];
        if (cell.phase == TaskPhase::finished || cell.phase == TaskPhase::running) continue;
        FinishedRecord verdict;
        verdict.key = {static_cast<std::uint32_t>(step_at(known, position)), known.submission.number, cell.restart};
        verdict.attempt = known.submission.attempt;
        verdict.ended_ns = unix_nanoseconds();
        verdict.exit_info.exit_class = ExitClass::queueing_error;
        verdict.exit_info.text = reason.name + ": " + reason.advice;
        verdicts.push_back(std::move(verdict));
      }
    });
    give_verdicts(*again, verdicts);
    return;  // the map may have changed while the lock was given up: the next poll sees to the rest
  }
}

void SlurmDistributor::note_trouble(const std::string& text) {
  trouble_ = text;
}

}  // namespace allot::slurm
