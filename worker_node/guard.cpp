// SPDX-License-Identifier: MIT
#include "worker_node/guard.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>

#include "process/control_group.h"
#include "process/fault_point.h"
#include "process/identity.h"
#include "process/wait_status.h"
#include "protocol/units.h"
#include "worker_node/guard_state.h"
#include "worker_node/memory_witness.h"
#include "worker_node/process_tree.h"
#include "worker_node/shell_line.h"

namespace allot {
namespace {

constexpr std::int64_t kFirstMemorySampleNs = 10'000'000;
constexpr std::int64_t kMemorySampleNs = 100'000'000;
constexpr std::int64_t kLongestSampleNs = 10'000'000'000;
constexpr std::int64_t kUnkillableNs = 10'000'000'000;
constexpr std::int64_t kSampleShare = 100;     // one per cent of the time goes into samples at most
constexpr std::size_t kSpareDescriptors = 12;  // both streams' pipes and files, a task's own files, /proc
constexpr std::size_t kReserveBytes = 256 * 1024;

// Everything below this process; where that cannot be seen (no descriptor for /proc), at least the command's group.
void signal_run(pid_t command, int signal) {
  if (signal_tree(::getpid(), signal) == 0) ::kill(-command, signal);
}

}  // namespace

Guard::Guard(GuardOptions options)
    : options_(std::move(options)),
      out_(options_.batch_directory + "/output/" + options_.writer + ".out"),
      err_(options_.batch_directory + "/output/" + options_.writer + ".err") {
  CPU_ZERO(&all_cores_);
}

Guard::~Guard() {
  if (queue_ != nullptr) ::munmap(queue_, sizeof(SharedQueue));
}

bool Guard::get_ready() {
  const auto complain = [this](const std::string& text) {
    std::fprintf(stderr, "allot-guard %s: %s\n", options_.writer.c_str(), text.c_str());
    return false;
  };
  // Orphans of a task come to this process, so that they can be counted, reaped and ended.
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0) return complain("prctl: " + errno_text(errno));
  if (!options_.cgroup.empty() && !join_control_group(options_.cgroup)) options_.cgroup.clear();
  // A task's dispositions are ours at the time of the spawn: whatever the driver ignored must not reach it.
  for (int signal = 1; signal < NSIG; ++signal) ::signal(signal, SIG_DFL);
  sigset_t all;
  sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  // The submitter's: whoever started this worker node may have another one. Tasks inherit it.
  if (options_.umask >= 0) ::umask(static_cast<mode_t>(options_.umask));

  ::sched_getaffinity(0, sizeof all_cores_, &all_cores_);
  if (!options_.cores.empty()) {
    cpu_set_t own;
    CPU_ZERO(&own);
    for (int core : options_.cores) {
      if (core >= 0 && core < CPU_SETSIZE) CPU_SET(static_cast<std::size_t>(core), &own);
    }
    ::sched_setaffinity(0, sizeof own, &own);  // refused (cores taken offline): it runs unpinned
  }
  void* memory = ::mmap(nullptr, sizeof(SharedQueue), PROT_READ | PROT_WRITE, MAP_SHARED, options_.shared_fd, 0);
  if (memory == MAP_FAILED) return complain("cannot map the queue: " + errno_text(errno));
  queue_ = static_cast<SharedQueue*>(memory);
  if (queue_->magic != kSharedQueueMagic || options_.slot >= kMaxSlots) {
    return complain("the worker node is of another version of allot; install both from the same package");
  }
  line_ = &queue_->slots[options_.slot];

