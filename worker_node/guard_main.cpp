// SPDX-License-Identifier: MIT
#include <cstdio>

#include "process/fd.h"
#include "worker_node/guard.h"

int main(int argc, char** argv) {
  auto options = allot::GuardOptions::from_arguments(argc, argv);
  if (!options) {
    std::fputs("allot-guard is started by allot-worker-node only; to run tasks, use `allot run`\n", stderr);
    return 2;
  }
  // Some came through exec on purpose, others by somebody's neglect; the tasks must get none of them.
  allot::close_on_exec_from(3);
  return allot::Guard(*options).run();
}
