// SPDX-License-Identifier: MIT
// Worker nodes that end, and batches that cannot go on: a batch's trouble stays its own.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <boost/asio/post.hpp>

#include "distributors/multiprocess/schedule.h"
#include "process/identity.h"

namespace allot {

namespace asio = boost::asio;

namespace {
constexpr std::uint32_t kMostDeathsInARow = 5;
constexpr int kDeathPollMs = 5;
constexpr int kLateDeathPollMs = 500;
constexpr int kLongDeathMs = 15'000;
constexpr std::chrono::seconds kLeaveBound{3};

// Of the end of a text file; empty if there is none.
std::string last_line(const std::string& path) {
  constexpr off_t kMostBytes = 4096;
  const Fd file = open_regular(path, O_RDONLY);
  struct stat info {};
  if (!file || ::fstat(file.get(), &info) != 0) return {};
  std::string text(static_cast<std::size_t>(std::min(info.st_size, kMostBytes)), '\0');
  const ssize_t n = pread_all(file.get(), text.data(), text.size(), info.st_size - static_cast<off_t>(text.size()));
  text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text.substr(text.rfind('\n') + 1);
}
}  // namespace

// A closed connection is no proof: the worker node and its guards must be gone before their files are believed
// complete. However long that takes: what cannot be ended may still write.
// By value: burying takes the worker node off the list in which the caller has found it.
// NOLINTNEXTLINE(performance-unnecessary-value-param)
void MultiprocessDistributor::await_death(std::shared_ptr<WorkerLink> worker, int waited_ms) {
  if (!worker->is_reaped) {
    bool gone = false;
    if (worker->child) {
      int status = 0;
      gone = ::waitpid(static_cast<pid_t>(worker->pid), &status, WNOHANG) != 0;
    } else {
      gone = !is_alive({static_cast<pid_t>(worker->pid), worker->start_ticks});
    }
    worker->is_reaped = gone;
    if (!gone && waited_ms > 1000) ::kill(static_cast<pid_t>(worker->pid), SIGKILL);  // it closed its connection, stays
  }
  std::int64_t living_guard = 0;
  for (const wire::SlotState& slot : worker->slots) {
    if (!is_alive({static_cast<pid_t>(slot.guard_pid), slot.guard_start_ticks})) continue;
    living_guard = slot.guard_pid;
    if (waited_ms > 1000) ::kill(static_cast<pid_t>(slot.guard_pid), SIGCONT);  // its task may have stopped it
  }
  Result<void> buried;
  if (!worker->is_reaped || living_guard != 0) {
    buried = fail(ErrorCode::retry_later, "process " + std::to_string(living_guard != 0 ? living_guard : worker->pid) +
                                              " of a worker node that is gone does not end; what it runs is not known");
  } else {
    buried = bury(*worker);
    if (!buried && lose_if_removed(pool_of(worker->batch))) buried = bury(*worker);
    if (buried) return;
  }
  if (waited_ms > kLongDeathMs && worker->trouble_told != buried.error().message) {
    worker->trouble_told = worker->trouble = buried.error().message;
    book_.events().interrupt(Error{ErrorCode::retry_later, worker->trouble});
  }
  // From then on this is only about what the system refuses now and then, or about what cannot be ended.
  const int pause_ms = waited_ms > kLongDeathMs ? kLateDeathPollMs : kDeathPollMs;
  auto timer = std::make_shared<asio::steady_timer>(io_, std::chrono::milliseconds(pause_ms));
  timer->async_wait([this, worker, waited_ms, pause_ms, timer](const boost::system::error_code& error) {
    if (error) return;
    std::lock_guard lock(mutex_);
    await_death(worker, waited_ms + pause_ms);
    changed_.notify_all();
  });
}

// Settles what a dead worker node had in hand. On an error nothing has been decided, and it is to be called again.
Result<void> MultiprocessDistributor::bury(WorkerLink& worker) {
  Pool& pool = pool_of(worker.batch);
  const BatchDirectory& batch = book_.batch(worker.batch).directory;
  std::vector<std::uint64_t> open(worker.handed.begin(), worker.handed.end());
  if (pool.is_lost) {
    // Its guards are gone. What they could not end is found by its mark; nobody reads what they wrote.
    std::vector<std::string> ids;
    for (std::uint64_t key : open) ids.push_back(id_of(key));
    if (!ids.empty()) end_marked(ids);
    for (std::uint64_t key : open) take_off(worker, task_of_key(key));
    take_from_pool(pool, worker);
    return {};
  }
  bool clean = true;
  if (!open.empty()) {
    // A guard that was started after the greeting is known from the records only.
    auto sessions = sessions_of(batch, living_pids(worker.batch));
    if (!sessions) return fail(sessions.error());
    if (sessions->state == Sessions::State::alive) return fail(ErrorCode::retry_later, sessions->text);
    // Guards that were killed together with it could not end their trees.
    std::vector<std::string> ids;
    for (std::uint64_t key : open) ids.push_back(id_of(key));
    clean = worker.leaving || (end_marked(ids) && end_groups(batch));
  }
  std::vector<std::string> writers;
  for (const wire::SlotState& slot : worker.slots) writers.push_back(slot.writer);
  auto taken = book_.take_files(worker.batch, open.empty() ? std::vector<std::string>() : writers);
  if (!taken) return fail(taken.error());
  for (const RunBook::Found& task : *taken) take_off(worker, task);
  pool.note_ends(taken->size());

  std::vector<RunKey> lost;
  for (std::uint64_t key : open) {
    const auto task = task_of_key(key);
    const RunBook::Entry& entry = book_.entry(task.entry);
    const RunBook::Cell& cell = entry.cells[entry.index_of(task.step)];
    if (cell.phase != TaskPhase::running) continue;
    lost.push_back({static_cast<std::uint32_t>(task.step), entry.submission.number, cell.restart});
  }
  if (!lost.empty()) {
    auto recorded = record_lost(batch, lost,
                                "its worker node (pid " + std::to_string(worker.pid) +
                                    ") and its guard are gone and left no record of its end" +
                                    (clean ? "; no process of it is left" : "; a process of it cannot be ended"));
    if (!recorded) return fail(recorded.error().with_context("the end of a lost run cannot be recorded"));
    auto ends = book_.take_files(worker.batch, {*recorded});
    if (!ends) return fail(ends.error());
    pool.note_ends(ends->size());
  }
  for (std::uint64_t key : open) {
    const auto task = task_of_key(key);
    take_off(worker, task);
    put_back(pool, task);
  }
  const bool wanted = !worker.leaving && life_ == Life::running;
  const std::string trouble = worker.trouble;
  take_from_pool(pool, worker);
  if (wanted && pool.unfinished > 0) {
    if (++pool.deaths_in_a_row < kMostDeathsInARow) {
      if (auto started = ensure_workers(pool); !started) give_up(pool, started.error().message);
    } else if (!lose_if_removed(pool)) {
      const std::string last = last_line(batch.path() + "/worker.log");
      give_up(pool, "worker nodes cannot be kept running (" + (last.empty() ? trouble : last) + "); see " +
                        batch.path() + "/worker.log");
    }
  }
  schedule_pump();
  return {};
}

void MultiprocessDistributor::take_from_pool(Pool& pool, WorkerLink& worker) {
  if (!worker.socket_path.empty()) ::unlink(worker.socket_path.c_str());
  const bool was_told = worker.is_short || !worker.trouble_told.empty();
  pool.workers.erase(std::find_if(pool.workers.begin(), pool.workers.end(),
                                  [&](const auto& known) { return known.get() == &worker; }));
  if (was_told) resume_events();
  schedule_pump();
}

std::string MultiprocessDistributor::id_of(std::uint64_t key) const {
  const auto task = task_of_key(key);
  return book_.entry(task.entry).ids.id_of(task.step);
}

// When no worker node is in a trouble any more that passes.
void MultiprocessDistributor::resume_events() {
  if (!blocked_.empty()) return;
  for (const auto& pool : pools_) {
    for (const auto& worker : pool->workers) {
      if (worker->is_short || !worker->trouble_told.empty()) return;
    }
  }
  book_.events().resume();
}

void MultiprocessDistributor::set_blocked(const std::string& why) {
  blocked_ = why;
  book_.events().interrupt(Error{ErrorCode::gave_up, why});
}

// Nothing of it starts here any more; what runs goes on. What waits is given back as preempted, which is no fault of
// it, and what is submitted from now on is refused with the reason.
void MultiprocessDistributor::give_up(Pool& pool, const std::string& why) {
  if (lose_if_removed(pool)) return;
  pool.pending.clear();
  pool.note_ends(block_batch(pool.batch, why, ExitClass::preempted, [](const RunBook::Cell& cell) {
    return cell.phase == TaskPhase::queued && (cell.flags & RunBook::kHanded) == 0;
  }));
}

// What became of its tasks is not kept: for the caller they have ended, and its worker nodes end what still runs.
void MultiprocessDistributor::lose_batch(Pool& pool, const std::string& why) {
  if (pool.is_lost) return;
  pool.is_lost = true;
  pool.pending.clear();
  pool.note_ends(block_batch(pool.batch, why, ExitClass::lost, [](const RunBook::Cell&) { return true; }));
  for (const auto& worker : pool.workers) {
    worker->leaving = true;
    if (worker->dead) continue;
    ::kill(static_cast<pid_t>(worker->pid), SIGCONT);  // its task may have stopped it
    asio::post(io_, [worker, grace = settings_.kill_grace] { worker->channel->send(wire::Leave{grace.count()}); });
    // Past the bound it is ended by force: its guards then end what they run.
    auto timer = std::make_shared<asio::steady_timer>(io_, settings_.kill_grace + kLeaveBound);
    timer->async_wait([this, worker, timer](const boost::system::error_code& error) {
      if (error) return;
      std::lock_guard lock(mutex_);
      const auto pid = static_cast<pid_t>(worker->pid);
      if (!worker->is_reaped && is_alive({pid, worker->start_ticks})) ::kill(pid, SIGKILL);
    });
  }
  changed_.notify_all();
  schedule_pump();
}

bool MultiprocessDistributor::lose_if_removed(Pool& pool) {
  if (pool.is_lost) return true;
  const std::string& path = book_.batch(pool.batch).path;
  const auto there = BatchDirectory::open(path);
  const bool is_there = there ? there->info().batch_id == book_.batch(pool.batch).directory.info().batch_id
                              : there.error().code != ErrorCode::fix_request;  // which cannot be said now
  if (is_there) return false;
  lose_batch(pool, path + " was removed while tasks ran: what became of them is not kept");
  return true;
}

}  // namespace allot
