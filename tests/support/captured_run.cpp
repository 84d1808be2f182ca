// SPDX-License-Identifier: MIT
#include "tests/support/captured_run.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "process/fd.h"

namespace allot::test {
namespace {

// O_APPEND as the guard's files have it: two processes that write one file must not overwrite each other.
Fd memory_file(const char* name) {
  Fd fd(::memfd_create(name, MFD_CLOEXEC));
  if (!fd) throw std::runtime_error(std::string("memfd_create: ") + std::strerror(errno));
  ::fcntl(fd.get(), F_SETFL, O_APPEND);
  return fd;
}

std::string content(const Fd& fd) {
  std::string bytes(static_cast<std::size_t>(::lseek(fd.get(), 0, SEEK_END)), '\0');
  if (pread_all(fd.get(), bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    throw std::runtime_error(std::string("reading what was captured: ") + std::strerror(errno));
  }
  return bytes;
}

void forbid_core_dumps() {
  rlimit limit{};
  ::getrlimit(RLIMIT_CORE, &limit);
  limit.rlim_cur = 0;
  ::setrlimit(RLIMIT_CORE, &limit);
}

}  // namespace

int CapturedRun::shell_status() const {
  return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
}

CapturedRun run_captured(const std::string& path, const std::vector<std::string>& argv, std::vector<char*> environment,
                         const std::string& cwd) {
  static Spawner spawner;
  static const Fd nothing(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  forbid_core_dumps();
  const Fd output = memory_file("stdout");
  const Fd error_output = memory_file("stderr");
  std::vector<char*> arguments;
  for (const std::string& word : argv) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  environment.push_back(nullptr);

  SpawnRequest request;
  request.path = path.c_str();
  request.argv = arguments.data();
  request.envp = environment.data();
  request.cwd = cwd.c_str();
  request.stdin_fd = nothing.get();
  request.stdout_fd = output.get();
  request.stderr_fd = error_output.get();
  const SpawnResult child = spawner.spawn(request);
  CapturedRun run;
  run.failed = child.failed;
  run.error = child.error;
  if (!run.started()) return run;
  while (::waitpid(child.pid, &run.wait_status, 0) < 0 && errno == EINTR) {
  }
  run.output = content(output);
  run.error_output = content(error_output);
  return run;
}

CapturedRun run_captured(const std::string& path, const std::vector<std::string>& argv,
                         const std::vector<std::string>& environment, const std::string& cwd) {
  std::vector<char*> pointers;
  for (const std::string& entry : environment) pointers.push_back(const_cast<char*>(entry.c_str()));
  return run_captured(path, argv, std::move(pointers), cwd);
}

}  // namespace allot::test
