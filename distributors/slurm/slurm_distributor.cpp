// SPDX-License-Identifier: MIT
#include "distributors/slurm/slurm_distributor.h"

#include <algorithm>
#include <csignal>
#include <set>
#include <system_error>
#include <utility>

#include "distributors/slurm/element_set.h"
#include "distributors/slurm/slurm_queue.h"
#include "ledger/submission_file.h"
#include "process/install_paths.h"

namespace allot::slurm {
namespace {

constexpr std::chrono::seconds kTerminationBound{10};
constexpr std::chrono::seconds kStopBound{4};
constexpr std::chrono::seconds kExplainBound{3};
constexpr std::chrono::milliseconds kLongestGrace{3'600'000};

// The elements that the controller holds.
std::vector<bool> held_elements(const NativeJob& job, const JobTable& table) {
  std::vector<bool> held(job.element_count());
  for (const JobRecord& record : table.jobs) {
    const bool is_hold = native_state(record.state).phase == NativePhase::pending &&
                         pending_reason(record.reason, record.description).is_hold;
    if (!is_hold || !job.is_told_by(record)) continue;
    if (record.element || !job.sending.is_array) {
      if (const auto element = record.element ? job.element_numbered(*record.element) : 0) held[*element] = true;
    } else if (const auto numbers = parse_elements(record.pending)) {
      job.elements_numbered(*numbers).for_each([&held](std::uint64_t element) { held[element] = true; });
    }
  }
  return held;
}

}  // namespace

SlurmDistributor::SlurmDistributor(ClusterConfig config, SlurmSettings settings)
    : BookDistributor(std::move(config), {}),
      settings_(std::move(settings)),
      element_program_(element_program()),
      agent_(settings_.configuration) {}

SlurmDistributor::~SlurmDistributor() {
  static_cast<void>(stop());
}

DistributorLimits SlurmDistributor::limits() const {
  std::lock_guard lock(mutex_);
  DistributorLimits limits;
  limits.checks_paths = settings_.checks_paths;
  std::uint64_t pack = 1;
  if (settings_.pack != "auto" && !settings_.pack.empty()) pack = std::stoull(settings_.pack);
  if (settings_.pack == "auto") pack = 1000;
  // The largest index is one below MaxArraySize; a table of jobs that others use, too, is not filled to the brim.
  if (site_.info.max_array_size > 0) {
    limits.max_array_length =
        std::min<std::uint64_t>(limits.max_array_length, std::uint64_t{site_.info.max_array_size} * pack);
  }
  if (site_.info.max_job_count > 0)
    limits.max_queued = std::max<std::uint64_t>(1, std::uint64_t{site_.info.max_job_count} / 2) * pack;
  if (const auto room = room_now()) {
    // Elements that run take of the same room as those that wait, and the engine counts what waits.
    const std::uint64_t live = live_elements();
    const std::uint64_t queued = waiting_tasks();
    const std::uint64_t most = queued + (*room > live ? *room - live : 0) * pack;
    limits.max_queued = std::max<std::uint64_t>(pack, std::min(most, limits.max_queued > 0 ? limits.max_queued : most));
  }
  return limits;
}

// Elements that the controller takes at once: as the account and the QOS say, or as its last refusal has taught.
std::optional<std::uint64_t> SlurmDistributor::room_now() const {
  std::optional<std::uint64_t> room;
  if (room_ && Clock::now() < room_until_) room = room_;
  const Partition* partition = queues_.empty() ? nullptr : partition_of({});  // none before the start
  if (partition != nullptr) {
    const auto jobs = job_limits({}, *partition).jobs;
    if (jobs && (!room || *jobs < *room)) room = std::max<std::uint64_t>(1, *jobs);
  }
  return room;
}

std::uint64_t SlurmDistributor::live_elements() const {
  std::uint64_t live = 0;
  for (const auto& [entry, job] : jobs_) {
    if (book_.entry(entry).unfinished == 0 || !job.sending.job_id) continue;
    for (std::uint64_t element = 0; element < job.element_count(); ++element) {
      if (unfinished_in(job, element) > 0) ++live;
    }
  }
  return live;
}

std::uint64_t SlurmDistributor::waiting_tasks() const {
  std::uint64_t waiting = 0;
  for (const auto& [entry, job] : jobs_) {
    const RunBook::Entry& known = book_.entry(entry);
    if (known.unfinished == 0) continue;
    waiting +=
        static_cast<std::uint64_t>(std::count_if(known.cells.begin(), known.cells.end(), [](const RunBook::Cell& cell) {
          return cell.phase != TaskPhase::finished && cell.phase != TaskPhase::running;
        }));
  }
  return waiting;
}

// A limit of the account or QOS, which may count what others have in the queue, and is told by nothing but a refusal.
// It is tried again with half as much, and after a while with more.
void SlurmDistributor::learn_room(std::uint64_t refused_elements) {
  constexpr std::chrono::minutes kRoomLasts{5};
  const std::uint64_t live = live_elements();
  room_ = refused_elements > 1 ? live + refused_elements / 2 : std::max<std::uint64_t>(1, live);
  room_until_ = Clock::now() + kRoomLasts;
}

Result<void> SlurmDistributor::usable(const char* what) const {
  if (life_ == Life::running) return {};
  return fail(gone(what, life_ != Life::created));
}

Result<void> SlurmDistributor::start() {
  std::unique_lock lock(mutex_);
  if (life_ == Life::running) return {};
  if (life_ == Life::stopping || life_ == Life::starting) {
    return fail(ErrorCode::retry_later, "the distributor is being started or stopped");
  }
  const Life before = life_;
  life_ = Life::starting;
  lock.unlock();
  const auto get_ready = [this]() -> Result<void> {
    if (auto started = agent_.start(settings_.start_timeout); !started) return started;
    auto site = read_site(agent_, settings_.start_timeout);
    if (!site) return fail(site.error());
    auto queues = slurm_queues(config_, settings_, site->partitions, site->policies);
    if (!queues) return fail(queues.error());
    std::lock_guard inner(mutex_);
    site_ = std::move(*site);
    queues_ = std::move(*queues);
    return {};
  };
  Result<void> ready = get_ready();
  if (!ready) agent_.stop();
  lock.lock();
  life_ = ready ? Life::running : before;
  changed_.notify_all();
  if (!ready) return ready;
  poll_interval_ = settings_.shortest_poll;
  book_.events().resume();
  try {
    records_thread_ = std::thread([this] { follow_records(); });
    controller_thread_ = std::thread([this] { follow_controller(); });
  } catch (const std::system_error& error) {
    lock.unlock();
    static_cast<void>(stop());
    return fail(ErrorCode::retry_later, std::string("a thread for the distributor: ") + error.what());
  }
  return {};
}

Result<void> SlurmDistributor::stop() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return life_ != Life::starting; });
  if (life_ == Life::created) life_ = Life::stopped;
  if (life_ != Life::running) {
    changed_.wait(lock, [this] { return life_ == Life::stopped; });
    return {};
  }
  life_ = Life::stopping;
  const auto deadline = Clock::now() + settings_.kill_grace + kStopBound;
  changed_.wait_until(lock, deadline, [this] { return sends_ == 0; });
  std::set<std::uint32_t> jobs;
  std::vector<std::pair<std::string, std::uint32_t>> submissions;  // path of the batch, number
  for (const auto& [entry, job] : jobs_) {
    const RunBook::Entry& known = book_.entry(entry);
    if (!job.sending.job_id || known.unfinished == 0) continue;
    jobs.insert(*job.sending.job_id);
    submissions.emplace_back(book_.batch(known.batch).directory.path(), known.submission.number);
  }
  lock.unlock();
  // So that an element takes what comes for what it is. Where it cannot be written, it hears that its job was
  // cancelled, and believes that.
  for (const auto& [path, number] : submissions) {
    StopRequest by_us;
    by_us.is_preemption = true;
    static_cast<void>(append_stop_requests(path, number, {by_us}));
  }
  const bool all = end_jobs(jobs, deadline);
  lock.lock();
  // What ran was ended by its worker nodes, which say so in the records.
  const auto none_runs = [this] {
    return std::none_of(jobs_.begin(), jobs_.end(), [this](const auto& item) {
      const auto& cells = book_.entry(item.first).cells;
      return std::any_of(cells.begin(), cells.end(),
                         [](const RunBook::Cell& cell) { return cell.phase == TaskPhase::running; });
    });
  };
  if (!jobs.empty()) changed_.wait_until(lock, deadline, none_runs);
  life_ = Life::stopped;
  book_.leave_by_stop();
  book_.events().interrupt(std::nullopt);
  record_time_.notify_all();
  poll_time_.notify_all();
  changed_.notify_all();
  lock.unlock();
  agent_.stop();
  if (records_thread_.joinable()) records_thread_.join();
  if (controller_thread_.joinable()) controller_thread_.join();
  if (!all)
    return fail(ErrorCode::gave_up, "Slurm could not be asked to end every job of this distributor; see squeue --me");
  return {};
}