  // Of a guard that was killed while its task ran.
  remove_anything(options_.scratch + ".error");
  remove_anything(options_.scratch + ".progress");
  null_input_.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!null_input_) return complain("/dev/null: " + errno_text(errno));
  // A guard that cannot look into /proc cannot end what a task leaves behind: better none at all.
  if (auto spare = need_descriptors(kSpareDescriptors); !spare) return complain(spare.error().message);
  auto table =
      TaskTableReader::open(options_.batch_directory + "/tasks.data", options_.batch_directory + "/tasks.index");
  if (!table) return complain(table.error().message);
  table_.emplace(std::move(*table));
  auto captured = read_environment(options_.batch_directory + "/environment");
  if (!captured) return complain(captured.error().message);
  environment_ = std::make_unique<TaskEnvironment>(*captured, ::environ);
  direct_lines_ = shell_is_dash_like(options_.shell);

  auto records = RecordWriter::open(options_.batch_directory + "/records/" + options_.writer, kReserveBytes);
  if (!records) return complain(records.error().message);
  records_.emplace(std::move(*records));
  const ProcessIdentity own = own_identity();
  OpenedRecord opened;
  opened.host = options_.host;
  opened.node = options_.node;
  opened.boot_id = boot_id();
  opened.pid = own.pid;
  opened.start_ticks = own.start_ticks;
  opened.worker_pid = options_.worker_pid;
  opened.worker_start_ticks = options_.worker_start_ticks;
  opened.cgroup = options_.cgroup;
  opened.at_ns = clock_ns(CLOCK_REALTIME);
  records_->add(opened);
  if (auto written = records_->write(); !written) return complain(written.error().message);
  line_->written.store(records_->offset());
  kernel_kills_.emplace([count = std::make_shared<MemoryKillCount>()] { return (*count)(); });
  return true;
}

int Guard::run() {
  if (!get_ready()) return 1;
  run_entries();
  close_records();
  return 0;
}

void Guard::run_entries() {
  // What is queued is somebody else's by now if the worker node was gone before this process got here.
  pollfd lifeline = {options_.lifeline_fd, POLLIN, 0};
  orphaned_ = ::poll(&lifeline, 1, 0) > 0;
  for (;;) {
    std::uint64_t position = 0;
    // The next task's limits and output must not be mixed up with what cannot be ended: the next guard takes over.
    if (has_unkillable_) return;
    if (!orphaned_ && line_->out_of_space.load() == 0 && claim_entry(*queue_, options_.slot, position)) {
      const auto index = static_cast<std::uint32_t>(position % kQueueCapacity);
      ALLOT_FAULT_POINT("guard_claimed");
      if (!run_entry(queue_->entries[index], index)) {
        queue_->entries[index].state.store(entry_state(kEntryReturned, options_.slot));
        line_->out_of_space.store(1);
        wake_node(true);
      }
      continue;
    }
    if (orphaned_ || queue_->draining.load() != 0) return;
    sleep();
  }
}

void Guard::sleep() {
  line_->sleeping.store(1);
  wake_node(true);  // the worker node syncs at once when a slot has nothing to do: someone may wait for the result
  // Work published between the claim that failed and this store is seen here: nobody would poke for it.
  const bool may_claim = options_.slot < queue_->limit.load() && line_->out_of_space.load() == 0;
  // Entries between head and tail may all be claimed; claim_entry moves head past them, so this does not spin.
  const bool may_sleep = queue_->draining.load() == 0 && (!may_claim || queue_->head.load() >= queue_->tail.load());
  pollfd waits[2] = {{options_.poke_fd, POLLIN, 0}, {options_.lifeline_fd, POLLIN, 0}};
  while (::poll(waits, 2, may_sleep ? -1 : 0) < 0 && errno == EINTR) {
  }
  line_->sleeping.store(0);
  if (waits[0].revents != 0) {
    clear_event(options_.poke_fd);
    line_->out_of_space.store(0);  // poked: look again whether there is room
  }
  if (waits[1].revents != 0) orphaned_ = true;
}

void Guard::wake_node(bool slot_is_idle) {
  // One write per sleep of the worker node, however many tasks end meanwhile.
  const std::uint32_t waiting = queue_->node_waiting.load();
  if (waiting == kNodeAwake || (waiting == kNodeGathers && !slot_is_idle)) return;
  if (queue_->node_waiting.exchange(kNodeAwake) == kNodeAwake) return;
  const std::uint64_t one = 1;
  while (::write(options_.wake_fd, &one, sizeof one) < 0 && errno == EINTR) {
  }
}

bool Guard::flush(bool has_end) {
  if (!records_->write()) return false;
  if (has_end) line_->ends.store(records_->offset());
  line_->written.store(records_->offset());
  wake_node(false);
  return true;
}

