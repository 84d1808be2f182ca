// SPDX-License-Identifier: MIT
// The limit: nothing but vfork, exec and wait4, P children at a time. Records nothing, captures nothing, kills nothing.
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <vector>

namespace {

struct Options {
  int slots = 2;
  long tasks = 1000;
  bool pinned = false;
  bool diamonds = false;
  std::string shell_line;
  std::vector<std::string> command;
};

// Shared by the spawners: a spawner that is held up takes fewer tasks, as it would in a pool.
struct Work {
  std::atomic<long> next{0};
  std::atomic<long> failed{0};
};

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "bare_loop: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(2);
}

std::string find_program(const std::string& name) {
  if (name.find('/') != std::string::npos) return name;
  const char* path = std::getenv("PATH");
  std::string rest = path != nullptr ? path : "/usr/bin:/bin";
  while (!rest.empty()) {
    const std::size_t colon = std::min(rest.find(':'), rest.size());
    std::string candidate = rest.substr(0, colon) + "/" + name;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
    rest.erase(0, colon + 1);
  }
  errno = ENOENT;
  fail(name);
}

// vfork lends the parent's stack to the child: nothing but the exec may happen in between.
[[gnu::noinline]] pid_t start(const char* path, char* const* argv) {
  const pid_t pid = ::vfork();  // NOLINT(clang-analyzer-security.insecureAPI.vfork)
  if (pid == 0) {
    ::execve(path, argv, environ);
    ::_exit(127);
  }
  if (pid < 0) fail("vfork");
  return pid;
}

void spawn_and_wait(const char* path, char* const* argv, int slots, long tasks, Work& work) {
  int running = 0;
  long failed = 0;
  bool more = true;
  while (true) {
    while (more && running < slots) {
      if (work.next.fetch_add(1) >= tasks) {
        more = false;
        break;
      }
      start(path, argv);
      ++running;
    }
    if (running == 0) break;
    int status = 0;
    rusage usage{};
    if (::wait4(-1, &status, 0, &usage) < 0) fail("wait4");
    --running;
    if (status != 0) ++failed;
  }
  work.failed += failed;
}

// One, two, one, two, … each after the ones before: what such a graph costs because less of it can run at once.
void spawn_diamonds(const char* path, char* const* argv, long tasks, Work& work) {
  for (long begun = 0, level = 0; begun < tasks; ++level) {
    const long beside = std::min(tasks - begun, 1 + level % 2);
    for (long i = 0; i < beside; ++i) start(path, argv);
    for (long i = 0; i < beside; ++i) {
      int status = 0;
      rusage usage{};
      if (::wait4(-1, &status, 0, &usage) < 0) fail("wait4");
      if (status != 0) ++work.failed;
    }
    begun += beside;
  }
}

std::vector<int> allowed_cpus() {
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) != 0) fail("sched_getaffinity");
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

void pin_to(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (::sched_setaffinity(0, sizeof set, &set) != 0) fail("sched_setaffinity");
}

// One spawner process per core, as many as there are slots for; the slots are dealt out to them.
void run_pinned(const Options& options, const char* path, char* const* argv, Work& work) {
  const std::vector<int> cpus = allowed_cpus();
  const int spawners = std::min(options.slots, static_cast<int>(cpus.size()));
  for (int i = 0; i < spawners; ++i) {
    const pid_t pid = ::fork();
    if (pid < 0) fail("fork");
    if (pid == 0) {
      pin_to(cpus[static_cast<std::size_t>(i)]);
      spawn_and_wait(path, argv, options.slots / spawners + (i < options.slots % spawners ? 1 : 0), options.tasks,
                     work);
      ::_exit(0);
    }
  }
  for (int i = 0; i < spawners; ++i) {
    int status = 0;
    if (::wait(&status) < 0) fail("wait");
    if (status != 0) ++work.failed;
  }
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Runs one command N times with P at once by vfork, exec and wait4, and prints how fast that went.");
  app.add_option("-j,--slots", options.slots, "commands at once")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("-n,--tasks", options.tasks, "how many in all")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_flag("--pinned", options.pinned, "one spawner pinned to each core instead of a single one");
  app.add_flag("--diamonds", options.diamonds, "one, two, one, two, … each after the ones before; without --slots")
      ->excludes("--slots")
      ->excludes("--pinned");
  CLI::Option* shell = app.add_option("--sh", options.shell_line, "run this line with sh -c instead of a command");
  app.add_option("command", options.command, "the command and its arguments")->excludes(shell);
  app.prefix_command();
  CLI11_PARSE(app, argc, argv);
  if (options.command.empty()) options.command = app.remaining();
  if (!options.shell_line.empty()) options.command = {"sh", "-c", options.shell_line};
  if (options.command.empty()) {
    std::fprintf(stderr, "bare_loop: no command; try --help\n");
    return 2;
  }
  const std::string path = options.shell_line.empty() ? find_program(options.command[0]) : "/bin/sh";
  std::vector<char*> arguments;
  for (std::string& word : options.command) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  void* memory = ::mmap(nullptr, sizeof(Work), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) fail("mmap");
  Work& work = *new (memory) Work;

  const auto begin = std::chrono::steady_clock::now();
  if (options.diamonds) {
    spawn_diamonds(path.c_str(), arguments.data(), options.tasks, work);
  } else if (options.pinned) {
    run_pinned(options, path.c_str(), arguments.data(), work);
  } else {
    spawn_and_wait(path.c_str(), arguments.data(), options.slots, options.tasks, work);
  }
  const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - begin;
  const long failed = work.failed;
  std::printf("%ld tasks, %ld failed, %.3f s, %.1f tasks/s\n", options.tasks, failed, wall.count(),
              static_cast<double>(options.tasks) / wall.count());
  return failed == 0 ? 0 : 1;
}