// Cancels jobs and waits until Slurm has nothing of them any more: one that is completing has processes left. False:
// that cannot be said.
bool SlurmDistributor::end_jobs(const std::set<std::uint32_t>& jobs, Clock::time_point deadline) {
  constexpr std::chrono::milliseconds kLongestInterval{1000};
  std::chrono::milliseconds interval{50};
  const auto left = [&deadline] {
    const auto rest = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    return std::max(rest, std::chrono::milliseconds(1));
  };
  for (const std::uint32_t job : jobs) {
    auto cancelled = agent_.cancel(std::to_string(job), left());
    const bool is_over =
        cancelled || cancelled.error().number == kNoSuchJob || cancelled.error().number == kAlreadyDone;
    if (!is_over) return false;
  }
  while (!jobs.empty()) {
    auto table = agent_.jobs({{jobs.begin(), jobs.end()}, {}}, left());
    if (!table) return false;
    const bool some_live = std::any_of(table->jobs.begin(), table->jobs.end(), [&jobs](const JobRecord& record) {
      const bool is_ours = jobs.count(record.array_job_id) != 0 || jobs.count(record.job_id) != 0;
      return is_ours && native_state(record.state).phase != NativePhase::ended;
    });
    if (!some_live) return true;
    if (Clock::now() + interval > deadline) return false;
    std::this_thread::sleep_for(interval);  // no event of Slurm's tells
    interval = std::min(interval * 2, kLongestInterval);
  }
  return true;
}

