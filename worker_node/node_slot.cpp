// SPDX-License-Identifier: MIT
#include "worker_node/node_slot.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <vector>

#include "ledger/record_file.h"
#include "ledger/writer_name.h"
#include "process/control_group.h"
#include "process/identity.h"

namespace allot {
namespace {

// Locks `path`; false with errno EWOULDBLOCK when somebody has it. The file may be removed by its last holder between
// open and lock: then the name stands for another file, and the lock is worth nothing.
bool lock_file(const std::string& path, Fd& lock) {
  for (;;) {
    lock.reset(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!lock || ::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) return false;
    struct stat held, named;
    if (::fstat(lock.get(), &held) == 0 && ::stat(path.c_str(), &named) == 0 && held.st_ino == named.st_ino &&
        held.st_dev == named.st_dev) {
      return true;
    }
  }
}

// The lock is in the runtime directory, and that changes: at a logout, from a session to a cron job. A guard that has
// locked the slot in another one still lives then.
bool is_in_use(const OpenedRecord& last) {
  if (last.host != host_name() || last.boot_id != boot_id()) return false;
  return is_alive({static_cast<pid_t>(last.pid), last.start_ticks}) ||
         (last.worker_pid != ::getpid() && is_alive({static_cast<pid_t>(last.worker_pid), last.worker_start_ticks}));
}

std::uint64_t end_of(const OutputExtent& extent) {
  return extent.length == 0 ? 0 : extent.offset + extent.length;
}

std::uint64_t file_size(const std::string& path) {
  struct stat info;
  return ::stat(path.c_str(), &info) == 0 ? static_cast<std::uint64_t>(info.st_size) : 0;
}

}  // namespace

Result<void> claim_slot_files(NodeSlot& slot, const BatchDirectory& batch, const std::string& runtime_directory) {
  constexpr int kMostSlots = 100'000;
  for (int k = 0; k < kMostSlots; ++k) {
    slot.writer = slot_writer_name(host_name(), static_cast<std::uint64_t>(k));
    slot.scratch = runtime_directory + "/" + batch.info().batch_id + "-" + std::to_string(k);
    slot.lock_path = slot.scratch + ".lock";
    if (!lock_file(slot.lock_path, slot.lock)) {
      if (errno == EWOULDBLOCK) continue;
      return fail(errno_error(errno, slot.lock_path));
    }
    const std::string path = batch.record_path(slot.writer);
    // A torn tail of a killed guard is cut by the next one; what counts as told ends at the last whole frame.
    OpenedRecord last;
    std::uint64_t printed[2] = {0, 0};
    auto report = scan_record_file(path, 0, [&](const DecodedRecord& record, std::uint64_t) {
      if (const auto* opened = std::get_if<OpenedRecord>(&record.record)) last = *opened;
      if (const auto* finished = std::get_if<FinishedRecord>(&record.record)) {
        printed[0] = std::max(printed[0], end_of(finished->standard_output));
        printed[1] = std::max(printed[1], end_of(finished->standard_error));
      }
      return true;
    });
    if (!report) return fail(report.error());
    if (is_in_use(last)) continue;
    // Output that was removed or cut: what comes next would be taken for what earlier tasks printed.
    if (file_size(batch.output_path(slot.writer, OutputStream::standard_output)) < printed[0] ||
        file_size(batch.output_path(slot.writer, OutputStream::standard_error)) < printed[1]) {
      continue;
    }
    slot.sent = slot.session_start = report->valid_end;
    slot.record_file = open_private(path, O_RDWR);
    if (!slot.record_file) return fail(errno_error(errno, path));
    // A power loss must not take the file's name when its records are said to be on disk.
    if (report->valid_end == 0) return sync_directory(batch.path() + "/records");
    return {};
  }
  return fail(ErrorCode::gave_up, "every record file of " + host_name() + " in " + batch.path() + " is in use");
}

void remove_unused_scratch(const std::string& batch_id, const std::string& runtime_directory) {
  constexpr std::string_view kSuffix = ".lock";
  std::vector<std::string> scratches;
  if (DIR* directory = ::opendir(runtime_directory.c_str()); directory != nullptr) {
    while (const dirent* item = ::readdir(directory)) {
      const std::string_view name = item->d_name;
      if (!name.starts_with(batch_id + "-") || !name.ends_with(kSuffix)) continue;
      scratches.push_back(runtime_directory + "/" + std::string(name.substr(0, name.size() - kSuffix.size())));
    }
    ::closedir(directory);
  }
  for (const std::string& scratch : scratches) {
    NodeSlot slot;
    slot.scratch = scratch;
    slot.lock_path = scratch + std::string(kSuffix);
    if (lock_file(slot.lock_path, slot.lock)) release_slot_files(slot);
  }
}

void release_slot_files(NodeSlot& slot) {
  if (!slot.lock) return;
  remove_control_group(slot.control_group);
  ::unlink(slot.lock_path.c_str());
  remove_anything(slot.scratch + ".error");
  remove_anything(slot.scratch + ".progress");
  slot.lock.reset();
}

Result<void> start_guard(NodeSlot& slot, GuardOptions options, const std::string& program, Spawner& spawner,
                         Fd& exit_descriptor) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail(errno_error(errno, "a pipe for the guard"));
  Fd guard_end(ends[0]);
  slot.lifeline.reset(ends[1]);
  slot.poke.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!slot.poke) return fail(errno_error(errno, "an event descriptor for the guard"));
  Fd null_input(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!null_input) return fail(errno_error(errno, "/dev/null"));

  const ProcessIdentity own = own_identity();
  options.worker_pid = own.pid;
  options.worker_start_ticks = own.start_ticks;
  options.slot = slot.index;
  options.writer = slot.writer;
  options.scratch = slot.scratch;
  options.cgroup = slot.control_group;
  options.poke_fd = slot.poke.get();
  options.lifeline_fd = guard_end.get();
  options.lock_fd = slot.lock.get();
  std::vector<std::string> arguments = options.to_arguments();
  arguments.insert(arguments.begin(), program);
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const int inherited[] = {options.shared_fd, options.poke_fd, options.wake_fd, options.lifeline_fd, options.lock_fd};

  SpawnRequest request;
  request.path = program.c_str();
  request.argv = argv.data();
  request.envp = ::environ;
  request.stdin_fd = null_input.get();
  request.stdout_fd = STDERR_FILENO;  // complaints only
  request.stderr_fd = STDERR_FILENO;
  request.die_with_parent = false;  // it has a tree to end first
  request.inherited = inherited;
  request.inherited_count = std::size(inherited);
  SpawnResult result = spawner.spawn(request);
  if (!result.good()) {
    return fail(errno_error(result.error, std::string("the guard: ") + to_string(result.failed) + " " + program));
  }
  slot.guard_pid = result.pid;
  slot.guard_start_ticks = process_start_ticks(result.pid).value_or(0);
  exit_descriptor = std::move(result.pidfd);
  return {};
}

}  // namespace allot
