// SPDX-License-Identifier: MIT
// Worker nodes: started, adopted, listened to.
#include "distributors/multiprocess/pool.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cerrno>

#include "distributors/multiprocess/schedule.h"
#include "process/fault_point.h"
#include "process/identity.h"
#include "process/machine.h"

namespace allot {

namespace asio = boost::asio;
using Clock = std::chrono::steady_clock;

namespace {
constexpr std::int64_t kFewestSilentBeats = 12;
constexpr std::chrono::milliseconds kShortestSilence{10'000};
}  // namespace

Pool& MultiprocessDistributor::pool_of(std::uint32_t batch) {
  for (auto& pool : pools_) {
    if (pool->batch == batch) return *pool;
  }
  pools_.push_back(std::make_unique<Pool>());
  Pool& pool = *pools_.back();
  pool.batch = batch;
  auto driver = book_.batch(batch).directory.current_driver();
  pool.epoch = driver && *driver ? (*driver)->epoch : 0;
  return pool;
}

// As many slots as the batch can use. Those that are added double them at least, so that a batch which grows task by
// task does not get a worker node for each.
Result<void> MultiprocessDistributor::ensure_workers(Pool& pool) {
  std::uint32_t have = 0;
  std::vector<bool> taken(settings_.slots, false);
  for (const auto& worker : pool.workers) {
    if (worker->dead) continue;
    have += worker->slot_count;
    for (std::uint32_t i = 0; i < worker->slot_count && worker->first_slot + i < taken.size(); ++i) {
      taken[worker->first_slot + i] = true;
    }
  }
  if (have >= std::min<std::uint64_t>(settings_.slots, pool.unfinished)) return {};
  const auto wanted = static_cast<std::uint32_t>(
      std::min<std::uint64_t>(settings_.slots, std::max<std::uint64_t>(pool.unfinished, 2ull * have)));
  while (have < wanted) {
    const std::uint32_t slots = std::min(settings_.slots_per_worker, wanted - have);
    const auto gap = std::find(taken.begin(), taken.end(), false);
    const auto first = static_cast<std::uint32_t>(gap - taken.begin());
    for (std::uint32_t i = 0; i < slots && first + i < taken.size(); ++i) taken[first + i] = true;
    if (auto started = start_worker(pool, slots, first); !started) return started;
    have += slots;
  }
  return {};
}

Result<void> MultiprocessDistributor::start_worker(Pool& pool, std::uint32_t slots, std::uint32_t first_slot) {
  const BatchDirectory& batch = book_.batch(pool.batch).directory;
  auto name = new_id_base();
  if (!name) return fail(name.error());
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return fail(errno_error(errno, "a socket for the worker node"));
  }
  Fd ours(ends[0]), theirs(ends[1]);
  Fd null_input(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  // Complaints of worker nodes outlive the driver's terminal.
  const std::string log_path = batch.path() + "/worker.log";
  Fd log = open_private(log_path, O_WRONLY | O_APPEND);
  if (!null_input || !log) return fail(errno_error(errno, !log ? log_path : "/dev/null"));

  const std::string runtime = runtime_directory();
  std::vector<std::string> arguments = {entry_point_,
                                        "--batch",
                                        batch.path(),
                                        "--slots",
                                        std::to_string(slots),
                                        "--shell",
                                        settings_.shell,
                                        "--kill-grace-ms",
                                        std::to_string(settings_.kill_grace.count()),
                                        "--sample-ms",
                                        std::to_string(settings_.sample_interval.count()),
                                        "--commit-ms",
                                        std::to_string(settings_.commit_interval.count()),
                                        "--worker-grace-ms",
                                        std::to_string(settings_.worker_grace.count()),
                                        "--heartbeat-ms",
                                        std::to_string(settings_.heartbeat_interval.count()),
                                        "--channel-fd",
                                        std::to_string(theirs.get())};
  const std::string socket_path = runtime.empty() ? "" : runtime + "/" + batch.info().batch_id + "-" + *name + ".sock";
  if (!socket_path.empty()) arguments.insert(arguments.end(), {"--socket", socket_path});
  if (!settings_.control_groups) arguments.push_back("--no-cgroup");
  // Of several batches each knows its own slots only, and two would share a core while another has nothing to do.
  const bool is_alone = std::none_of(pools_.begin(), pools_.end(), [&pool](const auto& other) {
    return other.get() != &pool && std::any_of(other->workers.begin(), other->workers.end(),
                                               [](const auto& worker) { return !worker->leaving && !worker->dead; });
  });
  if (settings_.pinned && is_alone) {
    std::string cores;
    for (std::uint32_t i = 0; i < slots; ++i) {
      if (i > 0) cores += ',';
      cores += std::to_string(settings_.cores[(first_slot + i) % settings_.cores.size()]);
    }
    arguments.insert(arguments.end(), {"--cores", cores});
  }
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const int inherited[] = {theirs.get()};
  SpawnRequest request;
  request.path = entry_point_.c_str();
  request.argv = argv.data();
  request.envp = ::environ;
  request.stdin_fd = null_input.get();
  request.stdout_fd = request.stderr_fd = log.get();
  request.new_session = true;       // the terminal's Ctrl-C is the driver's to handle
  request.die_with_parent = false;  // it finishes what runs
  request.inherited = inherited;
  request.inherited_count = 1;
  ALLOT_FAULT_POINT("driver_before_worker");
  SpawnResult result = spawner_.spawn(request);
  if (!result.good()) {
    return fail(
        errno_error(result.error, std::string("the worker node: ") + to_string(result.failed) + " " + entry_point_));
  }
  ALLOT_FAULT_POINT("driver_after_worker");
  auto worker = std::make_shared<WorkerLink>();
  worker->batch = pool.batch;
  worker->pid = result.pid;
  worker->start_ticks = process_start_ticks(result.pid).value_or(0);
  worker->child = true;
  worker->slot_count = slots;
  worker->first_slot = first_slot;
  worker->socket_path = socket_path;
  worker->limit = slots;
  worker->started = Clock::now();
  pool.workers.push_back(worker);
  // Slots that are kept for it longer are others' to use.
  auto patience = std::make_shared<asio::steady_timer>(io_, kStartPatience);
  patience->async_wait([this, patience](const boost::system::error_code& error) {
    if (error) return;
    std::lock_guard lock(mutex_);
    pump();
  });
  auto connected = connect_channel(worker, std::move(ours));
  if (!connected) {  // its end of the connection is closed: it leaves by itself
    worker->dead = true;
    await_death(worker, 0);
  }
  return connected;
}

Result<void> MultiprocessDistributor::connect_channel(const std::shared_ptr<WorkerLink>& worker, Fd connection) {
  Channel::Socket socket(io_);
  boost::system::error_code error;
  socket.assign(asio::local::stream_protocol(), connection.get(), error);
  if (error) return fail(ErrorCode::retry_later, "the connection to a worker node: " + error.message());
  connection.release();
  worker->channel = std::make_shared<Channel>(std::move(socket));
  const BatchDirectory& batch = book_.batch(worker->batch).directory;
  // The format that this program writes: both sides read older ones.
  wire::Greet greet{wire::kVersion, kBatchFormat, batch.info().batch_id, pool_of(worker->batch).epoch};
  // Weak in the handlers: the link owns the channel, which owns them.
  std::weak_ptr<WorkerLink> weak = worker;
  asio::post(io_, [this, weak, channel = worker->channel, greet = std::move(greet)] {
    channel->start(
        [this, weak](wire::Message message) {
          std::lock_guard lock(mutex_);
          if (const auto link = weak.lock()) on_message(*link, std::move(message));
          changed_.notify_all();
        },
        [this, weak](const std::string& why) {
          std::lock_guard lock(mutex_);
          if (const auto link = weak.lock()) on_closed(*link, why);
          changed_.notify_all();
        });
    channel->send(greet);
  });
  return {};
}

void MultiprocessDistributor::on_message(WorkerLink& worker, wire::Message message) {
  worker.silent_beats = 0;
  if (auto* welcome = std::get_if<wire::Welcome>(&message)) {
    worker.welcome = true;
    worker.pid = welcome->pid;
    worker.start_ticks = welcome->start_ticks;
    worker.slots = std::move(welcome->slots);
    worker.slot_count = worker.limit = static_cast<std::uint32_t>(worker.slots.size());
    for (const RunKey& key : welcome->running) {
      if (auto entry = book_.find_submission(worker.batch, key.submission)) hand(worker, {*entry, key.step});
      worker.adopted.push_back(key);
    }
    pump();
  } else if (auto* refused = std::get_if<wire::Refused>(&message)) {
    worker.trouble = "a worker node refused this driver: " + refused->text;
    worker.channel->close();
    on_closed(worker, worker.trouble);
  } else if (auto* records = std::get_if<wire::Records>(&message)) {
    on_records(worker, *records);
  } else if (auto* returned = std::get_if<wire::Returned>(&message)) {
    on_returned(worker, *returned);
  } else if (auto* notice = std::get_if<wire::Notice>(&message)) {
    on_notice(worker, *notice);
  }
}

void MultiprocessDistributor::on_notice(WorkerLink& worker, const wire::Notice& notice) {
  Pool& pool = pool_of(worker.batch);
  worker.trouble = notice.kind == wire::Notice::Kind::space_again ? "" : notice.text;
  switch (notice.kind) {
    case wire::Notice::Kind::slot_broken:
      // One without a slot is of no use. If others like it are not either, its batch is given up.
      if (++worker.broken_slots < worker.slot_count || lose_if_removed(pool) || worker.leaving) return;
      if (is_alive({static_cast<pid_t>(worker.pid), worker.start_ticks})) {
        ::kill(static_cast<pid_t>(worker.pid), SIGKILL);
      }
      return;
    case wire::Notice::Kind::ledger_gone:
      return lose_batch(pool, notice.text);
    case wire::Notice::Kind::out_of_space:
      if (lose_if_removed(pool)) return;
      worker.is_short = true;
      return book_.events().interrupt(Error{ErrorCode::retry_later, notice.text});
    case wire::Notice::Kind::space_again:
      worker.is_short = false;
      return resume_events();
  }
}

void MultiprocessDistributor::hand(WorkerLink& worker, RunBook::Found task) {
  if (!worker.handed.insert(task_key(task)).second) return;
  const Shape shape = shape_of(task.entry);
  ++handed_shapes_[shape];
  reserved_cores_ += shape.cores;
  reserved_memory_ += shape.memory_bytes;
  worker.cores_handed += shape.cores;
  worker.is_recalled = false;
  book_.entry(task.entry).cell(task.step).flags |= RunBook::kHanded;
}

void MultiprocessDistributor::take_off(WorkerLink& worker, RunBook::Found task) {
  if (worker.handed.erase(task_key(task)) == 0) return;
  const Shape shape = shape_of(task.entry);
  reserved_cores_ -= shape.cores;
  reserved_memory_ -= shape.memory_bytes;
  worker.cores_handed -= shape.cores;
  book_.entry(task.entry).cell(task.step).flags &= static_cast<std::uint8_t>(~RunBook::kHanded);
  const auto it = handed_shapes_.find(shape);
  if (--it->second == 0) handed_shapes_.erase(it);
}

// A worker node that had it did not start it.
void MultiprocessDistributor::put_back(Pool& pool, RunBook::Found task) {
  RunBook::Entry& entry = book_.entry(task.entry);
  RunBook::Cell& cell = entry.cell(task.step);
  if (cell.phase == TaskPhase::finished) return;
  if ((cell.flags & RunBook::kTerminating) != 0) {
    book_.remove(task);
    pool.note_ends(1);
    return;
  }
  cell.phase = TaskPhase::queued;
  if (!book_.batch(pool.batch).blocked.empty()) {
    book_.drop(task, ExitClass::preempted);
    pool.note_ends(1);
    return;
  }
  if (life_ == Life::running) pool.pending.put_back(entry.submission.priority, entry.submission.number, task);
}

void MultiprocessDistributor::on_records(WorkerLink& worker, const wire::Records& records) {
  Pool& pool = pool_of(worker.batch);
  const auto ended = book_.take_records(worker.batch, records);
  for (const RunBook::Found& task : ended) take_off(worker, task);
  pool.note_ends(ended.size());
  if (!ended.empty()) {
    pool.deaths_in_a_row = 0;
    const auto now = Clock::now();
    const double seconds = std::max(1e-3, std::chrono::duration<double>(now - pool.last_end).count());
    const double rate = static_cast<double>(ended.size()) / seconds;
    // Slower counts at once: long tasks must not queue behind each other on the word of short ones before them.
    pool.ends_per_second = std::min(0.7 * pool.ends_per_second + 0.3 * rate, 4 * rate);
    pool.last_end = now;
  }
  pump();
}

void MultiprocessDistributor::on_returned(WorkerLink& worker, const wire::Returned& returned) {
  const auto entry = book_.find_submission(worker.batch, returned.submission);
  if (!entry) return;
  Pool& pool = pool_of(worker.batch);
  for (const StepRange& range : returned.steps) {
    for (std::uint64_t i = 0; i < range.count; ++i) {
      const RunBook::Found task{*entry, range.first + i};
      take_off(worker, task);
      put_back(pool, task);
    }
  }
  schedule_pump();
}

void MultiprocessDistributor::on_closed(WorkerLink& worker, const std::string& why) {
  if (worker.dead) return;
  worker.dead = true;
  if (worker.channel) worker.channel->close();
  if (worker.trouble.empty()) worker.trouble = why;
  Pool& pool = pool_of(worker.batch);
  for (const auto& known : pool.workers) {
    if (known.get() == &worker) {
      await_death(known, 0);
      return;
    }
  }
}

// Hears of worker nodes that say nothing. Counted by this timer, not by the clock: after this process was stopped
// itself, what they said meanwhile is read first.
void MultiprocessDistributor::listen_for_heartbeats() {
  heartbeat_->expires_after(settings_.heartbeat_interval);
  heartbeat_->async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    std::lock_guard lock(mutex_);
    const auto most = std::max<std::int64_t>(kFewestSilentBeats, kShortestSilence / settings_.heartbeat_interval);
    for (auto& pool : pools_) {
      for (auto& worker : pool->workers) {
        if (worker->dead || !worker->welcome || ++worker->silent_beats < 2) continue;
        const auto pid = static_cast<pid_t>(worker->pid);
        if (!is_alive({pid, worker->start_ticks})) continue;  // its connection will tell
        ::kill(pid, SIGCONT);                                 // its task may have stopped it
        if (worker->silent_beats <= most) continue;
        worker->trouble = "worker node " + std::to_string(pid) + " has said nothing for " +
                          std::to_string(worker->silent_beats) + " heartbeats and was ended";
        ::kill(pid, SIGKILL);
      }
    }
    listen_for_heartbeats();
  });
}

