// SPDX-License-Identifier: MIT
// allot-element: runs the steps of one element of a scheduler's array on this node. Started by a job script.
#include <fcntl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdio>

#include "process/fd.h"
#include "worker_node/element.h"
#include "worker_node/guard_state.h"

int main(int argc, char** argv) {
  allot::Element::block_signals();
  const std::int64_t begun = allot::monotonic_ns();
  auto options = allot::ElementOptions::from_arguments(argc, argv);
  if (!options) {
    std::fprintf(stderr, "allot-element: %s\n", options.error().message.c_str());
    return 2;
  }
  // What the scheduler's daemon, or a shell, left open is no concern of the tasks.
  allot::close_all_but(-1);
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null >= 0) ::dup2(null, STDIN_FILENO);
  if (null > STDERR_FILENO) ::close(null);
  // Orphans of a guard that was killed come here, where they are ended.
  ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  return allot::Element(std::move(*options), begun).run();
}