bool Guard::run_entry(QueueEntry& entry, std::uint32_t index) {
  // Room for the end of this run comes first: what starts must be able to say how it ended.
  if (!records_->has_reserve() || !out_.has_room() || !err_.has_room()) return false;
  Running running;
  running.entry = &entry;
  running.index = index;
  FinishedRecord& record = running.record;
  record.key = {entry.step, entry.submission, entry.restart};
  record.attempt = entry.attempt;
  record.usage.cores = entry.cores;

  Launch launch;
  std::optional<std::string> refusal;
  auto row = table_->row(entry.step);
  if (!row) {
    refusal = row.error().message;
  } else {
    refusal = make_ready(entry, **row, launch);
  }
  record.started_ns = clock_ns(CLOCK_REALTIME);
  const bool sabotaged = ALLOT_SABOTAGED("skip_started");
  if (!sabotaged) {
    ALLOT_FAULT_POINT("guard_before_started");
    records_->add(StartedRecord{record.key, entry.attempt, record.started_ns});
    if (!flush()) {
      records_->discard();
      return false;
    }
    ALLOT_FAULT_POINT("guard_after_started");
  }
  if (refusal) {
    record.exit_info.exit_class = ExitClass::launch_failed;
    record.exit_info.text = *refusal;
    record.ended_ns = clock_ns(CLOCK_REALTIME);
    finish(entry, record);
    return true;
  }

  if (!launch.external_out) out_.begin();
  if (!launch.external_err) err_.begin();
  kernel_kills_->before_start();
  if (queue_->scheduler.load() != kNoScheduler) forget_term();
  running.started_mono = monotonic_ns();
  SpawnResult spawned = spawn(entry, launch);
  if (!spawned.good()) {
    record.exit_info.exit_class = ExitClass::launch_failed;
    record.exit_info.text = launch.describe_failure(spawned);
    record.ended_ns = clock_ns(CLOCK_REALTIME);
    finish(entry, record);
    return true;
  }
  ALLOT_FAULT_POINT("guard_after_spawn");
  running.pid = spawned.pid;
  running.pidfd = spawned.pidfd.get();
  running.watch_out = !launch.external_out;
  running.watch_err = !launch.external_err;
  launch.close_external();
  running.runtime_deadline =
      entry.runtime_limit_milliseconds > 0 ? after(running.started_mono, entry.runtime_limit_milliseconds) : kNever;
  if (entry.memory_limit_bytes > 0) {
    // The first sample is early where it is cheap: a short task may be over its limit and gone in between.
    running.sample_interval = std::clamp(sample_cost_ * kSampleShare, kFirstMemorySampleNs, kMemorySampleNs);
  } else {
    running.sample_interval = std::min(kNever / 4, after(0, std::max<std::int64_t>(1, options_.sample_milliseconds)));
  }
  running.next_sample = running.started_mono + running.sample_interval;
  watch(running);

  ALLOT_FAULT_POINT("guard_before_reap");
  int status = 0;
  rusage used;
  while (::wait4(running.pid, &status, 0, &used) < 0 && errno == EINTR) {
  }
  ALLOT_FAULT_POINT("guard_after_reap");
  const std::int64_t ended = monotonic_ns();
  record.ended_ns = record.started_ns + (ended - running.started_mono);
  add_usage(running.usage, used);
  end_leftovers(running);
  if (running.watch_out) out_.drain_rest();
  if (running.watch_err) err_.drain_rest();
  hear_about_term(running, status);
  if (launch.is_direct_line() && !running.stop_reason && running.unkillable.empty())
    tell_death(status, running, launch);
  if (running.watch_out) line_->output_bytes.fetch_add(out_.extent().length);
  if (running.watch_err) line_->output_bytes.fetch_add(err_.extent().length);
  const std::uint32_t cores = entry.cores;
  const auto peak = record.usage.tree_peak_bytes;
  record.usage = decode_rusage(running.usage);
  record.usage.cores = cores;
  // A sample comes now and then, the kernel's maximum of one process misses nothing.
  if (peak) record.usage.tree_peak_bytes = std::max(*peak, record.usage.max_rss_bytes.value_or(0));
  record.usage.wall_seconds = static_cast<double>(ended - running.started_mono) * 1e-9;
  classify(running, status, launch);
  finish(entry, record);
  return true;
}

