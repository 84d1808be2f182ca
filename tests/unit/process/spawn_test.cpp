// SPDX-License-Identifier: MIT
#include "process/spawn.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "process/wait_status.h"
#include "tests/support/catch.h"
#include "tests/support/temp_directory.h"

using namespace allot;

namespace {

struct Command {
  std::vector<std::string> words;
  std::vector<char*> argv;
  SpawnRequest request;
  explicit Command(std::vector<std::string> given) : words(std::move(given)) {
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    request.path = words[0].c_str();
    request.argv = argv.data();
    request.envp = ::environ;
  }
};

ExitInfo finish(SpawnResult& result) {
  pollfd wait = {result.pidfd.get(), POLLIN, 0};
  REQUIRE(::poll(&wait, 1, 30'000) == 1);
  int status = 0;
  REQUIRE(::waitpid(result.pid, &status, 0) == result.pid);
  return decode_wait_status(status);
}

std::string output_of(std::vector<std::string> words) {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  Fd read_end(ends[0]), write_end(ends[1]);
  Command command(std::move(words));
  command.request.stdout_fd = write_end.get();
  Spawner spawner;
  SpawnResult result = spawner.spawn(command.request);
  REQUIRE(result.good());
  write_end.reset();
  std::string text;
  char block[4096];
  for (ssize_t n; (n = ::read(read_end.get(), block, sizeof block)) > 0;)
    text.append(block, static_cast<std::size_t>(n));
  CHECK(finish(result).is_done());
  return text;
}

}  // namespace

TEST_CASE("a program is started and its end is told by its descriptor") {
  Spawner spawner;
  Command command({"/bin/sh", "-c", "exit 7"});
  SpawnResult result = spawner.spawn(command.request);
  REQUIRE(result.good());
  const ExitInfo info = finish(result);
  CHECK(info.exit_class == ExitClass::error);
  CHECK(info.exit_code == 7);
}

TEST_CASE("what failed is told by stage and errno, and nothing is left to reap") {
  Spawner spawner;
  test::TempDirectory directory;
  struct Case {
    std::string program;
    const char* cwd;
    SpawnStage stage;
    int error;
  };
  const std::string plain = directory / "plain";
  test::put_file(plain, "no program");
  ::chmod(plain.c_str(), 0755);
  const std::string locked = directory / "locked";
  test::put_file(locked, "x");
  ::chmod(locked.c_str(), 0644);
  for (const Case& c :
       {Case{"/no/such/program", nullptr, SpawnStage::exec, ENOENT}, Case{plain, nullptr, SpawnStage::exec, ENOEXEC},
        Case{locked, nullptr, SpawnStage::exec, EACCES},
        Case{"/bin/true", "/no/such/directory", SpawnStage::chdir, ENOENT}}) {
    Command command({c.program});
    command.request.cwd = c.cwd;
    SpawnResult result = spawner.spawn(command.request);
    CHECK(result.failed == c.stage);
    CHECK(result.error == c.error);
    CHECK(::waitpid(-1, nullptr, WNOHANG) == -1);
  }
}

TEST_CASE("the child starts clean: no blocked signals, a group of its own, three descriptors") {
  // Above 100, where nothing that `ls` opens itself lies.
  Fd opened(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  Fd leak(::fcntl(opened.get(), F_DUPFD_CLOEXEC, 100));
  REQUIRE(leak);
  const std::string open_ones = "\n" + output_of({"/bin/ls", "/proc/self/fd"});
  for (const char* fd : {"\n0\n", "\n1\n", "\n2\n"}) CHECK(open_ones.find(fd) != std::string::npos);
  CHECK(open_ones.find("\n" + std::to_string(leak.get()) + "\n") == std::string::npos);
  sigset_t all, before;
  sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, &before);
  const std::string status = output_of({"/bin/grep", "SigBlk", "/proc/self/status"});
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  CHECK(status == "SigBlk:\t0000000000000000\n");
  CHECK(output_of({"/bin/sh", "-c", "test $(cut -d' ' -f5 /proc/$$/stat) = $$ && echo own"}) == "own\n");
}

TEST_CASE("chosen descriptors stay open under their numbers") {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  Fd read_end(ends[0]), write_end(ends[1]);
  Command command({"/bin/sh", "-c", "echo here >&" + std::to_string(write_end.get())});
  const int inherited[] = {write_end.get()};
  command.request.inherited = inherited;
  command.request.inherited_count = 1;
  Spawner spawner;
  SpawnResult result = spawner.spawn(command.request);
  REQUIRE(result.good());
  CHECK(finish(result).is_done());
  CHECK((::fcntl(write_end.get(), F_GETFD) & FD_CLOEXEC) != 0);  // ours still closes
  char text[16] = {};
  CHECK(::read(read_end.get(), text, sizeof text) == 5);
  CHECK(std::string(text) == "here\n");
}

TEST_CASE("a child dies with its parent") {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  Fd read_end(ends[0]), write_end(ends[1]);
  const pid_t parent = ::fork();
  if (parent == 0) {
    Command command({"/bin/sh", "-c", "echo ready; exec sleep 1000"});
    command.request.stdout_fd = write_end.get();
    Spawner spawner;
    SpawnResult result = spawner.spawn(command.request);
    ::pause();
    ::_exit(result.good() ? 0 : 1);
  }
  write_end.reset();
  char text[16];
  REQUIRE(::read(read_end.get(), text, sizeof text) == 6);
  ::kill(parent, SIGKILL);
  ::waitpid(parent, nullptr, 0);
  // End of file comes when the last holder of the pipe, the sleeping child, is gone.
  pollfd wait = {read_end.get(), POLLIN, 0};
  REQUIRE(::poll(&wait, 1, 30'000) == 1);
  CHECK(::read(read_end.get(), text, sizeof text) == 0);
}
