// SPDX-License-Identifier: MIT
#include "process/control_group.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process/fd.h"
#include "process/spawn.h"
#include "process/wait_status.h"
#include "tests/support/catch.h"

using namespace allot;
using std::chrono::milliseconds;

namespace {

std::string unique_name(const char* of) {
  return std::string("allot-test-") + of + "-" + std::to_string(::getpid());
}

bool is_there(const std::string& path) {
  struct stat info;
  return ::stat(path.c_str(), &info) == 0;
}

}  // namespace

TEST_CASE("a control group ends as a whole, with what has left session, parent and environment behind") {
  const std::string group = make_control_group(unique_name("whole"));
  if (group.empty()) {
    WARN("no control group can be made here: no cgroup v2, or not writable");
    return;
  }
  int out[2];
  REQUIRE(::pipe2(out, O_CLOEXEC) == 0);
  Fd read_end(out[0]), write_end(out[1]);
  const std::string line = "echo 0 >" + group +
                           "/cgroup.procs && (env -i setsid sleep 1000 </dev/null &) && echo ready && exec sleep 1000";
  const char* argv[] = {"sh", "-c", line.c_str(), nullptr};
  const char* envp[] = {"PATH=/usr/bin:/bin", nullptr};
  SpawnRequest request;
  request.path = "/bin/sh";
  request.argv = const_cast<char* const*>(argv);
  request.envp = const_cast<char* const*>(envp);
  request.stdout_fd = write_end.get();
  Spawner spawner;
  const SpawnResult child = spawner.spawn(request);
  REQUIRE(child.good());
  write_end.reset();
  char word[6];
  REQUIRE(::read(read_end.get(), word, sizeof word) == 6);

  CHECK(empty_control_group(group, milliseconds(20'000)));
  int status = 0;
  REQUIRE(::waitpid(child.pid, &status, 0) == child.pid);
  CHECK(decode_wait_status(status).signal == SIGKILL);

  // Nothing that was in it lives: it can be removed, and then it counts as empty.
  remove_control_group(group);
  CHECK_FALSE(is_there(group));
  CHECK(empty_control_group(group, milliseconds(0)));
}

TEST_CASE("groups below a control group are removed with it") {
  const std::string group = make_control_group(unique_name("below"));
  if (group.empty()) return;
  REQUIRE(::mkdir((group + "/of-a-task").c_str(), 0755) == 0);
  CHECK(empty_control_group(group, milliseconds(0)));
  remove_control_group(group);
  CHECK_FALSE(is_there(group));
}

TEST_CASE("where no control group can be made there is none") {
  CHECK(make_control_group("no/such/parent").empty());
  CHECK_FALSE(join_control_group("/nowhere"));
  CHECK(empty_control_group("/nowhere", milliseconds(0)));
  remove_control_group("");
}
