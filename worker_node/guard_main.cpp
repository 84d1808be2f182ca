// SPDX-License-Identifier: MIT
#include <fcntl.h>

#include <cstdio>

#include "worker_node/guard.h"

int main(int argc, char** argv) {
  auto options = allot::GuardOptions::from_arguments(argc, argv);
  if (!options) {
    std::fputs("allot-guard is started by allot-worker-node only; to run tasks, use `allot run`\n", stderr);
    return 2;
  }
  // They came through exec on purpose; the tasks must not get them.
  for (int fd : {options->shared_fd, options->poke_fd, options->wake_fd, options->lifeline_fd, options->lock_fd}) {
    if (fd >= 0) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  }
  return allot::Guard(*options).run();
}
