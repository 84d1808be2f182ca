// SPDX-License-Identifier: MIT
#include "distributors/multiprocess/multiprocess_distributor.h"

#include <signal.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <exception>
#include <set>

#include "distributors/multiprocess/schedule.h"
#include "process/identity.h"
#include "process/machine.h"
#include "worker_node/node_slot.h"

namespace allot {

namespace asio = boost::asio;
using Clock = std::chrono::steady_clock;

namespace {
constexpr std::chrono::seconds kForgetBound{9};
}

MultiprocessDistributor::MultiprocessDistributor(ClusterConfig config, LocalSettings settings)
    : LocalDistributor(std::move(config), std::move(settings)) {}

MultiprocessDistributor::~MultiprocessDistributor() {
  static_cast<void>(stop());
}

Result<void> MultiprocessDistributor::usable(const char* what) const {
  if (life_ == Life::running) return {};
  return fail(gone(what, life_ != Life::created));
}

Result<void> MultiprocessDistributor::start() {
  std::lock_guard lock(mutex_);
  if (life_ == Life::running) return {};
  if (life_ == Life::stopping) return fail(ErrorCode::retry_later, "the distributor is being stopped");
  io_.restart();
  work_.emplace(io_.get_executor());
  book_.events().resume();
  life_ = Life::running;
  try {
    heartbeat_.emplace(io_);  // takes the reactor's descriptors, here where a refusal can be told
    listen_for_heartbeats();
    thread_ = std::thread([this] { serve(); });
  } catch (const std::exception& error) {  // std::system_error of the thread, one of Boost's own of the reactor
    life_ = Life::created;
    heartbeat_.reset();
    work_.reset();
    return fail(ErrorCode::retry_later,
                std::string("the distributor cannot get ready: ") + error.what() +
                    "; is the limit of descriptors (ulimit -n) or of processes (ulimit -u) reached?");
  }
  return {};
}

void MultiprocessDistributor::serve() {
  for (;;) {
    try {
      io_.run();
      return;
    } catch (const std::exception& error) {  // memory or descriptors that the system refuses
      std::lock_guard lock(mutex_);
      set_blocked(std::string("the distributor cannot go on: ") + error.what());
      changed_.notify_all();
    }
  }
}

Result<void> MultiprocessDistributor::stop() {
  std::unique_lock lock(mutex_);
  if (life_ == Life::created) life_ = Life::stopped;
  if (life_ == Life::stopped) return {};
  if (life_ == Life::stopping) {
    changed_.wait(lock, [this] { return life_ == Life::stopped; });
    return {};
  }
  life_ = Life::stopping;
  // Twice posted: a worker node that is just being started has its greeting on the way, which must come first.
  asio::post(io_, [this] {
    asio::post(io_, [this] {
      std::lock_guard inner(mutex_);
      for (auto& pool : pools_) {
        pool->pending.clear();  // stays queued in the ledger
        for (auto& worker : pool->workers) {
          worker->leaving = true;
          if (worker->channel) worker->channel->send(wire::Leave{settings_.kill_grace.count()});
        }
      }
      changed_.notify_all();
    });
  });
  const auto all_gone = [this] {
    return std::all_of(pools_.begin(), pools_.end(), [](const auto& pool) { return pool->workers.empty(); });
  };
  // Past the bound a worker node is ended by force: its guards then end what they run.
  if (!changed_.wait_for(lock, settings_.kill_grace + std::chrono::seconds(3), all_gone)) {
    for (auto& pool : pools_) {
      for (auto& worker : pool->workers) {
        if (is_alive({static_cast<pid_t>(worker->pid), worker->start_ticks})) {
          ::kill(static_cast<pid_t>(worker->pid), SIGKILL);
        }
      }
    }
    changed_.wait_for(lock, std::chrono::seconds(2), all_gone);
  }
  lock.unlock();
  work_.reset();
  io_.stop();
  if (thread_.joinable()) thread_.join();
  lock.lock();
  heartbeat_.reset();
  for (const auto& pool : pools_) {
    remove_unused_scratch(book_.batch(pool->batch).directory.info().batch_id, runtime_directory());
  }
  pools_.clear();
  book_.leave_by_stop();
  handed_shapes_.clear();
  reserved_cores_ = reserved_memory_ = 0;
  life_ = Life::stopped;
  book_.events().interrupt(std::nullopt);
  changed_.notify_all();
  return {};
}

Result<SubmittedIds> MultiprocessDistributor::submit(const Submission& submission) {
  std::unique_lock lock(mutex_);
  if (auto good = usable("submit"); !good) return fail(good.error());
  if (auto known = book_.find_token(submission.batch_directory, submission.token)) return book_.entry(*known).ids;
  if (auto good = check_blocked(submission.batch_directory); !good) return fail(good.error());
  if (auto fit = check_resources(submission); !fit) return fail(fit.error());
  auto added = take_up(submission);
  if (!added) return fail(added.error());
  RunBook::Entry& entry = book_.entry(added->first);
  if (!added->second) return entry.ids;
  Pool& pool = pool_of(entry.batch);
  for (const StepRange& range : submission.steps.ranges()) {
    pool.pending.push_back(submission.priority, added->first, range);
  }
  pool.unfinished += entry.unfinished;
  SubmittedIds ids = entry.ids;
  lock.unlock();
  schedule_pump();
  return ids;
}

Result<std::map<std::string, Termination>> MultiprocessDistributor::terminate_task_instances(
    const std::vector<std::string>& ids, std::chrono::milliseconds grace) {
  grace = std::clamp(grace, std::chrono::milliseconds(0), kLongestGrace);
  std::unique_lock lock(mutex_);
  if (auto good = usable("terminate"); !good) return fail(good.error());
  std::map<std::string, Termination> answer;
  const auto [open, pins] = begin_ending(ids, answer);
  std::unordered_set<std::uint64_t> wanted;
  for (const auto& [id, found] : open) wanted.insert(task_key(found));
  std::unordered_set<std::uint64_t> with_worker;
  for (auto& pool : pools_) {
    for (auto& worker : pool->workers) {
      std::map<std::uint32_t, std::vector<std::uint64_t>> steps;
      for (std::uint64_t key : worker->handed) {
        if (wanted.count(key) == 0) continue;
        with_worker.insert(key);
        steps[task_of_key(key).entry].push_back(task_of_key(key).step);
      }
      for (auto& [entry, list] : steps) {
        std::sort(list.begin(), list.end());
        StepRanges ranges;
        for (std::uint64_t step : list) ranges.append(step);
        wire::Terminate message{book_.entry(entry).submission.number, ranges.ranges(), grace.count(),
                                ExitClass::killed};
        // A task may have stopped its worker node, which then would not hear.
        if (worker->welcome && !worker->dead) ::kill(static_cast<pid_t>(worker->pid), SIGCONT);
        asio::post(io_, [worker, message = std::move(message)] { worker->channel->send(message); });
      }
    }
  }
  for (const auto& [id, found] : open) {
    if (with_worker.count(task_key(found)) != 0) continue;
    if (book_.entry(found.entry).cell(found.step).phase == TaskPhase::running) continue;  // its end is on its way
    book_.remove(found);  // queued or held: it will be skipped when its turn comes
    pool_of(book_.entry(found.entry).batch).note_ends(1);
  }
  const auto finished = [this](const RunBook::Found& task) {
    return book_.entry(task.entry).cell(task.step).phase == TaskPhase::finished;
  };
  changed_.notify_all();
  changed_.wait_for(lock, grace + std::chrono::seconds(10), [&] {
    return life_ != Life::running ||
           std::all_of(open.begin(), open.end(), [&](const auto& item) { return finished(item.second); });
  });
  for (const auto& [id, found] : open) {
    const RunBook::Cell& cell = book_.entry(found.entry).cell(found.step);
    if (!finished(found)) {
      answer[id] = {TerminationOutcome::unreachable, "its worker node has not confirmed the end"};
    } else if ((cell.flags & RunBook::kRemoved) != 0) {
      answer[id] = {TerminationOutcome::removed, ""};
    } else {
      answer[id] = {TerminationOutcome::gone, ""};
      const auto place = book_.end_place(found);
      auto end = RunBook::read_end(place);
      const auto at = end ? end->exit_info.text.find("cannot be ended: ") : std::string::npos;
      if (at != std::string::npos) answer[id] = {TerminationOutcome::unreachable, end->exit_info.text.substr(at)};
    }
  }
  return answer;
}

Result<std::uint64_t> MultiprocessDistributor::hold(const std::vector<std::string>& ids) {
  std::unique_lock lock(mutex_);
  if (auto good = usable("hold"); !good) return fail(good.error());
  std::uint64_t held = 0;
  std::vector<RunBook::Found> asked;  // what a worker node has is decided by its answer: it comes back, or it has begun
  std::vector<std::shared_ptr<void>> pins;
  for (const std::string& id : ids) {
    const auto found = book_.find(id);
    if (!found) continue;
    RunBook::Cell& cell = book_.entry(found->entry).cell(found->step);
    if (cell.phase != TaskPhase::queued) continue;
    cell.flags |= RunBook::kHeld;
    if ((cell.flags & RunBook::kHanded) == 0) {
      ++held;
      continue;
    }
    asked.push_back(*found);
    pins.push_back(book_.pin(book_.entry(found->entry).batch));
  }
  for (auto& pool : pools_) {
    for (auto& worker : asked.empty() ? std::vector<std::shared_ptr<WorkerLink>>() : pool->workers) {
      std::map<std::uint32_t, std::set<std::uint64_t>> steps;  // by entry
      for (const RunBook::Found& task : asked) {
        if (worker->handed.count(task_key(task)) != 0) steps[task.entry].insert(task.step);
      }
      for (const auto& [entry, list] : steps) {
        StepRanges ranges;
        for (std::uint64_t step : list) ranges.append(step);
        wire::Recall message{book_.entry(entry).submission.number, ranges.ranges()};
        asio::post(io_, [worker, message = std::move(message)] { worker->channel->send(message); });
      }
    }
  }
  const auto is_settled = [this](const RunBook::Found& task) {
    const RunBook::Cell& cell = book_.entry(task.entry).cell(task.step);
    return cell.phase != TaskPhase::queued || (cell.flags & RunBook::kHanded) == 0;
  };
  changed_.wait_for(lock, std::chrono::seconds(5), [&] { return std::all_of(asked.begin(), asked.end(), is_settled); });
  for (const RunBook::Found& task : asked) {
    RunBook::Cell& cell = book_.entry(task.entry).cell(task.step);
    if (cell.phase == TaskPhase::queued && (cell.flags & RunBook::kHanded) == 0) {
      ++held;
    } else {
      cell.flags &= static_cast<std::uint8_t>(~RunBook::kHeld);
    }
  }
  return held;
}

Result<std::uint64_t> MultiprocessDistributor::release(const std::vector<std::string>& ids) {
  std::unique_lock lock(mutex_);
  if (auto good = usable("release"); !good) return fail(good.error());
  std::uint64_t free = 0;
  // From the last to the first, each to the front: they run in the order given.
  for (auto id = ids.rbegin(); id != ids.rend(); ++id) {
    const auto found = book_.find(*id);
    if (!found) continue;
    RunBook::Entry& entry = book_.entry(found->entry);
    RunBook::Cell& cell = entry.cell(found->step);
    ++free;
    if ((cell.flags & RunBook::kHeld) == 0) continue;
    cell.flags &= static_cast<std::uint8_t>(~RunBook::kHeld);
    if (cell.phase != TaskPhase::queued) continue;
    // It may be listed already: whoever comes second finds it handed out or ended.
    if ((cell.flags & RunBook::kHanded) == 0)
      pool_of(entry.batch).pending.push_front(entry.submission.priority, *found);
  }
  lock.unlock();
  schedule_pump();
  return free;
}

Result<void> MultiprocessDistributor::forget_batch(const std::string& batch_directory) {
  std::unique_lock lock(mutex_);
  if (auto good = usable("forget_batch"); !good) return good;
  const auto deadline = Clock::now() + kForgetBound;
  for (;;) {
    const auto batch = book_.find_batch(batch_directory);
    if (!batch) return {};
    const auto forgettable = book_.check_forgettable(*batch);
    if (!forgettable) {
      const bool is_unfinished = forgettable.error().code == ErrorCode::fix_request;
      if (is_unfinished && lose_if_removed(pool_of(*batch))) continue;
      return forgettable;
    }
    const auto pool = std::find_if(pools_.begin(), pools_.end(), [&](const auto& p) { return p->batch == *batch; });
    const bool has_workers = pool != pools_.end() && !(*pool)->workers.empty();
    if (!has_workers && !book_.is_pinned(*batch)) {
      drop_idle_pools();
      book_.forget(*batch);
      return {};
    }
    if (has_workers) ask_to_leave(**pool);
    if (Clock::now() > deadline) {
      return fail(ErrorCode::retry_later,
                  "batch " + batch_directory + " cannot be forgotten: " +
                      (has_workers ? "its worker nodes have not left" : "a call about it is under way"));
    }
    changed_.wait_for(lock, std::chrono::milliseconds(10));
    if (auto good = usable("forget_batch"); !good) return good;
  }
}

Result<Reconciliation> MultiprocessDistributor::reconcile(const std::string& batch_directory,
                                                          const std::string& token) {
  Reconciliation answer;
  std::unique_lock lock(mutex_);
  if (auto good = usable("reconcile"); !good) return fail(good.error());
  const auto found_here = [&]() -> bool {
    auto known = book_.find_token(batch_directory, token);
    if (!known) return false;
    answer.answer = Reconciliation::Answer::found;
    answer.ids = book_.entry(*known).ids;
    answer.evidence = "this distributor has it";
    return true;
  };
  if (found_here()) return answer;
  auto recorded = find_recorded(batch_directory, token, answer);
  if (!recorded) return fail(recorded.error());
  if (!*recorded || take_up_ended(**recorded, batch_directory, answer)) return answer;
  const BatchDirectory& batch = (*recorded)->batch;
  const IntentRecord& intent = (*recorded)->intent;
  // First those that live are taken over: what they run is found, and they hand out nothing else any more.
  auto adopted_submission = submission_of(intent, batch_directory);
  auto number = adopt(lock, batch, adopted_submission);
  if (!number) return fail(number.error());
  if (*number) {
    answer.answer = Reconciliation::Answer::found;
    answer.ids = book_.entry(**number).ids;
    answer.evidence = "worker nodes of the driver before this one still run some of it and were adopted";
    return answer;
  }
  // Then those that are ending (guards whose worker node is gone) are waited for: until then their word is not final.
  const auto deadline = Clock::now() + std::chrono::seconds(8);
  for (;;) {
    auto sessions = sessions_of(batch, adopted_pids(batch_directory), intent.submission);
    if (!sessions) return fail(sessions.error());
    if (sessions->state == Sessions::State::gone) break;
    answer.evidence = sessions->text;
    if (sessions->state == Sessions::State::elsewhere || Clock::now() > deadline) {
      answer.answer = Reconciliation::Answer::unknown;
      return answer;
    }
    changed_.wait_for(lock, std::chrono::milliseconds(10));
  }
  // Guards that were killed with their worker node ended nothing: what escaped from their trees is found by its mark.
  const Strays strays = end_strays(batch, adopted_pids(batch_directory));
  if (!strays) {
    answer.evidence = "a process of a task of it cannot be ended";
    return answer;
  }
  answer.answer = Reconciliation::Answer::proven_absent;
  answer.evidence = "its worker nodes and guards are gone; what they recorded is in the ledger" + strays.reservation();
  return answer;
}

}  // namespace allot
