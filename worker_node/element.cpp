// SPDX-License-Identifier: MIT
// Getting ready: what is to be run, the slots, their guards.
#include "worker_node/element.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <vector>

#include "ledger/record_codec.h"
#include "process/control_group.h"
#include "process/identity.h"
#include "process/machine.h"
#include "worker_node/element_steps.h"
#include "worker_node/guard_state.h"
#include "worker_node/step_claim.h"

namespace allot {
namespace {

sigset_t told_by() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2}) sigaddset(&set, signal);
  return set;
}

// Closes every descriptor above 2 but these; numbers below 0 are none.
void close_others(std::vector<int> kept) {
  std::sort(kept.begin(), kept.end());
  int from = 3;
  for (const int fd : kept) {
    if (fd < from) continue;
    if (fd > from) ::syscall(SYS_close_range, static_cast<unsigned>(from), static_cast<unsigned>(fd - 1), 0u);
    from = fd + 1;
  }
  if (::syscall(SYS_close_range, static_cast<unsigned>(from), ~0u, 0u) == 0) return;
  // A kernel before Linux 5.9.
  for (long fd = 3, most = ::sysconf(_SC_OPEN_MAX); fd < most; ++fd) {
    if (!std::binary_search(kept.begin(), kept.end(), static_cast<int>(fd))) ::close(static_cast<int>(fd));
  }
}

}  // namespace

void Element::block_signals() {
  const sigset_t set = told_by();
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);  // stderr may be a pipe that nobody reads any more
}

Element::Element(ElementOptions options, std::int64_t begun) : options_(std::move(options)), begun_(begun) {}

Element::~Element() {
  if (queue_ != nullptr) ::munmap(queue_, sizeof(SharedQueue));
}

void Element::complain(const std::string& text) const {
  const auto element = static_cast<unsigned long long>(options_.element);
  if (options_.is_alone) {
    std::fprintf(stderr, "allot worker (share %llu): %s\n", element, text.c_str());
  } else {
    std::fprintf(stderr, "allot-element (submission %u, element %llu): %s\n", options_.submission, element,
                 text.c_str());
  }
}

void Element::fail_with(const std::string& text) {
  complain(text);
  status_ = 1;
}

int Element::run() {
  if (const auto status = get_ready()) return *status;
  loop();
  if (options_.is_alone) tell_ends();
  if (own_records_) {
    own_records_->add(closing_record(place_.batch_path, own_files_.writer));
    if (!own_records_->write()) own_records_->discard();
    own_records_.reset();
  }
  release_slot_files(own_files_);
  for (Slot& slot : slots_) release_slot_files(slot);
  return status_;
}

// An exit status where there is nothing to run.
std::optional<int> Element::get_ready() {
  const sigset_t set = told_by();
  signals_.reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  wake_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!signals_ || !wake_) {
    complain(errno_error(errno, "a descriptor for signals").message);
    return 1;
  }
  if (auto found = find_steps(); !found) {
    complain(found.error().message);
    return found.error().code == ErrorCode::gone ? 0 : found.error().code == ErrorCode::fix_request ? 2 : 1;
  }
  if (options_.is_alone && !claim_for_oneself()) return 1;
  read_requests();  // of before the job began
  record_removed();
  // Once they are let go they must not count in the guards' memory, where the tasks' figures begin.
  ::malloc_trim(0);
  Result<void> ready = map_queue();
  if (ready && !backlog_.empty()) ready = claim_slots();
  if (!ready) {
    complain(ready.error().message);
    for (Slot& slot : slots_) release_slot_files(slot);
    return 1;
  }
  return std::nullopt;
}

// False: another one runs some of them. A file system without locks cannot tell, and the scheduler starts an element
// only once.
bool Element::claim_for_oneself() {
  StepRanges steps;
  for (const StepRange& range : backlog_) steps.append_range(range.first, range.count);
  auto claim = claim_steps(options_.batch, steps);
  if (claim) {
    step_claim_ = std::move(*claim);
    return true;
  }
  complain(claim.error().message);
  return claim.error().code != ErrorCode::retry_later;
}

