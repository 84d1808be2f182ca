// SPDX-License-Identifier: MIT
#include "process/machine.h"

#include <sched.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "tests/support/catch.h"
#include "tests/support/temp_directory.h"

using namespace allot;

namespace {

// Runs `check` in a child, so that what it changes about the process stays there. True if it returned true.
template <class F>
bool in_child(F&& check) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(check() ? 0 : 1);
  int status = 1;
  ::waitpid(pid, &status, 0);
  return status == 0;
}

}  // namespace

TEST_CASE("only the cores in the affinity mask count") {
  const auto cores = usable_cores();
  REQUIRE_FALSE(cores.empty());
  CHECK(in_child([&] {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<std::size_t>(cores.back()), &one);
    return ::sched_setaffinity(0, sizeof one, &one) == 0 && usable_cores() == std::vector<int>{cores.back()};
  }));
}

TEST_CASE("memory is at most what is built in") {
  const auto physical =
      static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  CHECK(usable_memory_bytes() > 0);
  CHECK(usable_memory_bytes() <= physical);
}

TEST_CASE("the runtime directory is this user's alone") {
  test::TempDirectory directory;
  CHECK(in_child([&] {
    ::setenv("XDG_RUNTIME_DIR", directory.path().c_str(), 1);
    struct stat info;
    return runtime_directory() == directory / "allot" && ::stat((directory / "allot").c_str(), &info) == 0 &&
           (info.st_mode & 0777) == 0700;
  }));
  // Somebody else could write there: not used.
  REQUIRE(::chmod((directory / "allot").c_str(), 0777) == 0);
  CHECK(in_child([&] {
    ::setenv("XDG_RUNTIME_DIR", directory.path().c_str(), 1);
    return runtime_directory() == "/tmp/allot-" + std::to_string(::geteuid());
  }));
}