SpawnResult Guard::spawn(const QueueEntry& entry, Launch& launch) {
  SpawnRequest request;
  request.argv = launch.argv;
  request.envp = launch.envp;
  request.cwd = launch.cwd.c_str();
  request.stdin_fd = launch.input ? launch.input.get() : null_input_.get();
  request.stdout_fd = launch.external_out ? launch.external_out.get() : out_.write_end();
  request.stderr_fd = launch.external_err ? launch.external_err.get() : err_.write_end();
  request.path = launch.path.c_str();
  if (entry.cores > 1 && !options_.cores.empty()) request.affinity = &all_cores_;
  SpawnResult result;
  // A full process table is mostly a passing state: wait a little before calling it a failed launch.
  std::int64_t pause_ms = 10;
  for (int attempt = 0; attempt < 8; ++attempt, pause_ms *= 2) {
    ALLOT_FAULT_POINT("guard_before_spawn");
    result = spawner_.spawn(request);
    if (result.good() || result.failed != SpawnStage::clone || (result.error != EAGAIN && result.error != ENOMEM))
      break;
    pollfd lifeline = {options_.lifeline_fd, POLLIN, 0};
    if (::poll(&lifeline, 1, static_cast<int>(pause_ms)) > 0) break;
  }
  const bool only_shell_knows = result.failed == SpawnStage::exec && launch.is_direct_line() &&
                                (result.error == ENOEXEC || launch.path != launch.argv[0]);
  if (only_shell_knows) {
    // A script without "#!", which the shell itself would run; or a hit in PATH that cannot be executed, behind which
    // the shell would look further.
    launch.use_shell(options_.shell, *launch.line, argv_);
    request.argv = launch.argv;
    request.envp = launch.envp;
    request.path = launch.path.c_str();
    result = spawner_.spawn(request);
  }
  return result;
}

