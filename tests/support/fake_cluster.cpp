// SPDX-License-Identifier: MIT
#include "tests/support/fake_cluster.h"

#include <fcntl.h>

#include <algorithm>
#include <stdexcept>

#include "process/fd.h"
#include "process/identity.h"
#include "tests/support/fake_distributor.h"

namespace allot::test {

namespace {

std::int64_t unix_now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

template <class T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error("fake cluster: " + result.error().message);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

std::uint64_t append_file(const std::string& path, const std::string& bytes) {
  const Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!fd || !write_all(fd.get(), bytes)) throw std::runtime_error("fake cluster: " + path + " cannot be written");
  return bytes.size();
}

}  // namespace

FakeRun fake_end(ExitClass exit_class, int number, std::string text) {
  FakeRun run;
  run.exit_info = {exit_class, {}, {}, std::move(text)};
  if (exit_class == ExitClass::done || exit_class == ExitClass::error) run.exit_info.exit_code = number;
  if (exit_class == ExitClass::signaled) run.exit_info.signal = number;
  return run;
}

FakeRun fake_goes_on() {
  FakeRun run;
  run.goes_on = true;
  return run;
}

FakeCluster::Writer& FakeCluster::writer(const std::string& batch, std::uint32_t slot) {
  const auto key = std::make_pair(batch, slot);
  auto found = writers_.find(key);
  if (found == writers_.end()) {
    const BatchDirectory directory = must(BatchDirectory::open(batch));
    const std::string name = "fake-" + std::to_string(slot);
    Writer made{must(RecordWriter::open(directory.record_path(name))), 0, 0};
    OpenedRecord opened;
    opened.host = host_name();
    opened.boot_id = boot_id();
    opened.pid = own_identity().pid;
    opened.start_ticks = own_identity().start_ticks;
    opened.worker_pid = opened.pid;
    opened.worker_start_ticks = opened.start_ticks;
    opened.at_ns = unix_now();
    must(made.records.append(opened));
    found = writers_.emplace(key, std::move(made)).first;
  }
  return found->second;
}

std::string FakeCluster::node_of(std::uint32_t slot) const {
  return nodes.empty() ? host_name() : nodes[slot % nodes.size()];
}

std::optional<std::uint32_t> FakeCluster::free_slot(const Task& task) const {
  for (std::uint32_t slot = 0; slot < slots_; ++slot) {
    const auto& excluded = task.excluded_nodes;
    const bool may_run = std::find(excluded.begin(), excluded.end(), node_of(slot)) == excluded.end();
    if (may_run && busy_.count(slot) == 0) return slot;
  }
  return std::nullopt;
}

void FakeCluster::forget(const std::string& batch) {
  std::erase_if(tasks_, [&](const auto& item) { return item.second.batch == batch; });
  std::erase_if(known_, [&](const auto& item) { return item.first.first == batch; });
}

void FakeCluster::start(Task& task) {
  task.slot = *free_slot(task);
  task.what.node = node_of(task.slot);
  busy_.insert(task.slot);
  most_running_ = std::max<std::uint64_t>(most_running_, busy_.size());
  task.phase = TaskPhase::running;
  task.started_ns = unix_now();
  const RunKey key{static_cast<std::uint32_t>(task.what.step), task.what.submission, 0};
  must(writer(task.batch, task.slot).records.append(StartedRecord{key, task.what.attempt, task.started_ns}));
  runs_[task.what.step].push_back(task.what.submission);
  task.run = behaviour ? behaviour(task.what) : FakeRun{};
  tell(task, TaskPhase::running, nullptr);
  changed_.notify_all();
}

void FakeCluster::end(Task& task, const FakeRun& run) {
  const BatchDirectory directory = must(BatchDirectory::open(task.batch));
  Writer& slot = writer(task.batch, task.slot);
  const std::string name = "fake-" + std::to_string(task.slot);
  FinishedRecord record;
  record.key = {static_cast<std::uint32_t>(task.what.step), task.what.submission, 0};
  record.attempt = task.what.attempt;
  record.started_ns = task.started_ns;
  record.ended_ns = unix_now();
  record.exit_info = run.exit_info;
  record.usage.wall_seconds = run.wall_seconds;
  record.usage.max_rss_bytes = run.max_rss_bytes;
  record.standard_output = {slot.out_size, run.out.size(), 0, false};
  record.standard_error = {slot.err_size, run.err.size(), 0, false};
  slot.out_size += append_file(directory.output_path(name, OutputStream::standard_output), run.out);
  slot.err_size += append_file(directory.output_path(name, OutputStream::standard_error), run.err);
  must(slot.records.append(record));
  busy_.erase(task.slot);
  task.phase = TaskPhase::finished;
  task.run = run;
  tell(task, TaskPhase::finished, &run);
  changed_.notify_all();
}

