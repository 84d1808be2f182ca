// SPDX-License-Identifier: MIT
#include "worker_node/output_capture.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "tests/support/catch.h"
#include "tests/support/temp_directory.h"

using namespace allot;

namespace {
void print(OutputCapture& capture, const std::string& text) {
  REQUIRE(::write(capture.write_end(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
}
std::string all_of(const std::string& path) {
  auto bytes = read_file(path);
  return bytes ? *bytes : "(no file)";
}
}  // namespace

TEST_CASE("tasks share the pipe and the file, and each has its own extent") {
  test::TempDirectory directory;
  OutputCapture capture(directory / "slot.out");
  REQUIRE(capture.prepare() == 0);
  capture.begin();
  CHECK(capture.drain() == 0);
  CHECK(capture.extent() == OutputExtent{});
  CHECK(all_of(directory / "slot.out") == "(no file)");  // a task that prints nothing makes none

  capture.begin();
  print(capture, "first\n");
  capture.drain();
  CHECK(capture.extent() == OutputExtent{0, 6, 0, false});
  REQUIRE(capture.prepare() == 0);
  capture.begin();
  print(capture, std::string("se\0cond", 7));
  capture.drain();
  CHECK(capture.extent() == OutputExtent{6, 7, 0, false});
  CHECK(capture.tail(4) == "cond");
  CHECK(all_of(directory / "slot.out") == std::string("first\nse\0cond", 13));
}

TEST_CASE("a task that never stops printing does not keep its guard") {
  OutputCapture capture("/dev/null");
  REQUIRE(capture.prepare() == 0);
  capture.begin();
  std::atomic<bool> enough{false};
  std::thread task([&] {
    const std::string block(65536, 'y');
    while (!enough && ::write(capture.write_end(), block.data(), block.size()) > 0) {
    }
  });
  for (int i = 0; i < 20; ++i) capture.drain();  // each comes back
  enough = true;
  pollfd readable = {capture.read_end(), POLLIN, 0};
  while (::poll(&readable, 1, 0) > 0) capture.drain();  // the last write may still wait for room
  task.join();
  capture.drain_rest();
  CHECK(capture.extent().length % 65536 == 0);
  CHECK(capture.extent().lost_bytes == 0);
}

TEST_CASE("what a killed guard left in the file is not taken for the next task's") {
  test::TempDirectory directory;
  test::put_file(directory / "slot.out", "left behind");
  OutputCapture capture(directory / "slot.out");
  REQUIRE(capture.prepare() == 0);
  capture.begin();
  print(capture, "mine");
  capture.drain();
  CHECK(capture.extent() == OutputExtent{11, 4, 0, false});
}

TEST_CASE("a task that makes its output non-blocking does not spoil the next one's") {
  test::TempDirectory directory;
  OutputCapture capture(directory / "slot.out");
  REQUIRE(capture.prepare() == 0);
  ::fcntl(capture.write_end(), F_SETFL, O_NONBLOCK);
  REQUIRE(capture.prepare() == 0);
  CHECK((::fcntl(capture.write_end(), F_GETFL) & O_NONBLOCK) == 0);
}

TEST_CASE("an abandoned pipe is not the next task's") {
  test::TempDirectory directory;
  OutputCapture capture(directory / "slot.out");
  REQUIRE(capture.prepare() == 0);
  Fd held(::fcntl(capture.write_end(), F_DUPFD_CLOEXEC, 3));
  capture.abandon_pipe();
  ::signal(SIGPIPE, SIG_IGN);
  CHECK(::write(held.get(), "late", 4) == -1);
  REQUIRE(capture.prepare() == 0);
  capture.begin();
  CHECK(capture.drain() == 0);
}

TEST_CASE("bytes that cannot be stored are counted, and nothing after them is stored as if there were no hole") {
  test::TempDirectory directory;
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit = {10, 10};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    OutputCapture capture(directory / "slot.out");
    if (capture.prepare() != 0) ::_exit(2);
    capture.begin();
    if (::write(capture.write_end(), "123456789012", 12) != 12) ::_exit(3);
    capture.drain();
    if (::write(capture.write_end(), "abc", 3) != 3) ::_exit(4);
    capture.drain();
    const bool good = capture.extent() == OutputExtent{0, 10, 5, false} && capture.write_error() == EFBIG;
    ::_exit(good ? 0 : 5);
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WEXITSTATUS(status) == 0);
}
