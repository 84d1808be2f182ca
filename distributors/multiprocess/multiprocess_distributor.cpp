// SPDX-License-Identifier: MIT
#include "distributors/multiprocess/multiprocess_distributor.h"

#include <signal.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <exception>

#include "distributors/multiprocess/pool.h"
#include "process/identity.h"
#include "process/machine.h"
#include "worker_node/node_slot.h"

namespace allot {

namespace asio = boost::asio;
using Clock = std::chrono::steady_clock;

MultiprocessDistributor::MultiprocessDistributor(ClusterConfig config, LocalSettings settings)
    : LocalDistributor(std::move(config), std::move(settings)) {}

MultiprocessDistributor::~MultiprocessDistributor() {
  static_cast<void>(stop());
}

Result<void> MultiprocessDistributor::usable(const char* what) const {
  if (life_ == Life::running) return {};
  return fail(ErrorCode::gone, std::string(what) + ": the distributor of cluster " + config_.name +
                                   (life_ == Life::created ? " has not been started" : " has been stopped"));
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
  stopped_entries_ = static_cast<std::uint32_t>(book_.size());
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
  if (auto fit = check_resources(submission); !fit) return fail(fit.error());
  auto added = take_up(submission);
  if (!added) return fail(added.error());
  RunBook::Entry& entry = book_.entry(added->first);
  if (!added->second) return entry.ids;
  Pool& pool = pool_of(entry.batch);
  for (const StepRange& range : submission.steps.ranges()) {
    pool.pending.push_back({added->first, range.first, range.count});
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
  std::vector<std::pair<std::string, RunBook::Found>> open;
  std::unordered_set<std::uint64_t> wanted;
  for (const std::string& id : ids) {
    const auto found = book_.find(id);
    if (!found) {
      answer[id] = {TerminationOutcome::unknown_id, "not given out by this distributor"};
      continue;
    }
    RunBook::Cell& cell = book_.entry(found->entry).cell(found->step);
    if (cell.phase == TaskPhase::finished) {
      answer[id] = {TerminationOutcome::already_finished, ""};
      continue;
    }
    cell.flags |= RunBook::kTerminating;
    open.emplace_back(id, *found);
    wanted.insert(task_key(*found));
  }
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
    --pool_of(book_.entry(found.entry).batch).unfinished;
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

Result<std::map<std::string, std::string>> MultiprocessDistributor::explain_pending(
    const std::vector<std::string>& ids) {
  std::lock_guard lock(mutex_);
  std::map<std::string, std::string> reasons;
  for (const std::string& id : ids) {
    const auto found = book_.find(id);
    if (!found) continue;
    const RunBook::Entry& entry = book_.entry(found->entry);
    const RunBook::Cell& cell = entry.cells[entry.index_of(found->step)];
    if (cell.phase != TaskPhase::queued) continue;
    const Shape shape = shape_of(found->entry);
    std::string trouble = blocked_;
    for (const auto& pool : pools_) {
      for (const auto& worker : pool->workers) {
        if (pool->batch == entry.batch && !worker->trouble.empty()) trouble = worker->trouble;
      }
    }
    std::string reason;
    if ((cell.flags & RunBook::kHeld) != 0) {
      reason = "held; it waits for a release";
    } else if (found->entry < stopped_entries_) {
      reason = kLeftByStop;
    } else if (!trouble.empty()) {
      reason = trouble;
    } else if (life_ != Life::running) {
      reason = "the distributor is stopped";
    } else {
      reason = "waits for " + std::to_string(shape.cores) + " of " + std::to_string(settings_.slots) + " cores" +
               (shape.memory_bytes > 0 ? " and memory" : "") + ": " + std::to_string(reserved_cores_) +
               " are in use or promised to tasks before it";
    }
    reasons.emplace(id, std::move(reason));
  }
  return reasons;
}

Result<std::uint64_t> MultiprocessDistributor::hold(const std::vector<std::string>& ids) {
  std::unique_lock lock(mutex_);
  if (auto good = usable("hold"); !good) return fail(good.error());
  std::vector<RunBook::Found> wanted;
  for (const std::string& id : ids) {
    const auto found = book_.find(id);
    if (!found) continue;
    RunBook::Cell& cell = book_.entry(found->entry).cell(found->step);
    if (cell.phase != TaskPhase::queued) continue;
    cell.flags |= RunBook::kHeld;
    wanted.push_back(*found);
    for (auto& pool : pools_) {
      for (auto& worker : pool->workers) {
        if (worker->handed.count(task_key(*found)) == 0) continue;
        wire::Recall message{book_.entry(found->entry).submission.number, {{found->step, 1}}};
        asio::post(io_, [worker, message = std::move(message)] { worker->channel->send(message); });
      }
    }
  }
  // What a worker node has is decided by its answer: it comes back, or it has begun.
  const auto is_handed = [this](const RunBook::Found& task) {
    return std::any_of(pools_.begin(), pools_.end(), [&](const auto& pool) {
      return std::any_of(pool->workers.begin(), pool->workers.end(),
                         [&](const auto& worker) { return worker->handed.count(task_key(task)) != 0; });
    });
  };
  const auto is_queued = [this](const RunBook::Found& task) {
    return book_.entry(task.entry).cell(task.step).phase == TaskPhase::queued;
  };
  changed_.wait_for(lock, std::chrono::seconds(5), [&] {
    return std::all_of(wanted.begin(), wanted.end(),
                       [&](const RunBook::Found& task) { return !is_queued(task) || !is_handed(task); });
  });
  std::uint64_t held = 0;
  for (const RunBook::Found& task : wanted) {
    if (is_queued(task) && !is_handed(task)) {
      ++held;
    } else {
      book_.entry(task.entry).cell(task.step).flags &= static_cast<std::uint8_t>(~RunBook::kHeld);
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
    Pool& pool = pool_of(entry.batch);
    const bool with_worker = std::any_of(pool.workers.begin(), pool.workers.end(), [&](const auto& worker) {
      return worker->handed.count(task_key(*found)) != 0;
    });
    // It may be listed already: whoever comes second finds it handed out or ended.
    if (!with_worker) pool.pending.push_front({found->entry, found->step, 1});
  }
  lock.unlock();
  schedule_pump();
  return free;
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
  auto batch = BatchDirectory::open(batch_directory);
  if (!batch) return fail(batch.error());
  auto fold = Fold::load(*batch);
  if (!fold) return fail(fold.error());
  const auto& submissions = fold->submissions();
  const auto recorded = std::find_if(submissions.begin(), submissions.end(),
                                     [&](const FoldedSubmission& s) { return s.intent.token == token; });
  if (recorded == submissions.end()) {
    answer.answer = Reconciliation::Answer::proven_absent;
    answer.evidence = "no intent with this token is in the ledger, and this distributor never saw it";
    return answer;
  }
  if (auto ended = take_up_ended(*fold, recorded->intent, batch_directory)) {
    answer.answer = Reconciliation::Answer::found;
    answer.ids = std::move(ended);
    answer.evidence = "every task of it has ended, as the ledger says";
    return answer;
  }
  // First those that live are taken over: what they run is found, and they hand out nothing else any more.
  auto adopted_submission = submission_of(recorded->intent, batch_directory);
  auto number = adopt(lock, *batch, adopted_submission);
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
    auto sessions = sessions_of(*batch, adopted_pids(batch_directory), recorded->intent.submission);
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
  const Strays strays = end_strays(*batch, adopted_pids(batch_directory));
  if (!strays) {
    answer.evidence = "a process of a task of it cannot be ended";
    return answer;
  }
  answer.answer = Reconciliation::Answer::proven_absent;
  answer.evidence = "its worker nodes and guards are gone; what they recorded is in the ledger" + strays.reservation();
  return answer;
}

}  // namespace allot
