// SPDX-License-Identifier: MIT
// The surroundings of a task: clean, its own, and those of the batch rather than of whoever started it.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <set>

#include "process/fd.h"
#include "process/identity.h"
#include "tests/contract/session.h"
#include "tests/support/catch.h"

namespace allot::contract {

namespace {

std::string run_line(std::string_view line) {
  Batch batch;
  Session session;
  const auto id = session.run(batch.single_line(line)).at(0);
  CHECK(session.ended(id).is_done());
  return batch.output(0);
}

// Blocks SIGUSR1 and SIGTERM in the test's thread and ignores SIGPIPE and SIGUSR2 in the process.
class DirtySignals {
 public:
  DirtySignals() {
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    sigaddset(&blocked, SIGTERM);
    ::pthread_sigmask(SIG_BLOCK, &blocked, &mask_);
    pipe_ = std::signal(SIGPIPE, SIG_IGN);
    user_ = std::signal(SIGUSR2, SIG_IGN);
  }
  ~DirtySignals() {
    std::signal(SIGPIPE, pipe_);
    std::signal(SIGUSR2, user_);
    ::pthread_sigmask(SIG_SETMASK, &mask_, nullptr);
  }
  DirtySignals(const DirtySignals&) = delete;
  DirtySignals& operator=(const DirtySignals&) = delete;

 private:
  sigset_t mask_{};
  void (*pipe_)(int) = SIG_DFL;
  void (*user_)(int) = SIG_DFL;
};

}  // namespace

TEST_CASE("a task gets the batch's environment and what its row sets on top", "[environment]") {
  ::setenv("CONTRACT_OUTER", "from the host process", 1);
  Batch batch({{"CONTRACT_BOTH", "batch"}, {"CONTRACT_EMPTY", ""}, {"CONTRACT_ODD", "a=b\n c"}});
  TaskSpec task;
  task.shell_line =
      "echo \"$CONTRACT_MARK|$CONTRACT_BOTH|${CONTRACT_EMPTY-unset}|$CONTRACT_ODD|$CONTRACT_NEW|"
      "$(env | grep -c '^CONTRACT_BOTH=')\"";
  task.env = {{"CONTRACT_BOTH", "row"}, {"CONTRACT_NEW", "new"}};
  const auto with = batch.add(task);
  const auto without = batch.add_line("echo \"$CONTRACT_BOTH|${CONTRACT_NEW-unset}\"");
  Session session;
  session.run(batch.array(0, 2));
  CHECK(batch.output(with) == "batch|row||a=b\n c|new|1\n");
  CHECK(batch.output(without) == "batch|unset\n");
  ::unsetenv("CONTRACT_OUTER");
}

TEST_CASE("a row cannot make a task believe in another id", "[environment][ids]") {
  Batch batch;
  TaskSpec task;
  task.shell_line = "echo $ALLOT_DISTRIBUTOR_ID";
  task.env = {{"ALLOT_DISTRIBUTOR_ID", "forged"}};
  Session session;
  const auto id = session.run(batch.single(batch.add(task))).at(0);
  CHECK(batch.output(0) == id + "\n");
}

TEST_CASE("a task has the three standard descriptors and no others", "[environment][descriptors]") {
  // Descriptors of the host without close-on-exec, open before the distributor and after its start.
  const Fd early(::open("/dev/null", O_RDONLY));
  Batch batch;
  const auto step = batch.add_argv({ALLOT_CONTRACT_PROBE, "fds"});
  Session session;
  const Fd late(::open("/dev/null", O_RDONLY));
  REQUIRE(session.run_one(batch.single(step)).is_done());
  const std::string output = batch.output(step);
  std::set<std::string> descriptors;
  std::string standard_input;
  for (std::size_t at = 0; at < output.size();) {
    const auto end = output.find('\n', at);
    const std::string line = output.substr(at, end - at);
    descriptors.insert(line.substr(0, line.find('=')));
    if (line.rfind("0=", 0) == 0) standard_input = line.substr(2);
    at = end + 1;
  }
  INFO(output);
  CHECK(descriptors == std::set<std::string>{"0", "1", "2"});
  CHECK(standard_input == "/dev/null");
}

TEST_CASE("a task has no signal blocked or ignored whatever its host does", "[environment][signals]") {
  const DirtySignals dirty;
  Batch batch;
  const auto step = batch.add_argv({"grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"});
  Session session;
  REQUIRE(session.run_one(batch.single(step)).is_done());
  const std::string none = "0000000000000000\n";
  CHECK(batch.output(step) == "SigBlk:\t" + none + "SigIgn:\t" + none);
  // SIGPIPE in its default ends the left side of a pipe.
  const auto piped = batch.add_line("yes | head -n 1");
  CHECK(session.run_one(batch.single(piped)).is_done());
}

TEST_CASE("a task has the umask that its submitter had", "[environment]") {
  const mode_t before = ::umask(027);
  CHECK(run_line("umask") == "0027\n");
  ::umask(before);
}

TEST_CASE("a task has its submitter's umask where the workers have another", "[environment]") {
  const mode_t before = ::umask(027);
  Batch batch;
  ::umask(0);
  Session session;
  const auto step = batch.add_line("umask");
  const auto ended = session.run_one(batch.single(step));
  ::umask(before);
  CHECK(ended.is_done());
  CHECK(batch.output(step) == "0027\n");
}

TEST_CASE("a task leads a process group of its own", "[environment]") {
  const auto words = split_words(run_line("echo $$; sed 's/.*) //' /proc/$$/stat | cut -d' ' -f3"));
  REQUIRE(words.size() == 2);
  CHECK(words[0] == words[1]);
}

TEST_CASE("a task's limits are those of its submitter", "[environment]") {
  const std::string own = [] {
    for (const auto& line : read_lines("/proc/self/limits")) {
      if (line.rfind("Max open files", 0) == 0) return line;
    }
    return std::string();
  }();
  REQUIRE_FALSE(own.empty());
  CHECK(split_words(run_line("grep '^Max open files' /proc/self/limits")) == split_words(own));
}

TEST_CASE("a large environment and a large command reach the task", "[environment]") {
  const std::string value(100'000, 'e');
  const std::string argument(100'000, 'a');
  Batch batch({{"CONTRACT_LARGE", value}});
  const auto step = batch.add_argv({"sh", "-c", "echo ${#CONTRACT_LARGE} ${#1}", "sh", argument});
  Session session;
  CHECK(session.run_one(batch.single(step)).is_done());
  CHECK(batch.output(step) == "100000 100000\n");
}

}  // namespace allot::contract
