// SPDX-License-Identifier: MIT
#include "engine/helper_threads.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <system_error>
#include <utility>

namespace allot {

Bell::Bell() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

void Bell::ring() {
  const std::uint64_t one = 1;
  // The only failure is a full counter: then it rings already.
  if (::write(fd_.get(), &one, sizeof one) != sizeof one) return;
}

void Bell::clear() {
  std::uint64_t count = 0;
  if (::read(fd_.get(), &count, sizeof count) != sizeof count) return;  // it did not ring
}

Submitter::Submitter(ClusterDistributor& distributor, Bell& bell)
    : distributor_(distributor), bell_(bell), thread_([this] { work(); }) {}

Submitter::~Submitter() {
  {
    std::lock_guard lock(mutex_);
    leaving_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

void Submitter::submit(std::uint32_t owner, Submission submission) {
  std::lock_guard lock(mutex_);
  queue_.push_back({owner, std::move(submission)});
  changed_.notify_all();
}

std::vector<Submitter::Answer> Submitter::take_answers() {
  std::lock_guard lock(mutex_);
  return std::exchange(answers_, {});
}

void Submitter::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return leaving_ || !queue_.empty(); });
    if (leaving_) return;
    const Job job = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    auto ids = distributor_.submit(job.submission);
    lock.lock();
    answers_.push_back({job.owner, job.submission.number, std::move(ids)});
    bell_.ring();
  }
}

void DistributorCalls::join() {
  for (auto& call : calls_) {
    if (call.thread.joinable()) call.thread.join();
  }
}

void DistributorCalls::start(int tag, std::function<void(Report&)> work) {
  Call& call = calls_.emplace_back();
  call.report.tag = tag;
  auto run = [this, &call, work = std::move(work)] {
    work(call.report);
    call.is_over.store(true, std::memory_order_release);
    bell_.ring();
  };
  try {
    call.thread = std::thread(run);
  } catch (const std::system_error&) {
    run();
  }
}

void DistributorCalls::terminate(int tag, std::vector<std::string> ids, std::chrono::milliseconds grace) {
  start(tag, [this, ids = std::move(ids), grace](Report& report) {
    report.outcomes = distributor_.terminate_task_instances(ids, grace);
  });
}

void DistributorCalls::hold(int tag, std::vector<std::string> ids) {
  start(tag, [this, ids = std::move(ids)](Report& report) {
    if (auto held = distributor_.hold(ids); !held) report.error = held.error();
  });
}

void DistributorCalls::release(int tag, std::vector<std::string> ids) {
  start(tag, [this, ids = std::move(ids)](Report& report) {
    if (auto released = distributor_.release(ids); !released) report.error = released.error();
  });
}

void DistributorCalls::look(int tag, std::vector<std::string> ids) {
  start(tag,
        [this, ids = std::move(ids)](Report& report) { report.snapshot = distributor_.get_submitted_or_running(ids); });
}

void DistributorCalls::hear(int tag, const BatchDirectory& batch, std::vector<SilentTask> tasks) {
  start(tag, [this, &batch, tasks = std::move(tasks)](Report& report) {
    report.findings = hear_witnesses(batch, distributor_, tasks);
  });
}

std::size_t DistributorCalls::busy(int tag) const {
  const auto count =
      std::count_if(calls_.begin(), calls_.end(), [tag](const Call& call) { return call.report.tag == tag; });
  return static_cast<std::size_t>(count);
}

bool DistributorCalls::has_reports() const {
  return std::any_of(calls_.begin(), calls_.end(),
                     [](const Call& call) { return call.is_over.load(std::memory_order_acquire); });
}

std::vector<DistributorCalls::Report> DistributorCalls::take_reports() {
  std::vector<Report> reports;
  for (auto call = calls_.begin(); call != calls_.end();) {
    if (!call->is_over.load(std::memory_order_acquire)) {
      ++call;
      continue;
    }
    if (call->thread.joinable()) call->thread.join();
    reports.push_back(std::move(call->report));
    call = calls_.erase(call);
  }
  return reports;
}

}  // namespace allot
