// SPDX-License-Identifier: MIT
#include "distributors/sequential/sequential_distributor.h"

#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <exception>

#include "process/install_paths.h"

namespace allot {

namespace asio = boost::asio;
using Clock = std::chrono::steady_clock;

namespace {

// Between two attempts to start the worker node where the machine refuses for the moment (no processes, no room).
constexpr std::chrono::milliseconds kShortestPause{50};
constexpr std::chrono::milliseconds kLongestPause{2000};
constexpr std::chrono::seconds kForgetBound{9};

}  // namespace

SequentialDistributor::SequentialDistributor(ClusterConfig config, LocalSettings settings)
    : LocalDistributor(std::move(config), std::move(settings)) {}

SequentialDistributor::~SequentialDistributor() {
  static_cast<void>(stop());
}

Result<void> SequentialDistributor::usable(const char* what) const {
  if (life_ == Life::running) return {};
  return fail(gone(what, life_ != Life::created));
}

Result<void> SequentialDistributor::start() {
  std::lock_guard lock(mutex_);
  if (life_ == Life::stopping) return fail(ErrorCode::retry_later, "the distributor is being stopped");
  life_ = Life::running;
  book_.events().resume();
  return {};
}

Result<void> SequentialDistributor::stop() {
  std::unique_lock lock(mutex_);
  if (life_ != Life::running) {
    if (life_ == Life::created) life_ = Life::stopped;
    changed_.wait(lock, [this] { return life_ == Life::stopped; });
    return {};
  }
  life_ = Life::stopping;
  changed_.notify_all();
  // Whoever is inside submit ends the running task as preempted, closes the worker node, and leaves.
  if (submitting_) {
    asio::post(io_, [this] {
      if (node_) node_->leave(settings_.kill_grace);
    });
    changed_.wait(lock, [this] { return !submitting_; });
  }
  lock.unlock();
  close_node(settings_.kill_grace);
  lock.lock();
  life_ = Life::stopped;
  book_.leave_by_stop();
  book_.events().interrupt(std::nullopt);
  changed_.notify_all();
  return {};
}

Result<void> SequentialDistributor::ready_node(std::uint32_t batch) {
  if (node_ && node_batch_ == batch) return {};  // written by this thread only
  close_node(std::chrono::milliseconds(-1));
  WorkerNodeOptions options;
  {
    std::lock_guard lock(mutex_);
    options.batch_directory = book_.batch(batch).directory.path();
    node_batch_ = batch;
  }
  options.shell = settings_.shell;
  options.guard_program = guard_program();
  options.control_groups = settings_.control_groups;
  options.kill_grace = settings_.kill_grace;
  options.sample_interval = settings_.sample_interval;
  options.commit_interval = settings_.commit_interval;
  WorkerNodeHandler handler;
  handler.records = [this, batch](const wire::Records& records) {
    std::lock_guard lock(mutex_);
    book_.take_records(batch, records);
    changed_.notify_all();
  };
  handler.returned = [this, batch](const wire::Returned& returned) {
    std::lock_guard lock(mutex_);
    const auto entry = book_.find_submission(batch, returned.submission);
    if (!entry || !current_ || current_->entry != *entry) return;
    RunBook::Cell& cell = book_.entry(*entry).cell(current_->step);
    if ((cell.flags & RunBook::kTerminating) != 0) {
      book_.remove(*current_);
    } else if (cell.phase != TaskPhase::finished) {
      cell.phase = TaskPhase::queued;
    }
    current_.reset();
    changed_.notify_all();
  };
  handler.notice = [this, batch](const wire::Notice& notice) {
    std::lock_guard lock(mutex_);
    node_trouble_ = notice.kind == wire::Notice::Kind::space_again ? "" : notice.text;
    switch (notice.kind) {
      case wire::Notice::Kind::space_again:
        book_.events().resume();
        break;
      case wire::Notice::Kind::out_of_space:
        book_.events().interrupt(Error{ErrorCode::retry_later, notice.text});
        break;
      case wire::Notice::Kind::slot_broken:
        give_up(batch, notice.text, ExitClass::preempted);
        break;
      case wire::Notice::Kind::ledger_gone:
        give_up(batch, notice.text, ExitClass::lost);
        break;
    }
    changed_.notify_all();
  };
  io_.restart();
  Result<void> started;
  try {
    node_ = std::make_unique<WorkerNode>(io_, std::move(options), std::move(handler));
    started = node_->start();
  } catch (const std::exception& error) {  // a thread that the system refuses comes as an exception of Boost
    started = fail(ErrorCode::retry_later, std::string("the worker node cannot get ready: ") + error.what());
  }
  if (!started) {
    node_.reset();
    return started;
  }
  std::lock_guard lock(mutex_);
  if (!node_trouble_.empty()) {
    node_trouble_.clear();
    book_.events().resume();
  }
  return {};
}

// Of this batch nothing runs any more; the next one gets a worker node of its own.
void SequentialDistributor::give_up(std::uint32_t batch, const std::string& why, ExitClass exit_class) {
  block_batch(batch, why, exit_class, [](const RunBook::Cell&) { return true; });
  node_trouble_.clear();
  book_.events().resume();
}

void SequentialDistributor::close_node(std::chrono::milliseconds grace) {
  if (node_ && !node_->has_left()) {
    node_->leave(grace);
    io_.restart();
    const auto deadline = Clock::now() + std::max(grace, std::chrono::milliseconds(0)) + std::chrono::seconds(5);
    while (!node_->has_left() && Clock::now() < deadline) io_.run_one_until(deadline);
  }
  if (node_) {
    node_.reset();
    io_.restart();
    io_.poll();  // handlers that still hold the node
  }
  std::lock_guard lock(mutex_);
  node_batch_.reset();
}

void SequentialDistributor::run_step(RunBook::Found task) {
  const auto info = [&]() -> std::optional<wire::SubmissionInfo> {
    std::lock_guard lock(mutex_);
    RunBook::Entry& entry = book_.entry(task.entry);
    // Removed or held since it was chosen: getting a worker node ready takes its time.
    const RunBook::Cell& cell = entry.cell(task.step);
    if (cell.phase == TaskPhase::finished || (cell.flags & RunBook::kHeld) != 0) return std::nullopt;
    const Submission& submission = entry.submission;
    wire::SubmissionInfo told;
    told.number = submission.number;
    told.id_base = entry.ids.base;
    told.is_array = submission.is_array;
    told.step_origin = submission.step_origin;
    told.attempt = submission.attempt;
    told.round = submission.round;
    told.cores = cores_of(submission.resources);
    told.memory_limit_bytes = submission.resources.memory_bytes.value_or(0);
    told.runtime_limit_milliseconds = submission.resources.runtime_milliseconds.value_or(0);
    current_ = task;
    return told;
  }();
  if (!info) return;
  node_->add_submission(*info);
  node_->hand({info->number, {{task.step, 1}}});
  io_.restart();
  for (;;) {
    {
      std::lock_guard lock(mutex_);
      const bool finished = book_.entry(task.entry).cell(task.step).phase == TaskPhase::finished;
      if (finished || !current_ || node_->has_left() || !blocked_.empty()) break;
    }
    io_.run_one();
  }
  std::lock_guard lock(mutex_);
  current_.reset();
}

Result<SubmittedIds> SequentialDistributor::submit(const Submission& submission) {
  std::unique_lock lock(mutex_);
  if (auto good = usable("submit"); !good) return fail(good.error());
  if (auto known = book_.find_token(submission.batch_directory, submission.token)) {
    // The first call with this token may still run it.
    const auto pin = book_.pin(book_.entry(*known).batch);
    changed_.wait(lock, [&] { return book_.entry(*known).unfinished == 0 || life_ != Life::running; });
    return book_.entry(*known).ids;
  }
  if (auto good = check_blocked(submission.batch_directory); !good) return fail(good.error());
  if (auto fit = check_resources(submission); !fit) return fail(fit.error());
  auto added = take_up(submission);
  if (!added) return fail(added.error());
  const std::uint32_t number = added->first;
  const auto pin = book_.pin(book_.entry(number).batch);
  const SubmittedIds ids = book_.entry(number).ids;
  changed_.wait(lock, [this] { return !submitting_ || life_ != Life::running; });
  if (life_ != Life::running) return ids;  // taken, not started: it stays queued in the ledger
  submitting_ = true;
  serving_ = number;
  cursor_ = {};
  auto work = asio::make_work_guard(io_);
  std::chrono::milliseconds pause = kShortestPause;
  while (life_ == Life::running && blocked_.empty()) {
    const auto step = cursor_.next(book_.entry(number));
    if (!step && book_.entry(number).unfinished == 0) break;
    if (!step) {
      changed_.wait(lock);  // the rest is held
      continue;
    }
    const std::uint32_t batch = book_.entry(number).batch;
    lock.unlock();
    auto ready = ready_node(batch);
    if (ready) run_step({number, *step});
    lock.lock();
    if (ready) {
      pause = kShortestPause;
      continue;
    }
    // Nothing of it has started (or what has started is recorded): the rest waits in the ledger.
    if (ready.error().code != ErrorCode::retry_later) {
      give_up(batch, ready.error().message, ExitClass::preempted);
      continue;
    }
    book_.events().interrupt(ready.error());
    node_trouble_ = ready.error().message;
    changed_.notify_all();
    changed_.wait_for(lock, pause, [this] { return life_ != Life::running; });
    pause = std::min(pause * 2, kLongestPause);
  }
  work.reset();
  submitting_ = false;
  changed_.notify_all();
  return ids;
}

Result<std::map<std::string, Termination>> SequentialDistributor::terminate_task_instances(
    const std::vector<std::string>& ids, std::chrono::milliseconds grace) {
  grace = std::clamp(grace, std::chrono::milliseconds(0), kLongestGrace);
  std::unique_lock lock(mutex_);
  if (auto good = usable("terminate"); !good) return fail(good.error());
  std::map<std::string, Termination> answer;
  std::vector<std::pair<std::string, RunBook::Found>> running;
  std::shared_ptr<void> pin;  // of the batch of the one that runs
  for (const std::string& id : ids) {
    const auto found = book_.find(id);
    if (!found) {
      answer[id] = {TerminationOutcome::unknown_id, "not given out by this distributor"};
      continue;
    }
    RunBook::Entry& entry = book_.entry(found->entry);
    RunBook::Cell& cell = entry.cell(found->step);
    if (cell.phase == TaskPhase::finished) {
      answer[id] = {TerminationOutcome::already_finished, ""};
    } else if (current_ && current_->entry == found->entry && current_->step == found->step) {
      cell.flags |= RunBook::kTerminating;
      running.emplace_back(id, *found);
      pin = book_.pin(entry.batch);
      asio::post(io_, [this, found = *found, number = entry.submission.number, grace] {
        {
          std::lock_guard inner(mutex_);
          if (!current_ || current_->entry != found.entry || current_->step != found.step) return;
        }
        node_->terminate({number, {{found.step, 1}}, grace.count(), ExitClass::killed});
      });
    } else {
      book_.remove(*found);
      answer[id] = {TerminationOutcome::removed, ""};
    }
  }
  changed_.notify_all();
  const auto finished = [this](const RunBook::Found& task) {
    return book_.entry(task.entry).cell(task.step).phase == TaskPhase::finished;
  };
  changed_.wait_for(lock, grace + std::chrono::seconds(10), [&] {
    return std::all_of(running.begin(), running.end(), [&](const auto& item) { return finished(item.second); });
  });
  for (const auto& [id, found] : running) {
    if (!finished(found)) {
      answer[id] = {TerminationOutcome::unreachable, "its guard has not confirmed the end"};
    } else {
      const bool removed = (book_.entry(found.entry).cell(found.step).flags & RunBook::kRemoved) != 0;
      answer[id] = {removed ? TerminationOutcome::removed : TerminationOutcome::gone, ""};
    }
  }
  return answer;
}

Result<std::map<std::string, std::string>> SequentialDistributor::explain_pending(const std::vector<std::string>& ids) {
  std::lock_guard lock(mutex_);
  std::map<std::string, std::string> reasons;
  for (const std::string& id : ids) {
    const auto found = book_.find(id);
    if (!found) continue;
    const RunBook::Cell& cell = book_.entry(found->entry).cell(found->step);
    if (cell.phase != TaskPhase::queued) continue;
    std::string reason = "one task runs at a time here, in the order of submission";
    if (!node_trouble_.empty()) reason = node_trouble_;
    if ((cell.flags & RunBook::kHeld) != 0) reason = "held; it waits for a release";
    if (life_ != Life::running) reason = "the distributor is stopped";
    if (!blocked_.empty()) reason = blocked_;
    if (book_.entry(found->entry).is_left_by_stop) reason = kLeftByStop;
    reasons.emplace(id, std::move(reason));
  }
  return reasons;
}

Result<std::uint64_t> SequentialDistributor::hold(const std::vector<std::string>& ids) {
  std::lock_guard lock(mutex_);
  if (auto good = usable("hold"); !good) return fail(good.error());
  std::uint64_t held = 0;
  for (const std::string& id : ids) {
    const auto found = book_.find(id);
    if (!found || (current_ && current_->entry == found->entry && current_->step == found->step)) continue;
    RunBook::Cell& cell = book_.entry(found->entry).cell(found->step);
    if (cell.phase != TaskPhase::queued) continue;
    cell.flags |= RunBook::kHeld;
    ++held;
  }
  return held;
}

Result<std::uint64_t> SequentialDistributor::release(const std::vector<std::string>& ids) {
  std::lock_guard lock(mutex_);
  if (auto good = usable("release"); !good) return fail(good.error());
  std::uint64_t free = 0;
  for (const std::string& id : ids) {
    const auto found = book_.find(id);
    if (!found) continue;
    book_.entry(found->entry).cell(found->step).flags &= static_cast<std::uint8_t>(~RunBook::kHeld);
    if (submitting_ && found->entry == serving_) cursor_.released(book_.entry(serving_), found->step);
    ++free;
  }
  changed_.notify_all();
  return free;
}

Result<void> SequentialDistributor::forget_batch(const std::string& batch_directory) {
  std::unique_lock lock(mutex_);
  if (auto good = usable("forget_batch"); !good) return good;
  const auto deadline = Clock::now() + kForgetBound;
  for (;;) {
    const auto batch = book_.find_batch(batch_directory);
    if (!batch) return {};
    if (auto good = book_.check_forgettable(*batch); !good) return good;
    if (!book_.is_pinned(*batch) && node_batch_ != *batch) {
      book_.forget(*batch);
      return {};
    }
    if (!submitting_ && node_batch_ == *batch) {
      submitting_ = true;  // the worker node is the submitter's
      lock.unlock();
      close_node(std::chrono::milliseconds(-1));
      lock.lock();
      submitting_ = false;
      changed_.notify_all();
      continue;
    }
    if (Clock::now() > deadline) {
      return fail(ErrorCode::retry_later,
                  "batch " + batch_directory + " cannot be forgotten: a call about it is under way");
    }
    changed_.wait_for(lock, std::chrono::milliseconds(10));
    if (auto good = usable("forget_batch"); !good) return good;
  }
}

Result<Reconciliation> SequentialDistributor::reconcile(const std::string& batch_directory, const std::string& token) {
  Reconciliation answer;
  std::unique_lock lock(mutex_);
  if (auto good = usable("reconcile"); !good) return fail(good.error());
  if (auto known = book_.find_token(batch_directory, token)) {
    answer.answer = Reconciliation::Answer::found;
    answer.ids = book_.entry(*known).ids;
    answer.evidence = "this distributor has it";
    return answer;
  }
  lock.unlock();
  auto recorded = find_recorded(batch_directory, token, answer);
  if (!recorded) return fail(recorded.error());
  if (!*recorded) return answer;
  const BatchDirectory& batch = (*recorded)->batch;
  {
    std::lock_guard inner(mutex_);
    if (take_up_ended(**recorded, batch_directory, answer)) return answer;
  }
  // Guards end their task and leave when the process that started them is gone.
  const auto deadline = Clock::now() + std::chrono::seconds(9);
  for (;;) {
    auto sessions = sessions_of(batch, {}, (*recorded)->intent.submission);
    if (!sessions) return fail(sessions.error());
    if (sessions->state == Sessions::State::gone) break;
    answer.evidence = sessions->text;
    if (sessions->state == Sessions::State::elsewhere || Clock::now() > deadline) return answer;
    lock.lock();
    changed_.wait_for(lock, std::chrono::milliseconds(10));
    lock.unlock();
  }
  const Strays strays = end_strays(batch, {});
  if (!strays) {
    answer.evidence = "a process of a task of it cannot be ended";
    return answer;
  }
  answer.answer = Reconciliation::Answer::proven_absent;
  answer.evidence = "no guard of this batch lives; what they recorded is in the ledger" + strays.reservation();
  return answer;
}

}  // namespace allot