NativeJob* SlurmDistributor::job_of(std::uint32_t entry) {
  const auto found = jobs_.find(entry);
  return found == jobs_.end() ? nullptr : &found->second;
}

void SlurmDistributor::forget_job(std::uint32_t entry) {
  jobs_.erase(entry);
}

std::uint64_t SlurmDistributor::position_of(RunBook::Found task) const {
  return book_.entry(task.entry).index_of(task.step);
}

std::uint64_t SlurmDistributor::step_at(const RunBook::Entry& entry, std::uint64_t position) const {
  const auto after = std::upper_bound(entry.offsets.begin(), entry.offsets.end(), position);
  const auto range = static_cast<std::size_t>(after - entry.offsets.begin()) - 1;
  return entry.submission.steps.ranges()[range].first + (position - entry.offsets[range]);
}

std::uint64_t SlurmDistributor::unfinished_in(const NativeJob& job, std::uint64_t element) const {
  const auto& cells = book_.entry(job.entry).cells;
  const auto [first, last] = job.positions(element);
  return static_cast<std::uint64_t>(std::count_if(
      cells.begin() + static_cast<std::ptrdiff_t>(first), cells.begin() + static_cast<std::ptrdiff_t>(last),
      [](const RunBook::Cell& cell) { return cell.phase != TaskPhase::finished; }));
}

