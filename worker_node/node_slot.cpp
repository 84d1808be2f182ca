// SPDX-License-Identifier: MIT
#include "worker_node/node_slot.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "process/identity.h"

namespace allot {

Result<void> claim_slot_files(NodeSlot& slot, const BatchDirectory& batch, const std::string& runtime_directory) {
  auto claimed = claim_slot_files(slot, {batch.path(), batch.info().batch_id, runtime_directory, {}});
  slot.sent = slot.session_start;
  return claimed;
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
  std::vector<int> inherited = {options.shared_fd, options.poke_fd, options.wake_fd, options.lifeline_fd,
                                options.lock_fd};
  if (slot.claim) inherited.push_back(slot.claim.get());

  SpawnRequest request;
  request.path = program.c_str();
  request.argv = argv.data();
  request.envp = ::environ;
  request.stdin_fd = null_input.get();
  request.stdout_fd = STDERR_FILENO;  // complaints only
  request.stderr_fd = STDERR_FILENO;
  request.die_with_parent = false;  // it has a tree to end first
  request.inherited = inherited.data();
  request.inherited_count = inherited.size();
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