// ---- adoption -----------------------------------------------------------------------------------------------------

std::vector<std::int64_t> MultiprocessDistributor::living_pids(std::uint32_t batch) {
  std::vector<std::int64_t> pids;
  for (const auto& worker : pool_of(batch).workers) {
    if (!worker->dead) pids.push_back(worker->pid);
  }
  return pids;
}

std::vector<std::int64_t> MultiprocessDistributor::adopted_pids(const std::string& batch_directory) {
  const auto batch = book_.current_batch(batch_directory);
  return batch ? living_pids(*batch) : std::vector<std::int64_t>();
}

Result<std::optional<std::uint32_t>> MultiprocessDistributor::adopt(std::unique_lock<std::mutex>& lock,
                                                                    const BatchDirectory& batch,
                                                                    const Submission& submission) {
  auto number = book_.open_batch(batch.path());
  if (!number) return fail(number.error());
  const auto pin = book_.pin(*number);
  const std::string runtime = runtime_directory();
  const std::string prefix = batch.info().batch_id + "-";
  Result<void> connected;
  if (DIR* directory = pool_of(*number).workers.empty() ? ::opendir(runtime.c_str()) : nullptr; directory != nullptr) {
    while (const dirent* item = ::readdir(directory)) {
      const std::string name = item->d_name;
      if (name.rfind(prefix, 0) != 0 || name.size() < 5 || name.substr(name.size() - 5) != ".sock") continue;
      const asio::local::stream_protocol::endpoint endpoint(runtime + "/" + name);
      Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
      if (!socket) break;
      if (::connect(socket.get(), endpoint.data(), static_cast<socklen_t>(endpoint.size())) != 0) {
        if (errno == ECONNREFUSED) ::unlink((runtime + "/" + name).c_str());  // left by one that was killed
        continue;
      }
      auto worker = std::make_shared<WorkerLink>();
      worker->batch = *number;
      worker->socket_path = runtime + "/" + name;
      if (connected = connect_channel(worker, std::move(socket)); !connected) break;
      pool_of(*number).workers.push_back(worker);
    }
    ::closedir(directory);
  }
  if (!connected) return fail(connected.error());
  // While this waits a stop may come and clear the pools: none is held across it.
  changed_.wait_for(lock, settings_.start_timeout, [&] {
    if (life_ != Life::running) return true;
    const Pool& pool = pool_of(*number);
    return std::all_of(pool.workers.begin(), pool.workers.end(),
                       [](const auto& worker) { return worker->welcome || worker->dead; });
  });
  if (auto good = usable("reconcile"); !good) return fail(good.error());
  std::vector<RunKey> running;
  for (const auto& worker : pool_of(*number).workers) {
    for (const RunKey& key : worker->adopted) {
      if (key.submission == submission.number && !worker->dead) running.push_back(key);
    }
  }
  if (running.empty()) return std::optional<std::uint32_t>();
  // Whoever else wrote for this batch must be gone before a run without an end is called lost.
  const auto deadline = Clock::now() + std::chrono::seconds(8);
  for (;;) {
    auto sessions = sessions_of(batch, adopted_pids(batch.path()), submission.number);
    if (!sessions) return fail(sessions.error());
    if (sessions->state == Sessions::State::gone) break;
    if (Clock::now() > deadline || sessions->state == Sessions::State::elsewhere) {
      return fail(ErrorCode::retry_later, sessions->text);
    }
    changed_.wait_for(lock, std::chrono::milliseconds(10));
    if (auto good = usable("reconcile"); !good) return fail(good.error());
  }
  Pool& pool = pool_of(*number);
  auto fold = Fold::load(batch);
  if (!fold) return fail(fold.error());
  const auto runs = [&](std::uint64_t step) {
    return std::any_of(running.begin(), running.end(), [step](const RunKey& key) { return key.step == step; });
  };
  std::vector<RunKey> lost;
  submission.steps.for_each([&](std::uint64_t step) {
    const FoldedTask& task = fold->task(step);
    if (task.state == TaskState::running && task.submission == submission.number && !runs(step)) {
      lost.push_back({static_cast<std::uint32_t>(step), submission.number, task.restart});
    }
  });
  if (!lost.empty()) {
    auto recorded = record_lost(batch, lost, "no living worker node of the batch knows of it");
    if (!recorded) return fail(recorded.error());
  }
  // From here on nothing fails: the submission is taken up once, as a whole.
  auto added = book_.add(submission);
  if (!added) return fail(added.error());
  RunBook::Entry& entry = book_.entry(added->first);
  if (!added->second) return std::optional<std::uint32_t>(added->first);
  pool.unfinished += entry.unfinished;
  if (auto taken = book_.take_ledger(*number)) {
    pool.note_ends(taken->size());
  }
  for (const auto& worker : pool.workers) {
    for (const RunKey& key : worker->adopted) {
      if (key.submission != submission.number || worker->dead) continue;
      const RunBook::Found task{added->first, key.step};
      if (entry.cell(key.step).phase != TaskPhase::finished) hand(*worker, task);
    }
  }
  submission.steps.for_each([&](std::uint64_t step) {
    RunBook::Cell& cell = entry.cell(step);
    if (cell.phase != TaskPhase::queued || runs(step)) return;
    if (fold->task(step).is_held) {  // by who asks it would be held again too late
      cell.flags |= RunBook::kHeld;
      return;
    }
    pool.pending.push_back(submission.priority, added->first, {step, 1});
  });
  schedule_pump();
  return std::optional<std::uint32_t>(added->first);
}

}  // namespace allot