// The elements in which the tasks lie; `only_whole`: those of which every unfinished task is among them.
SlurmDistributor::Elements SlurmDistributor::elements_of(const std::vector<RunBook::Found>& tasks,
                                                         bool only_whole) const {
  std::map<std::uint32_t, std::map<std::uint64_t, std::uint64_t>> counts;  // of tasks, by entry and element
  for (const RunBook::Found& task : tasks) {
    const auto job = jobs_.find(task.entry);
    if (job != jobs_.end()) ++counts[task.entry][job->second.element_of(position_of(task))];
  }
  Elements elements;
  for (const auto& [entry, by_element] : counts) {
    for (const auto& [element, count] : by_element) {
      if (only_whole && count < unfinished_in(jobs_.at(entry), element)) continue;
      elements[entry].append(element);
    }
  }
  return elements;
}

Result<std::map<std::string, Termination>> SlurmDistributor::terminate_task_instances(
    const std::vector<std::string>& ids, std::chrono::milliseconds grace) {
  grace = std::clamp(grace, std::chrono::milliseconds(0), kLongestGrace);
  std::unique_lock lock(mutex_);
  if (auto good = usable("terminate"); !good) return fail(good.error());
  const auto deadline = Clock::now() + grace + kTerminationBound;
  std::map<std::string, Termination> answer;
  const auto [open, pins] = begin_ending(ids, answer);
  std::map<std::uint32_t, std::set<std::uint64_t>> steps;  // by entry
  for (const auto& [id, found] : open) steps[found.entry].insert(found.step);
  // The request is on disk before anything is ended: an element that begins meanwhile reads it, and one that is ended
  // knows why.
  struct Request {
    std::string batch_path;
    std::uint32_t submission = 0;
    std::vector<StopRequest> stops;
    // Of Slurm's: what is to be cancelled, and what is to be told to look; if that cannot be, `signal_or_cancel` is
    // cancelled, of which every task is to be ended.
    std::vector<std::string> cancel, signal, signal_or_cancel;
  };
  std::vector<Request> requests;
  for (const auto& [entry, wanted] : steps) {
    NativeJob* job = job_of(entry);
    if (job == nullptr) continue;
    Request request;
    request.batch_path = book_.batch(book_.entry(entry).batch).directory.path();
    request.submission = book_.entry(entry).submission.number;
    StepRanges ranges;
    std::vector<RunBook::Found> tasks;
    for (const std::uint64_t step : wanted) {
      ranges.append(step);
      tasks.push_back({entry, step});
    }
    for (const StepRange& range : ranges.ranges()) {
      request.stops.push_back({false, static_cast<std::uint32_t>(range.first),
                               static_cast<std::uint32_t>(range.first + range.count - 1), grace.count()});
    }
    if (job->sending.job_id) {
      const Elements all = elements_of(tasks, false), whole = elements_of(tasks, true);
      const StepRanges wholly = whole.count(entry) != 0 ? whole.at(entry) : StepRanges();
      StepRanges cancelled, told, told_wholly;
      all.at(entry).for_each([&](std::uint64_t element) {
        const auto [first, last] = job->positions(element);
        const auto& cells = book_.entry(entry).cells;
        bool runs = false;
        for (std::uint64_t position = first; position < last; ++position) {
          runs = runs || cells[position].phase == TaskPhase::running;
        }
        // To end a job of the user's own would end their script, unless it has not begun.
        runs = runs || (job->sending.is_users_own && !job->waiting.contains(element));
        const auto view = job->elements.find(element);
        runs = runs || (view != job->elements.end() && view->second.state.phase == NativePhase::running);
        if (!wholly.contains(element)) {
          told.append(element);
        } else {
          (runs ? told_wholly : cancelled).append(element);
        }
      });
      for (const StepRanges& part : split_by_text(cancelled)) request.cancel.push_back(job->native_id(part));
      // A user's own script would die of the signal; worker nodes look for requests by themselves there, and soon.
      if (job->sending.is_users_own) told = told_wholly = {};
      for (const StepRanges& part : split_by_text(told)) request.signal.push_back(job->native_id(part));
      for (const StepRanges& part : split_by_text(told_wholly)) {
        request.signal_or_cancel.push_back(job->native_id(part));
      }
    }
    requests.push_back(std::move(request));
  }
  lock.unlock();
  std::string trouble;
  for (const Request& request : requests) {
    if (auto noted = append_stop_requests(request.batch_path, request.submission, request.stops); !noted) {
      trouble = noted.error().message;
      continue;
    }
    const auto ask = [&](const auto& call) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
      auto asked = call(std::max(left, std::chrono::milliseconds(1)));
      if (!asked && asked.error().number != kNoSuchJob && asked.error().number != kAlreadyDone)
        trouble = asked.error().text;
    };
    for (const std::string& job : request.signal) {
      ask([&](auto left) { return agent_.signal(job, SIGUSR2, true, left); });
    }
    for (const std::string& job : request.signal_or_cancel) {
      const std::string before = std::exchange(trouble, "");
      ask([&](auto left) { return agent_.signal(job, SIGUSR2, true, left); });
      // As of one that is suspended: it takes no signal, and would run on.
      if (!std::exchange(trouble, before).empty()) ask([&](auto left) { return agent_.cancel(job, left); });
    }
    for (const std::string& job : request.cancel) {
      ask([&](auto left) { return agent_.cancel(job, left); });
    }
  }
  lock.lock();
  poll_interval_ = settings_.shortest_poll;
  wake_poll();
  const auto finished = [this](const RunBook::Found& task) {
    return book_.entry(task.entry).cell(task.step).phase == TaskPhase::finished;
  };
  changed_.wait_until(lock, deadline, [&] {
    return life_ == Life::stopped ||
           std::all_of(open.begin(), open.end(), [&](const auto& item) { return finished(item.second); });
  });
  for (const auto& [id, found] : open) {
    const RunBook::Cell& cell = book_.entry(found.entry).cell(found.step);
    if (!finished(found)) {
      answer[id] = {TerminationOutcome::unreachable, trouble.empty() ? "Slurm has not confirmed the end in time"
                                                                     : "Slurm could not be asked: " + trouble};
    } else {
      answer[id] = {(cell.flags & RunBook::kRemoved) != 0 ? TerminationOutcome::removed : TerminationOutcome::gone, ""};
    }
  }
  return answer;
}

