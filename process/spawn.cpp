// SPDX-License-Identifier: MIT
#include "process/spawn.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <new>

namespace allot {
namespace {
constexpr std::size_t kStackBytes = 64 * 1024;
#if defined(__SANITIZE_THREAD__)
// A child in the same memory would leave the sanitizer's state of this thread in the middle of a call when it execs:
// from then on it sees none of the thread's locks.
constexpr int kShareMemory = 0;
#else
constexpr int kShareMemory = CLONE_VM;
#endif
}  // namespace

struct Spawner::Shared {
  SpawnRequest request;
  pid_t parent = 0;
  volatile SpawnStage stage = SpawnStage::none;
  volatile int error = 0;
};

namespace {

#if defined(__SANITIZE_ADDRESS__)
#define ALLOT_NO_SANITIZE __attribute__((no_sanitize("address", "undefined")))
#elif defined(__SANITIZE_THREAD__)
#define ALLOT_NO_SANITIZE __attribute__((no_sanitize("thread")))
#else
#define ALLOT_NO_SANITIZE
#endif

// Moves `fd` to `target` without close-on-exec. dup2 onto itself would keep the flag.
ALLOT_NO_SANITIZE bool place(int fd, int target) {
  if (fd == target) {
    const int flags = ::fcntl(fd, F_GETFD);
    return flags >= 0 && ::fcntl(fd, F_SETFD, flags & ~FD_CLOEXEC) == 0;
  }
  return ::dup2(fd, target) >= 0;
}

}  // namespace

// Runs in the child on a stack of its own while the parent is suspended; shares the parent's memory, so it makes system
// calls and writes to `Shared` only.
struct SpawnChild {
  template <class SharedState>
  ALLOT_NO_SANITIZE static int run(void* argument) {
    auto* shared = static_cast<SharedState*>(argument);
    const SpawnRequest& request = shared->request;
    const auto stop = [shared](SpawnStage stage) ALLOT_NO_SANITIZE {
      shared->error = errno;
      shared->stage = stage;
      ::syscall(SYS_exit_group, 127);
    };
    if (request.die_with_parent) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
      // The parent may have been killed before prctl: then no signal will come.
      if (static_cast<pid_t>(::syscall(SYS_getppid)) != shared->parent) {
        errno = ESRCH;
        stop(SpawnStage::parent_gone);
      }
    }
    if (request.new_session) {
      if (::syscall(SYS_setsid) < 0) stop(SpawnStage::session);
    } else if (::syscall(SYS_setpgid, 0, 0) < 0) {
      stop(SpawnStage::session);
    }
    if (!place(request.stdin_fd, 0) || !place(request.stdout_fd, 1) || !place(request.stderr_fd, 2)) {
      stop(SpawnStage::descriptors);
    }
    // Only this process's copy of the flag: another thread of the parent that forks now leaks nothing.
    for (std::size_t i = 0; i < request.inherited_count; ++i) ::fcntl(request.inherited[i], F_SETFD, 0);
    if (request.affinity != nullptr && ::sched_setaffinity(0, sizeof(cpu_set_t), request.affinity) != 0) {
      stop(SpawnStage::affinity);
    }
    if (request.cwd != nullptr && ::chdir(request.cwd) != 0) stop(SpawnStage::chdir);
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::execve(request.path, request.argv, request.envp);
    stop(SpawnStage::exec);
    return 127;
  }
};

const char* to_string(SpawnStage stage) {
  switch (stage) {
    case SpawnStage::none:
      return "started";
    case SpawnStage::clone:
      return "cannot create a process";
    case SpawnStage::parent_gone:
      return "the guard is gone";
    case SpawnStage::session:
      return "cannot make a process group";
    case SpawnStage::descriptors:
      return "cannot connect its standard streams";
    case SpawnStage::affinity:
      return "cannot bind it to its cores";
    case SpawnStage::chdir:
      return "cannot enter the working directory";
    case SpawnStage::exec:
      return "cannot execute";
  }
  return "unknown stage";
}

Spawner::Spawner() {
  void* memory = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  void* stack = ::mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (memory == MAP_FAILED || stack == MAP_FAILED) {
    if (memory != MAP_FAILED) ::munmap(memory, sizeof(Shared));
    if (stack != MAP_FAILED) ::munmap(stack, kStackBytes);
    return;  // spawn() then reports ENOMEM
  }
  shared_ = new (memory) Shared;
  stack_ = static_cast<char*>(stack);
}

Spawner::~Spawner() {
  if (shared_ == nullptr) return;
  ::munmap(shared_, sizeof(Shared));
  ::munmap(stack_, kStackBytes);
}

SpawnResult Spawner::spawn(const SpawnRequest& request) {
  SpawnResult result;
  if (shared_ == nullptr) {
    result.failed = SpawnStage::clone;
    result.error = ENOMEM;
    return result;
  }
  shared_->request = request;
  shared_->parent = ::getpid();
  shared_->stage = SpawnStage::none;
  shared_->error = 0;
  // Signals stay blocked until the child has its own mask: a handler of the parent must not run on shared memory.
  sigset_t all, before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  int pidfd = -1;
  const pid_t pid = ::clone(&SpawnChild::run<Shared>, stack_ + kStackBytes,
                            kShareMemory | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, shared_, &pidfd);
  const int clone_error = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) {
    result.failed = SpawnStage::clone;
    result.error = clone_error;
    return result;
  }
  result.pidfd.reset(pidfd);
  if (shared_->stage != SpawnStage::none) {
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    result.failed = shared_->stage;
    result.error = shared_->error;
    result.pidfd.reset();
    return result;
  }
  result.pid = pid;
  return result;
}

}  // namespace allot