// By the records, which count.
void Element::tell_ends() {
  std::uint64_t ended = 0, done = 0;
  const auto look = [&](const std::string& writer, std::uint64_t from) {
    const auto report =
        scan_record_payloads(options_.batch + "/records/" + writer, from, [&](std::string_view payload, std::uint64_t) {
          if (ledger::payload_type(payload) != static_cast<std::uint8_t>(ledger::RecordType::finished)) {
            return PayloadAnswer::next;
          }
          const auto glance = ledger::glance_at_finished(payload);
          if (!glance || glance->key.submission != options_.submission || glance->key.restart != options_.restart) {
            return PayloadAnswer::next;
          }
          ++ended;
          if (glance->exit_class == ExitClass::done) ++done;
          return PayloadAnswer::next;
        });
    if (!report) fail_with(report.error().message);
  };
  for (const Slot& slot : slots_) look(slot.writer, slot.begin);
  if (own_files_.lock) look(own_files_.writer, own_files_.session_start);
  done += done_before_;
  ended += step_count_ - to_run_;
  std::string text =
      std::to_string(step_count_) + (step_count_ == 1 ? " task: " : " tasks: ") + std::to_string(done) + " done";
  if (ended > done) text += ", " + std::to_string(ended - done) + " not";
  if (step_count_ > ended) text += ", " + std::to_string(step_count_ - ended) + " never started";
  if (done_before_ > 0) text += " (" + std::to_string(done_before_) + " of them done before the job was started again)";
  complain(text);
  if (done < step_count_) status_ = 1;
}

// Errors: gone (another try of the submission counts now), fix_request (no such element), else that it cannot be told.
Result<void> Element::find_steps() {
  const auto cannot = [](Error error) { return fail(ErrorCode::gave_up, std::move(error.message)); };
  auto info = read_batch_info(options_.batch);
  if (!info) return cannot(info.error());
  auto fence = read_fence(options_.batch, options_.submission);
  if (!fence) return cannot(fence.error());
  if (options_.try_number < *fence) {
    return fail(ErrorCode::gone, "this is try " + std::to_string(options_.try_number) +
                                     " of the submission, and those before try " + std::to_string(*fence) +
                                     " are void: nothing was run");
  }
  auto intent = read_submission_file(options_.batch, options_.submission);
  if (!intent) return cannot(intent.error());
  auto steps = steps_of_element(*intent, options_);
  if (!steps) return fail(steps.error());
  step_count_ = steps->size();
  if (options_.restart > 0) {
    auto earlier = find_earlier_runs(options_.batch, options_.submission, *steps);
    if (!earlier) return cannot(earlier.error());
    StepRanges left;
    steps->for_each([&](std::uint64_t step) {
      if (!earlier->ended.contains(step)) left.append(step);
    });
    *steps = std::move(left);
    restarted_ = std::move(earlier->starts);
    done_before_ = earlier->done;
  }
  to_run_ = steps->size();
  backlog_.assign(steps->ranges().begin(), steps->ranges().end());
  intent_ = std::move(*intent);
  intent_.steps = {};

  place_ = {options_.batch, info->batch_id, runtime_directory(), options_.node};
  if (place_.runtime_directory.empty()) {
    return fail(ErrorCode::gave_up, "no directory for locks: neither $XDG_RUNTIME_DIR nor /tmp/allot-" +
                                        std::to_string(::geteuid()) + " can be made or is yours alone (mode 0700)");
  }
  guard_options_.batch_directory = options_.batch;
  guard_options_.cwd = info->cwd;
  if (info->umask) guard_options_.umask = static_cast<int>(*info->umask);
  guard_options_.shell = options_.shell;
  guard_options_.host = host_name();
  guard_options_.node = options_.node;
  const ProcessIdentity own = own_identity();
  guard_options_.worker_pid = own.pid;
  guard_options_.worker_start_ticks = own.start_ticks;
  guard_options_.kill_grace_milliseconds = options_.kill_grace_ms;
  guard_options_.leftover_grace_milliseconds = options_.leftover_grace_ms;
  guard_options_.sample_milliseconds = options_.sample_ms;
  return {};
}

