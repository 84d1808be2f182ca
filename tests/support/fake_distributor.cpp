// SPDX-License-Identifier: MIT
#include "tests/support/fake_distributor.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>

#include "ledger/task_table.h"
#include "process/identity.h"

namespace allot::test {

namespace {

template <class T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error("fake cluster: " + result.error().message);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

bool is_token(const std::string& text) {
  return !text.empty() && text.size() <= 64 &&
         text.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") ==
             std::string::npos;
}

}  // namespace

FakeDistributor::FakeDistributor(FakeCluster& cluster)
    : cluster_(cluster), ready_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

FakeDistributor::~FakeDistributor() {
  // Like a driver that was killed: its tasks go on.
  std::lock_guard lock(cluster_.mutex_);
  if (cluster_.attached_ == this) cluster_.attached_ = nullptr;
}

Result<void> FakeDistributor::usable() const {
  if (is_running_) return {};
  return fail(ErrorCode::gone, "the fake distributor is not started");
}

Result<void> FakeDistributor::start() {
  std::lock_guard lock(cluster_.mutex_);
  is_running_ = true;
  cluster_.attached_ = this;
  cluster_.advance();
  return {};
}

Result<void> FakeDistributor::stop() {
  std::lock_guard lock(cluster_.mutex_);
  if (!is_running_) return {};
  if (cluster_.outlives_stop) {
    is_running_ = false;
    cluster_.attached_ = nullptr;
    return {};
  }
  for (const auto& id : cluster_.queue_) cluster_.tasks_.erase(id);  // stays queued in the ledger
  cluster_.queue_.clear();
  for (auto& [id, task] : cluster_.tasks_) {
    if (task.phase == TaskPhase::running && !task.run.is_unkillable) {
      cluster_.end(task, fake_end(ExitClass::preempted, 0, "the distributor was stopped"));
    }
  }
  is_running_ = false;
  cluster_.attached_ = nullptr;
  cluster_.known_.clear();
  cluster_.changed_.notify_all();
  return {};
}

Result<SubmittedIds> FakeDistributor::submit(const Submission& submission) {
  std::lock_guard lock(cluster_.mutex_);
  if (auto good = usable(); !good) return fail(good.error());
  const auto key = std::make_pair(submission.batch_directory, submission.token);
  if (const auto known = cluster_.known_.find(key); known != cluster_.known_.end()) return known->second.ids;
  if (cluster_.refuse) {
    if (auto error = cluster_.refuse(submission)) return fail(std::move(*error));
  }
  auto directory = BatchDirectory::open(submission.batch_directory);
  if (!directory) return fail(directory.error());
  auto table = TaskTableReader::open(directory->task_data_path(), directory->task_index_path());
  if (!table) return fail(table.error());
  const std::uint64_t rows = must(table->size());
  const auto wrong = [](const std::string& what) { return fail(ErrorCode::fix_request, what); };
  if (!is_token(submission.token)) return wrong("a token must be 1 to 64 of [A-Za-z0-9._-]");
  if (submission.steps.empty()) return wrong("no steps");
  if (submission.steps.back() >= rows) return wrong("there is no step " + std::to_string(submission.steps.back()));
  if (!submission.is_array && submission.steps.size() != 1) return wrong("a single task has one step");
  if (submission.steps.size() > cluster_.limits.max_array_length) return wrong("more steps than an array may have");
  if (submission.is_array && submission.step_origin > submission.steps.front())
    return wrong("step_origin behind the first step");
  if (cluster_.limits.max_queued > 0 && cluster_.queue_.size() + submission.steps.size() > cluster_.limits.max_queued) {
    return fail(ErrorCode::retry_later, "the queue is full");
  }

  const auto& excluded = submission.excluded_nodes;
  bool some_node = false;
  for (std::uint32_t slot = 0; slot < cluster_.slots_; ++slot) {
    some_node = some_node || std::find(excluded.begin(), excluded.end(), cluster_.node_of(slot)) == excluded.end();
  }
  if (!excluded.empty() && !some_node) return wrong("every node is excluded");

  SubmittedIds ids;
  ids.base = submission.id_base.empty() ? must(new_id_base()) : submission.id_base;
  ids.is_array = submission.is_array;
  ids.step_origin = submission.step_origin;
  ids.steps = submission.steps;
  submission.steps.for_each([&](std::uint64_t step) {
    FakeCluster::Task task;
    task.what = {step, submission.number, submission.attempt, submission.resources, {}, submission.round};
    task.id = ids.id_of(step);
    task.batch = submission.batch_directory;
    task.priority = submission.priority;
    task.excluded_nodes = submission.excluded_nodes;
    // Nearly always the last place is right.
    const bool is_last =
        cluster_.queue_.empty() || cluster_.tasks_.at(cluster_.queue_.back()).priority >= task.priority;
    const auto behind =
        is_last ? cluster_.queue_.end()
                : std::find_if(cluster_.queue_.begin(), cluster_.queue_.end(),
                               [&](const std::string& id) { return cluster_.tasks_.at(id).priority < task.priority; });
    cluster_.queue_.insert(behind, task.id);
    cluster_.tasks_.insert_or_assign(task.id, std::move(task));
  });
  cluster_.known_[key] = {submission, ids};
  cluster_.accepted_.push_back(submission);
  cluster_.advance();
  return ids;
}

Result<SubmittedIds> FakeDistributor::submit_line(const std::string& command, const std::string& name,
                                                  const RequestedResources& resources, std::uint64_t count,
                                                  bool is_array) {
  BatchInfo info;
  info.batch_id = must(new_id_base());
  info.cwd = "/";
  auto directory = BatchDirectory::create(own_ / std::to_string(++own_batches_), info);
  if (!directory) return fail(directory.error());
  auto table = TaskTableWriter::open(directory->task_data_path(), directory->task_index_path());
  if (!table) return fail(table.error());
  TaskSpec task;
  task.shell_line = command;
  task.name = name;
  if (auto added = table->append(task, count); !added) return fail(added.error());
  if (auto synced = table->sync(); !synced) return fail(synced.error());
  Submission submission;
  submission.token = info.batch_id;
  submission.batch_directory = directory->path();
  submission.number = 1;
  submission.steps = StepRanges(0, count);
  submission.is_array = is_array;
  submission.resources = resources;
  submission.name = name;
  return submit(submission);
}

Result<std::string> FakeDistributor::submit_to_batch_distributor(const std::string& command, const std::string& name,
                                                                 const RequestedResources& requested_resources) {
  auto ids = submit_line(command, name, requested_resources, 1, false);
  if (!ids) return fail(ids.error());
  return ids->id_of(0);
}

Result<std::map<std::uint64_t, std::string>> FakeDistributor::submit_array_to_batch_distributor(
    const std::string& command, const std::string& name, const RequestedResources& requested_resources,
    std::uint64_t array_length) {
  if (array_length == 0) return fail(ErrorCode::fix_request, "an array needs steps");
  auto ids = submit_line(command, name, requested_resources, array_length, true);
  if (!ids) return fail(ids.error());
  std::map<std::uint64_t, std::string> answer;
  for (std::uint64_t step = 0; step < array_length; ++step) answer[step] = ids->id_of(step);
  return answer;
}

Result<Snapshot> FakeDistributor::get_submitted_or_running(const std::optional<std::vector<std::string>>& ids) {
  std::lock_guard lock(cluster_.mutex_);
  if (cluster_.snapshot_fault) {
    if (auto error = cluster_.snapshot_fault()) return fail(std::move(*error));
  }
  Snapshot snapshot;
  snapshot.as_of = std::chrono::system_clock::now();
  for (const auto& [id, task] : cluster_.tasks_) {
    if (task.phase == TaskPhase::finished) continue;
    if (cluster_.is_hidden && cluster_.is_hidden(task.what.step)) continue;
    if (ids && std::find(ids->begin(), ids->end(), id) == ids->end()) continue;
    snapshot.phases[id] = task.phase == TaskPhase::queued && task.is_held ? TaskPhase::held : task.phase;
  }
  return snapshot;
}

Result<std::map<std::string, std::string>> FakeDistributor::get_queueing_errors(const std::vector<std::string>& ids) {
  std::lock_guard lock(cluster_.mutex_);
  std::map<std::string, std::string> errors;
  for (const auto& id : ids) {
    const auto* task = cluster_.find(id);
    if (task != nullptr && task->phase == TaskPhase::finished &&
        task->run.exit_info.exit_class == ExitClass::queueing_error) {
      errors[id] = task->run.exit_info.text;
    }
  }
  return errors;
}

Result<ExitInfo> FakeDistributor::get_remote_exit_info(const std::string& id) {
  std::lock_guard lock(cluster_.mutex_);
  const auto* task = cluster_.find(id);
  if (task == nullptr && cluster_.remote_exit_info) {
    const auto parsed = parse_distributor_id(id);
    const bool has_step = parsed && parsed->array_step;
    if (auto told = has_step ? cluster_.remote_exit_info(*parsed->array_step) : std::nullopt) return *told;
  }
  if (task == nullptr) return fail(ErrorCode::not_available, id + " is not known here");
  if (task->phase != TaskPhase::finished) return fail(ErrorCode::not_available, id + " has not finished");
  return task->run.exit_info;
}

Result<std::map<std::string, Termination>> FakeDistributor::terminate_task_instances(
    const std::vector<std::string>& ids, std::chrono::milliseconds grace) {
  if (cluster_.before_termination) cluster_.before_termination(ids);
  std::unique_lock lock(cluster_.mutex_);
  if (auto good = usable(); !good) return fail(good.error());
  cluster_.graces_.push_back(grace);
  cluster_.changed_.notify_all();
  std::map<std::string, Termination> answer;
  std::vector<std::string> deaf;
  for (const auto& id : ids) {
    auto* task = cluster_.find(id);
    if (task == nullptr) {
      answer[id] = {TerminationOutcome::unknown_id, "not given out by this distributor"};
    } else if (task->phase == TaskPhase::finished) {
      answer[id] = {TerminationOutcome::already_finished, ""};
    } else if (task->phase == TaskPhase::queued) {
      cluster_.remove(*task);
      answer[id] = {TerminationOutcome::removed, ""};
    } else if (task->run.is_unkillable) {
      answer[id] = {TerminationOutcome::unreachable, "it cannot be ended"};
    } else if (task->run.is_deaf && grace.count() > 0) {
      deaf.push_back(id);
    } else {
      cluster_.end(*task, fake_end(ExitClass::killed, 0, "ended by the user"));
      answer[id] = {TerminationOutcome::gone, ""};
    }
  }
  const auto is_running = [this](const std::string& id) {
    const auto* task = cluster_.find(id);
    return task != nullptr && task->phase == TaskPhase::running;
  };
  cluster_.changed_.wait_for(lock, grace, [&] { return std::none_of(deaf.begin(), deaf.end(), is_running); });
  for (const auto& id : deaf) {
    if (is_running(id)) cluster_.end(*cluster_.find(id), fake_end(ExitClass::killed, 0, "killed after the grace"));
    answer[id] = {TerminationOutcome::gone, ""};
  }
  cluster_.advance();
  return answer;
}

Result<std::vector<std::string>> FakeDistributor::build_worker_node_command(const std::string&, const StepRanges&) {
  return fail(ErrorCode::unsupported, "a fake cluster has no worker nodes");
}

Result<std::map<std::string, UsageStats>> FakeDistributor::get_usage_stats(const std::vector<std::string>& ids) {
  std::lock_guard lock(cluster_.mutex_);
  std::map<std::string, UsageStats> usage;
  for (const auto& id : ids) {
    const auto* task = cluster_.find(id);
    if (task == nullptr || task->phase != TaskPhase::finished || task->run.wall_seconds < 0) continue;
    usage[id].wall_seconds = task->run.wall_seconds;
    usage[id].max_rss_bytes = task->run.max_rss_bytes;
    usage[id].node = task->what.node;
  }
  return usage;
}

Result<std::map<std::string, std::string>> FakeDistributor::explain_pending(const std::vector<std::string>& ids) {
  std::lock_guard lock(cluster_.mutex_);
  std::map<std::string, std::string> reasons;
  for (const auto& id : ids) {
    const auto* task = cluster_.find(id);
    if (task == nullptr || task->phase != TaskPhase::queued) continue;
    reasons[id] = task->is_held ? "held; it waits for a release" : "all slots are busy";
  }
  return reasons;
}

Result<std::uint64_t> FakeDistributor::hold(const std::vector<std::string>& ids) {
  std::lock_guard lock(cluster_.mutex_);
  std::uint64_t count = 0;
  for (const auto& id : ids) {
    auto* task = cluster_.find(id);
    if (task == nullptr || task->phase != TaskPhase::queued) continue;
    task->is_held = true;
    ++count;
  }
  return count;
}

Result<std::uint64_t> FakeDistributor::release(const std::vector<std::string>& ids) {
  std::lock_guard lock(cluster_.mutex_);
  std::uint64_t count = 0;
  for (const auto& id : ids) {
    auto* task = cluster_.find(id);
    if (task == nullptr) continue;
    task->is_held = false;
    ++count;
  }
  cluster_.advance();
  return count;
}

void FakeDistributor::push(Event event) {
  event.sequence = next_sequence_++;
  events_.push_back(std::move(event));
  ring();
}

void FakeDistributor::ring() {
  const bool wanted = !events_.empty() && events_.back().sequence > acknowledged_;
  if (wanted == is_ringing_) return;
  std::uint64_t count = 1;
  const auto size = wanted ? ::write(ready_.get(), &count, sizeof count) : ::read(ready_.get(), &count, sizeof count);
  if (size == sizeof count) is_ringing_ = wanted;
}

Result<std::vector<Event>> FakeDistributor::wait_for_events(std::uint64_t cursor, std::chrono::milliseconds timeout) {
  std::unique_lock lock(cluster_.mutex_);
  if (cursor >= next_sequence_) return fail(ErrorCode::fix_request, "the cursor is beyond the last event");
  acknowledged_ = std::max(acknowledged_, cursor);
  while (!events_.empty() && events_.front().sequence <= acknowledged_) events_.pop_front();
  ring();
  cluster_.changed_.wait_for(lock, timeout, [this] { return !events_.empty(); });
  if (events_.empty() && cluster_.event_fault) {
    if (auto error = cluster_.event_fault()) return fail(std::move(*error));
  }
  const auto count = std::min<std::size_t>(events_.size(), 4096);
  return std::vector<Event>(events_.begin(), events_.begin() + static_cast<std::ptrdiff_t>(count));
}

Result<void> FakeDistributor::forget_batch(const std::string& batch_directory) {
  std::lock_guard lock(cluster_.mutex_);
  if (auto good = usable(); !good) return good;
  for (const auto& [id, task] : cluster_.tasks_) {
    if (task.batch == batch_directory && task.phase != TaskPhase::finished) {
      return fail(ErrorCode::fix_request, "a task of " + batch_directory + " has not finished: " + id);
    }
  }
  for (const Event& event : events_) {
    if (event.batch_directory == batch_directory && event.sequence > acknowledged_) {
      return fail(ErrorCode::retry_later, "an event of " + batch_directory + " has not been acknowledged");
    }
  }
  cluster_.forget(batch_directory);
  return {};
}

Result<Reconciliation> FakeDistributor::reconcile(const std::string& batch_directory, const std::string& token) {
  std::lock_guard lock(cluster_.mutex_);
  if (auto good = usable(); !good) return fail(good.error());
  if (cluster_.reconcile_answer) {
    if (auto answer = cluster_.reconcile_answer(token)) return std::move(*answer);
  }
  Reconciliation answer;
  const auto known = cluster_.known_.find({batch_directory, token});
  if (known == cluster_.known_.end()) {
    answer.answer = Reconciliation::Answer::proven_absent;
    answer.evidence = "the fake cluster does not have it";
    return answer;
  }
  answer.answer = Reconciliation::Answer::found;
  answer.ids = known->second.ids;
  answer.evidence = "the fake cluster has it";
  return answer;
}

}  // namespace allot::test
