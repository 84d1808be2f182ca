// SPDX-License-Identifier: MIT
#include "process/identity.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "process/fd.h"
#include "process/spawn.h"
#include "tests/support/catch.h"

using namespace allot;

namespace {

// A process that lives until its standard input ends.
struct Sleeper {
  Fd keep;
  SpawnResult child;
  explicit Sleeper(const char* mark) {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    Fd read_end(ends[0]);
    keep.reset(ends[1]);
    const char* argv[] = {"sh", "-c", "cat", nullptr};
    const char* envp[] = {"PATH=/usr/bin:/bin", mark, nullptr};
    SpawnRequest request;
    request.path = "/bin/sh";
    request.argv = const_cast<char* const*>(argv);
    request.envp = const_cast<char* const*>(envp);
    request.stdin_fd = read_end.get();
    Spawner spawner;
    child = spawner.spawn(request);
    REQUIRE(child.good());
    // For a moment after vfork(2) it still has the memory of its parent, and with it the environment; then the name is
    // new.
    const std::string name = "/proc/" + std::to_string(child.pid) + "/comm";
    while (read_file(name).value_or("") == read_file("/proc/self/comm").value_or("")) ::sched_yield();
  }
  ~Sleeper() {
    keep.reset();
    int status;
    ::waitpid(child.pid, &status, 0);
  }
};

}  // namespace

TEST_CASE("a process is known by pid and start time") {
  const ProcessIdentity own = own_identity();
  CHECK(own.pid == ::getpid());
  CHECK(own.start_ticks > 0);
  CHECK(is_alive(own));
  CHECK_FALSE(is_alive({own.pid, own.start_ticks + 1}));
  CHECK_FALSE(is_alive({0, 0}));
  CHECK(boot_id().size() == 36);
  CHECK_FALSE(host_name().empty());
}

TEST_CASE("a zombie has ended") {
  ProcessIdentity identity;
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(0);
  siginfo_t info;
  REQUIRE(::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT) == 0);
  CHECK_FALSE(process_start_ticks(pid).has_value());
  ::waitpid(pid, nullptr, 0);
}

TEST_CASE("descendants are found, whoever their parents are, and marks in the environment") {
  const std::string mark = "ALLOT_IDENTITY_TEST=" + std::to_string(::getpid());
  Sleeper sleeper(mark.c_str());
  const auto below = descendants_of(::getpid());
  CHECK(std::count(below.begin(), below.end(), sleeper.child.pid) == 1);
  CHECK(std::count(below.begin(), below.end(), ::getpid()) == 0);
  const auto marked = processes_with_environment(mark);
  CHECK(std::count(marked.begin(), marked.end(), sleeper.child.pid) == 1);
  // The whole entry counts, not a beginning of it.
  CHECK(processes_with_environment(mark.substr(0, mark.size() - 1)).empty());
  CHECK(descendants_of(sleeper.child.pid).size() <= 1);  // cat, unless the shell has become it
  const auto above = ancestors_of(sleeper.child.pid);
  REQUIRE_FALSE(above.empty());
  CHECK(above.front() == ::getpid());
  CHECK(std::count(above.begin(), above.end(), ::getppid()) == 1);
}

TEST_CASE("one look at the environments finds any of many values") {
  Sleeper first("ALLOT_IDENTITY_TEST=one"), second("ALLOT_IDENTITY_TEST=two"), third("ALLOT_IDENTITY_TEST=three");
  const auto scan = scan_environments("ALLOT_IDENTITY_TEST",
                                      [](std::string_view value) { return value == "one" || value == "three"; });
  const auto is_found = [&scan](pid_t pid) { return std::count(scan.found.begin(), scan.found.end(), pid) == 1; };
  CHECK(is_found(first.child.pid));
  CHECK_FALSE(is_found(second.child.pid));
  CHECK(is_found(third.child.pid));
}

// While the kernel still makes the new program's memory there is no environment in it.
TEST_CASE("a process that has just begun is found by its environment") {
  for (int round = 0; round < 300; ++round) {
    Sleeper sleeper("ALLOT_IDENTITY_TEST=new");
    const auto scan = scan_environments("ALLOT_IDENTITY_TEST", [](std::string_view value) { return value == "new"; });
    REQUIRE(std::count(scan.found.begin(), scan.found.end(), sleeper.child.pid) == 1);
  }
}

TEST_CASE("an environment that this user may not read is not taken for one without the variable") {
  if (::geteuid() != 0) return;  // only root can become another user
  Sleeper sleeper("ALLOT_IDENTITY_TEST=of root");
  const pid_t other = ::fork();
  if (other == 0) {
    if (::setgid(65534) != 0 || ::setuid(65534) != 0) ::_exit(2);
    const auto scan = scan_environments("ALLOT_IDENTITY_TEST", [](std::string_view) { return true; });
    const bool is_told = std::count(scan.unreadable.begin(), scan.unreadable.end(), sleeper.child.pid) == 1;
    ::_exit(is_told && scan.found.empty() ? 0 : 1);
  }
  int status = -1;
  REQUIRE(::waitpid(other, &status, 0) == other);
  CHECK(status == 0);
}