void Guard::watch(Running& running) {
  pollfd waits[5] = {{running.pidfd, POLLIN, 0},
                     {running.watch_out ? out_.read_end() : -1, POLLIN, 0},
                     {running.watch_err ? err_.read_end() : -1, POLLIN, 0},
                     {options_.poke_fd, POLLIN, 0},
                     {orphaned_ ? -1 : options_.lifeline_fd, POLLIN, 0}};
  for (;;) {
    std::int64_t now = monotonic_ns();
    act_on_limits(running, now);
    const std::int64_t deadline = std::min({running.runtime_deadline, running.kill_deadline, running.next_sample});
    now = monotonic_ns();
    // Rounded up: waking a millisecond late is right, spinning through the last one is not.
    const std::int64_t wait_ms =
        deadline == kNever ? -1 : std::max<std::int64_t>(0, (deadline - now + 999'999) / 1'000'000);
    const int ready = ::poll(waits, 5, static_cast<int>(std::min<std::int64_t>(wait_ms, 1'000'000)));
    if (ready < 0 && errno != EINTR) {
      // Refused (no memory, or the limit of descriptors was lowered below ours): the limits hold all the same.
      siginfo_t ended;
      ended.si_pid = 0;
      const auto id = static_cast<id_t>(running.pid);
      if (::waitid(P_PID, id, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid != 0) return;
      if (running.watch_out) out_.drain();
      if (running.watch_err) err_.drain();
      const timespec pause = {0, 10'000'000};
      ::nanosleep(&pause, nullptr);
    }
    if (ready <= 0) continue;
    if (waits[1].revents != 0) out_.drain();
    if (waits[2].revents != 0) err_.drain();
    if (waits[3].revents != 0) clear_event(options_.poke_fd);
    // Before the end of the task, which may come at the same moment: no other task is to be claimed then.
    if (waits[4].revents != 0) {
      orphaned_ = true;
      waits[4].fd = -1;
      begin_stop(running, ExitClass::node_failed,
                 "its worker node is gone; the guard (pid " + std::to_string(::getpid()) + ") ended the task", 0,
                 monotonic_ns());
    }
    if (waits[0].revents != 0) return;
  }
}

void Guard::act_on_limits(Running& running, std::int64_t now) {
  // Looked at in every round, not only when poked: the poke may have come before this run began.
  if (auto order = take_stop_order(running)) {
    begin_stop(running, order->reason, std::move(order->text), order->grace_milliseconds, now);
  }
  if (now >= running.runtime_deadline) {
    running.runtime_deadline = kNever;
    begin_stop(running, ExitClass::timed_out,
               "its runtime limit of " + format_duration(running.entry->runtime_limit_milliseconds) + " passed",
               options_.kill_grace_milliseconds, now);
  }
  if (now >= running.kill_deadline) {
    signal_run(running.pid, SIGKILL);
    running.kill_deadline = now + 100'000'000;  // again, for what a dying process has just forked
  }
  if (now >= running.next_sample) {
    const std::uint64_t used = tree_memory_bytes(::getpid(), false);
    auto& peak = running.record.usage.tree_peak_bytes;
    peak = std::max(peak.value_or(0), used);
    const std::uint64_t limit = running.entry->memory_limit_bytes;
    // The kernel takes a process of the tree, not always the command, which may wait for it for ever.
    if (limit > 0 && !running.stop_reason && has_group_alone() && kernel_kills_->has_killed()) {
      begin_stop(running, ExitClass::out_of_memory, text_of_kernel_kill(running), 0, now);
    }
    if (limit > 0 && used > limit && !running.stop_reason) {
      // Shared pages count once for every process in the sum above: ask exactly before ending anything.
      const std::uint64_t exact = tree_memory_bytes(::getpid(), true);
      running.exact_peak = std::max(running.exact_peak, exact);
      if (exact > limit) {
        begin_stop(running, ExitClass::out_of_memory,
                   "its processes used " + format_size_rounded(exact) + " of the " + format_size_rounded(limit) +
                       " allowed (sum of proportional set sizes)",
                   0, now);
      }
    }
    reap_orphans(running.pid, running.usage, running.orphans);
    const std::int64_t longest = limit == 0 ? kLongestSampleNs : kMemorySampleNs;
    running.sample_interval = running.sample_interval < longest / 2 ? running.sample_interval * 2 : longest;
    // However many processes the node has.
    sample_cost_ = monotonic_ns() - now;
    running.next_sample = now + std::max(running.sample_interval, sample_cost_ * kSampleShare);
  }
}

void Guard::begin_stop(Running& running, ExitClass reason, std::string text, std::int64_t grace, std::int64_t now) {
  const std::int64_t kill_at = after(now, grace);
  if (running.stop_reason) {
    // The first reason stands; a shorter grace cuts the wait short.
    running.kill_deadline = std::min(running.kill_deadline, kill_at);
    return;
  }
  // What has ended by itself was not ended by us.
  pollfd ended = {running.pidfd, POLLIN, 0};
  if (::poll(&ended, 1, 0) > 0) return;
  running.stop_reason = reason;
  running.stop_text = std::move(text);
  running.kill_deadline = kill_at;
  if (grace > 0) {
    // The scheduler's went to every process of the job, and there are programs that take a second one for impatience.
    if (queue_->scheduler.load() == kNoScheduler || !is_term_pending()) signal_run(running.pid, SIGTERM);
    signal_run(running.pid, SIGCONT);  // a stopped process acts on TERM only when it goes on
  }
}

void Guard::end_leftovers(Running& running) {
  if (ALLOT_SABOTAGED("leave_orphans")) return;
  if (!reap_orphans(0, running.usage, running.orphans)) return;
  const std::int64_t begun = monotonic_ns();
  const std::int64_t kill_at = running.stop_reason ? begun : after(begun, options_.leftover_grace_milliseconds);
  bool killing = false;
  int pause_ms = 1;
  while (reap_orphans(0, running.usage, running.orphans)) {
    const std::int64_t now = monotonic_ns();
    if (now >= kill_at) {
      const std::size_t count = signal_tree(::getpid(), SIGKILL);
      if (!killing) running.record.leftover_processes = static_cast<std::uint32_t>(count);
      killing = true;
    }
    if (now - begun > kUnkillableNs) {
      running.unkillable = describe_tree(::getpid(), 5);
      has_unkillable_ = true;
      out_.abandon_pipe();
      err_.abandon_pipe();
      return;
    }
    // No descriptor tells of an orphan's end; what it still prints must be taken meanwhile.
    pollfd waits[2] = {{running.watch_out ? out_.read_end() : -1, POLLIN, 0},
                       {running.watch_err ? err_.read_end() : -1, POLLIN, 0}};
    ::poll(waits, 2, pause_ms);
    if (waits[0].revents != 0) out_.drain();
    if (waits[1].revents != 0) err_.drain();
    pause_ms = std::min(pause_ms * 2, 20);
  }
}

}  // namespace allot