std::string SlurmDistributor::reason_of(RunBook::Found task) const {
  const RunBook::Entry& entry = book_.entry(task.entry);
  const RunBook::Cell& cell = entry.cells[entry.index_of(task.step)];
  if (entry.is_left_by_stop)
    return "it was queued when this distributor was stopped, and only a new driver of its batch starts it "
           "(allot resume)";
  if (life_ != Life::running) return "the distributor is stopped";
  const auto job = jobs_.find(task.entry);
  if (job == jobs_.end()) return "it has not been sent to Slurm yet";
  if (!trouble_.empty()) return trouble_;
  if (job->second.is_ambiguous) return "whether Slurm has taken it is being found out";
  if ((cell.flags & RunBook::kHeld) != 0) return "held; it waits for a release";
  const std::uint64_t element = job->second.element_of(entry.index_of(task.step));
  const auto view = job->second.elements.find(element);
  if (const JobRecord* record = job->second.pending_record(element)) {
    const PendingReason reason = pending_reason(record->reason, record->description);
    return "Slurm says " + reason.name + ": " + reason.advice;
  }
  if (view != job->second.elements.end()) {
    if (view->second.is_gone) {
      const std::string& state = view->second.state.name;
      return "its element is gone" + (state.empty() ? "" : " (" + state + ")") +
             "; what became of it is being found out";
    }
    return "its element runs; it waits for its turn there";
  }
  return "Slurm has taken it, and has not been asked about it since";
}