void FakeCluster::remove(Task& task) {
  queue_.erase(std::find(queue_.begin(), queue_.end(), task.id));
  task.phase = TaskPhase::finished;
  task.run = fake_end(ExitClass::killed, 0, "taken out of the queue before it started");
  task.run.wall_seconds = -1;  // it has none
  tell(task, TaskPhase::finished, &task.run);
  changed_.notify_all();
}

void FakeCluster::advance() {
  while (attached_ != nullptr && busy_.size() < slots_) {
    const auto next = std::find_if(queue_.begin(), queue_.end(), [this](const std::string& id) {
      return !tasks_.at(id).is_held && free_slot(tasks_.at(id));
    });
    if (next == queue_.end()) return;
    Task& task = tasks_.at(*next);
    queue_.erase(next);
    start(task);
    if (!task.run.goes_on) end(task, FakeRun(task.run));
  }
}

void FakeCluster::tell(const Task& task, TaskPhase phase, const FakeRun* run) {
  if (attached_ == nullptr || (run != nullptr && is_mute && is_mute(task.what.step))) return;
  Event event;
  event.distributor_id = task.id;
  event.batch_directory = task.batch;
  event.submission = task.what.submission;
  event.step = task.what.step;
  event.phase = phase;
  event.at = std::chrono::system_clock::now();
  event.node = task.what.node;
  if (run != nullptr) {
    event.exit_info = run->exit_info;
    if (run->wall_seconds >= 0) {
      event.wall_seconds = run->wall_seconds;
      event.max_rss_bytes = run->max_rss_bytes;
    }
  }
  attached_->push(std::move(event));
}

FakeCluster::Task* FakeCluster::find(const std::string& id) {
  const auto found = tasks_.find(id);
  return found == tasks_.end() ? nullptr : &found->second;
}

void FakeCluster::finish(std::uint64_t step, const FakeRun& run) {
  std::lock_guard lock(mutex_);
  for (auto& [id, task] : tasks_) {
    if (task.what.step != step || task.phase != TaskPhase::running) continue;
    end(task, run);
    return advance();
  }
  throw std::runtime_error("fake cluster: step " + std::to_string(step) + " does not run");
}

bool FakeCluster::wait_until_running(std::uint64_t step) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::seconds(30), [&] {
    return std::any_of(tasks_.begin(), tasks_.end(), [&](const auto& item) {
      return item.second.what.step == step && item.second.phase == TaskPhase::running;
    });
  });
}

void FakeCluster::vanish(std::uint64_t step) {
  std::lock_guard lock(mutex_);
  std::erase_if(tasks_, [&](const auto& item) {
    const Task& task = item.second;
    if (task.what.step != step || task.phase == TaskPhase::finished) return false;
    if (task.phase == TaskPhase::running) busy_.erase(task.slot);
    std::erase(queue_, task.id);
    return true;
  });
  advance();
}

void FakeCluster::lose_everything() {
  std::lock_guard lock(mutex_);
  tasks_.clear();
  queue_.clear();
  busy_.clear();
  known_.clear();
  writers_.clear();
}

std::vector<Submission> FakeCluster::submissions() const {
  std::lock_guard lock(mutex_);
  return accepted_;
}

std::vector<std::uint64_t> FakeCluster::runs_of(std::uint64_t step) const {
  std::lock_guard lock(mutex_);
  const auto found = runs_.find(step);
  return found == runs_.end() ? std::vector<std::uint64_t>{} : found->second;
}

std::string FakeCluster::id_of_running(std::uint64_t step) const {
  std::lock_guard lock(mutex_);
  for (const auto& [id, task] : tasks_) {
    if (task.what.step == step && task.phase == TaskPhase::running) return id;
  }
  throw std::runtime_error("fake cluster: step " + std::to_string(step) + " does not run");
}

std::uint64_t FakeCluster::most_running() const {
  std::lock_guard lock(mutex_);
  return most_running_;
}

std::vector<std::chrono::milliseconds> FakeCluster::graces() const {
  std::lock_guard lock(mutex_);
  return graces_;
}

}  // namespace allot::test