Result<void> Element::map_queue() {
  memory_.reset(::memfd_create("allot-queue", MFD_CLOEXEC));
  if (!memory_ || ::ftruncate(memory_.get(), sizeof(SharedQueue)) != 0) {
    return fail(errno_error(errno, "memory shared with the guards"));
  }
  void* memory = ::mmap(nullptr, sizeof(SharedQueue), PROT_READ | PROT_WRITE, MAP_SHARED, memory_.get(), 0);
  if (memory == MAP_FAILED) return fail(errno_error(errno, "memory shared with the guards"));
  // As zeros, and not constructed: publish() sets all of an entry, and whoever runs one task need not touch the pages
  // of four thousand. What it consists of is made of numbers, all of which are zero at first but these.
  queue_ = static_cast<SharedQueue*>(memory);
  queue_->magic = kSharedQueueMagic;
  queue_->scheduler.store(kHasScheduler);
  guard_options_.shared_fd = memory_.get();
  guard_options_.wake_fd = wake_.get();
  return {};
}

Result<void> Element::claim_slots() {
  std::uint64_t steps = 0;
  for (const StepRange& range : backlog_) steps += range.count;
  const auto count = static_cast<std::uint32_t>(std::min<std::uint64_t>(options_.slots, steps));
  queue_->slot_count = count;
  queue_->limit.store(count);
  slots_.resize(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    Slot& slot = slots_[i];
    slot.index = i;
    if (auto claimed = claim_slot_files(slot, place_); !claimed) return claimed;
    slot.seen = slot.synced = slot.begin = slot.session_start;
    if (options_.control_groups) {
      slot.control_group =
          make_control_group("allot-" + place_.batch_id + "-" + std::to_string(::getpid()) + "-" + std::to_string(i));
    }
    if (auto started = start_guard(slot); !started) {
      if (i == 0 || started.error().code == ErrorCode::fix_request) return started;
      set_trouble(kGuards, started.error().message);  // the others begin
    }
  }
  // Two output files for each slot, and what it takes to look into /proc and into a record file.
  return need_descriptors(2 * count + 8);
}

Result<void> Element::start_guard(Slot& slot) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail(errno_error(errno, "a pipe for the guard"));
  const Fd guard_end(ends[0]);
  slot.lifeline.reset(ends[1]);
  slot.poke.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!slot.poke) return fail(errno_error(errno, "an event descriptor for the guard"));
  SlotLine& line = queue_->slots[slot.index];
  // After a death the file may hold records that are not on disk yet, and so may the output that they speak of.
  line.written.store(std::max(line.written.load(), slot.seen));
  line.output_bytes.store(0);
  line.sleeping.store(0);
  line.out_of_space.store(0);
  line.stop_position.store(0);
  slot.output_synced = slot.deaths_in_a_row > 0 ? UINT64_MAX : 0;
  slot.session_start = line.written.load();

  // No exec: the program is as small as the guard's own, and what the guard's memory begins with is what is held here.
  const pid_t pid = ::fork();
  if (pid < 0) return fail(errno_error(errno, "a process for the guard"));
  if (pid == 0) become_guard(slot, guard_end.get());
  ::setpgid(pid, pid);
  slot.guard_pid = pid;
  slot.guard_exit.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (slot.guard_exit) return {};
  // Without it nobody would see its end. It has claimed nothing yet, or is buried like any other.
  const Error error = errno_error(errno, "a descriptor for the guard");
  ::kill(pid, SIGKILL);
  on_guard_exit(slot);
  return fail(error);
}

void Element::become_guard(const Slot& slot, int lifeline) {
  ::setpgid(0, 0);
  GuardOptions options = guard_options_;
  options.slot = slot.index;
  options.writer = slot.writer;
  options.scratch = slot.scratch;
  options.cgroup = slot.control_group;
  options.poke_fd = slot.poke.get();
  options.lifeline_fd = lifeline;
  options.lock_fd = slot.lock.get();
  // Above all not the other ends of lifelines, this guard's own among them: they are to end with the element.
  close_others({options.shared_fd, options.wake_fd, options.poke_fd, lifeline, options.lock_fd, slot.claim.get()});
  // As what it is told from its element by, in a list of processes.
  static char name[] = "allot-guard";
  ::program_invocation_short_name = name;
  ::prctl(PR_SET_NAME, name, 0, 0, 0);
  int status = 0;
  {
    Guard guard(std::move(options));
    status = guard.run();
  }
  ::_exit(status);
}

}  // namespace allot