Result<std::map<std::string, std::string>> SlurmDistributor::explain_pending(const std::vector<std::string>& ids) {
  std::unique_lock lock(mutex_);
  // Asked about by a person: what is told is of now, if Slurm answers soon.
  if (life_ == Life::running && !jobs_.empty()) {
    const std::uint64_t polls = polls_;
    wake_poll();
    changed_.wait_for(lock, kExplainBound, [&] { return polls_ > polls || life_ != Life::running; });
  }
  std::map<std::string, std::string> reasons;
  for (const std::string& id : ids) {
    const auto found = book_.find(id);
    if (!found) continue;
    const RunBook::Entry& entry = book_.entry(found->entry);
    if (entry.cells[entry.index_of(found->step)].phase == TaskPhase::queued) reasons.emplace(id, reason_of(*found));
  }
  return reasons;
}

Result<std::map<std::string, std::string>> SlurmDistributor::get_queueing_errors(const std::vector<std::string>& ids) {
  std::map<std::string, std::string> errors;
  std::vector<std::pair<std::string, RunBook::EndPlace>> ended;
  {
    std::lock_guard lock(mutex_);
    for (const std::string& id : ids) {
      const auto found = book_.find(id);
      if (!found) continue;
      const RunBook::EndPlace place = book_.end_place(*found);
      if (place.cell.phase == TaskPhase::finished) {
        if (place.cell.exit_class == ExitClass::queueing_error) ended.emplace_back(id, place);
        continue;
      }
      const auto job = jobs_.find(found->entry);
      if (job == jobs_.end() || place.cell.phase != TaskPhase::queued) continue;
      const JobRecord* record = job->second.pending_record(job->second.element_of(position_of(*found)));
      if (record == nullptr) continue;
      const PendingReason reason = pending_reason(record->reason, record->description);
      if (reason.is_final) errors.emplace(id, reason.name + ": " + reason.advice);
    }
  }
  for (const auto& [id, place] : ended) {
    auto end = RunBook::read_end(place);
    errors.emplace(id, end ? end->exit_info.text : end.error().message);
  }
  return errors;
}

