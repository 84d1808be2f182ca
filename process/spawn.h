// SPDX-License-Identifier: MIT
// Starts a program as fast as the kernel can (clone with VM and VFORK) and says exactly what went wrong if it cannot.
#pragma once

#include <sched.h>
#include <sys/types.h>

#include <string>

#include "process/fd.h"
#include "protocol/result.h"

namespace allot {

/// What the child is to be. Pointers are the caller's and need to live until spawn() returns.
struct SpawnRequest {
  const char* path = nullptr;   ///< program, absolute or relative to `cwd`; no search in PATH
  char* const* argv = nullptr;  ///< ends with a null pointer
  char* const* envp = nullptr;  ///< ends with a null pointer
  const char* cwd = nullptr;    ///< null: inherited
  int stdin_fd = 0;
  int stdout_fd = 1;
  int stderr_fd = 2;
  const cpu_set_t* affinity = nullptr;  ///< null: inherited
  bool new_session = false;             ///< setsid(2); otherwise a process group of its own
  bool die_with_parent = true;          ///< PR_SET_PDEATHSIG(SIGKILL)
  const int* inherited = nullptr;       ///< further descriptors that stay open in the child, under their numbers
  std::size_t inherited_count = 0;
};

/// Where starting failed.
enum class SpawnStage { none, clone, parent_gone, session, descriptors, affinity, chdir, exec };
const char* to_string(SpawnStage stage);

struct SpawnResult {
  pid_t pid = -1;
  Fd pidfd;
  SpawnStage failed = SpawnStage::none;
  int error = 0;  ///< errno of the stage that failed
  bool good() const { return failed == SpawnStage::none; }
};

/// Spawns with an empty signal mask; dispositions are inherited (a caller that changed them resets them first). Every
/// descriptor above 2 must be close-on-exec. A child that failed before exec has been reaped when this returns.
/// Thread rule: one thread at a time per Spawner.
class Spawner {
 public:
  Spawner();
  ~Spawner();
  Spawner(const Spawner&) = delete;
  Spawner& operator=(const Spawner&) = delete;
  SpawnResult spawn(const SpawnRequest& request);

 private:
  struct Shared;
  Shared* shared_ = nullptr;  // shared mapping: valid also where a tool turns vfork into fork
  char* stack_ = nullptr;
};

}  // namespace allot