Result<std::uint64_t> SlurmDistributor::hold(const std::vector<std::string>& ids) {
  std::unique_lock lock(mutex_);
  if (auto good = usable("hold"); !good) return fail(good.error());
  // What is on its way to Slurm can be held when it has arrived.
  const auto has_arrived = [&](const std::string& id) {
    const auto found = book_.find(id);
    const NativeJob* job = found ? job_of(found->entry) : nullptr;
    return job == nullptr || job->sending.job_id || job->is_ambiguous;
  };
  changed_.wait_until(lock, Clock::now() + settings_.answer_timeout,
                      [&] { return life_ != Life::running || std::all_of(ids.begin(), ids.end(), has_arrived); });
  if (auto good = usable("hold"); !good) return fail(good.error());
  std::vector<RunBook::Found> tasks;
  for (const std::string& id : ids) {
    const auto found = book_.find(id);
    if (found && book_.entry(found->entry).cell(found->step).phase == TaskPhase::queued) tasks.push_back(*found);
  }
  // Slurm holds elements: tasks that share one are held together or not at all.
  const Elements whole = elements_of(tasks, true);
  std::vector<std::string> requests;
  for (const auto& [entry, elements] : whole) {
    const NativeJob* job = job_of(entry);
    if (!job->sending.job_id) continue;
    for (const StepRanges& part : split_by_text(elements)) requests.push_back(job->native_id(part));
  }
  if (requests.empty()) return 0;
  const JobFilter filter = unfinished_jobs();
  lock.unlock();
  for (const std::string& request : requests) {
    auto held = agent_.hold(request, true, settings_.answer_timeout);
    if (!held)
      return fail(ErrorCode::retry_later, "Slurm could not be asked to hold " + request + ": " + held.error().text);
  }
  // It passes over what has begun by then, and does not say so.
  auto table = agent_.jobs(filter, settings_.answer_timeout);
  if (!table) return fail(ErrorCode::retry_later, "what Slurm has held cannot be told: " + table.error().text);
  lock.lock();
  std::map<std::uint32_t, std::vector<bool>> held;  // by entry
  for (const auto& [entry, elements] : whole) {
    const NativeJob* job = job_of(entry);
    if (job != nullptr && job->sending.job_id) held[entry] = held_elements(*job, *table);
  }
  std::uint64_t count = 0;
  for (const RunBook::Found& task : tasks) {
    const auto known = held.find(task.entry);
    if (known == held.end()) continue;
    const std::uint64_t element = job_of(task.entry)->element_of(position_of(task));
    if (!whole.at(task.entry).contains(element) || !known->second[element]) continue;
    RunBook::Cell& cell = book_.entry(task.entry).cell(task.step);
    if (cell.phase != TaskPhase::queued) continue;
    cell.flags |= RunBook::kHeld;
    ++count;
  }
  wake_poll();
  return count;
}

Result<std::uint64_t> SlurmDistributor::release(const std::vector<std::string>& ids) {
  std::unique_lock lock(mutex_);
  if (auto good = usable("release"); !good) return fail(good.error());
  std::vector<RunBook::Found> held;
  std::uint64_t count = 0;
  for (const std::string& id : ids) {
    const auto found = book_.find(id);
    if (!found) continue;
    ++count;
    const RunBook::Cell& cell = book_.entry(found->entry).cell(found->step);
    if (cell.phase == TaskPhase::queued && (cell.flags & RunBook::kHeld) != 0) held.push_back(*found);
  }
  std::vector<std::string> requests;
  for (const auto& [entry, elements] : elements_of(held, false)) {
    const NativeJob* job = job_of(entry);
    if (!job->sending.job_id) continue;
    for (const StepRanges& part : split_by_text(elements)) requests.push_back(job->native_id(part));
  }
  lock.unlock();
  for (const std::string& request : requests) {
    auto released = agent_.hold(request, false, settings_.answer_timeout);
    if (!released) {
      return fail(ErrorCode::retry_later,
                  "Slurm could not be asked to release " + request + ": " + released.error().text);
    }
  }
  lock.lock();
  for (const RunBook::Found& task : held) {
    book_.entry(task.entry).cell(task.step).flags &= static_cast<std::uint8_t>(~RunBook::kHeld);
  }
  wake_poll();
  return count;
}

Result<void> SlurmDistributor::forget_batch(const std::string& batch_directory) {
  constexpr std::chrono::seconds kForgetBound{9};
  std::unique_lock lock(mutex_);
  if (auto good = usable("forget_batch"); !good) return good;
  const auto deadline = Clock::now() + kForgetBound;
  for (;;) {
    const auto batch = book_.find_batch(batch_directory);
    if (!batch) return {};
    if (auto good = book_.check_forgettable(*batch); !good) return good;
    if (!book_.is_pinned(*batch)) {
      for (const auto& [submission, entry] : book_.batch(*batch).entry_of_submission) forget_job(entry);
      book_.forget(*batch);
      return {};
    }
    if (Clock::now() > deadline) {
      return fail(ErrorCode::retry_later,
                  "batch " + batch_directory + " cannot be forgotten: a call about it is under way");
    }
    changed_.wait_for(lock, std::chrono::milliseconds(10));
    if (auto good = usable("forget_batch"); !good) return good;
  }
}

}  // namespace allot::slurm
