// SPDX-License-Identifier: MIT
#include "worker_node/local_distributor.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process/fd.h"
#include "process/identity.h"
#include "process/spawn.h"
#include "protocol/distributor_id.h"
#include "tests/unit/ledger/sample_batch.h"

using namespace allot;
using test::SampleBatch;

namespace {

// A process with this environment that ends with its standard input, in a group of its own or in this process's.
class Bystander {
 public:
  explicit Bystander(std::vector<std::string> environment, bool own_group = true) {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    const Fd read_end(ends[0]);
    keep_.reset(ends[1]);
    std::vector<char*> envp;
    for (std::string& entry : environment) envp.push_back(entry.data());
    envp.push_back(nullptr);
    const char* argv[] = {"cat", nullptr};
    posix_spawnattr_t attributes;
    ::posix_spawnattr_init(&attributes);
    ::posix_spawnattr_setflags(&attributes, own_group ? POSIX_SPAWN_SETPGROUP : 0);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, read_end.get(), 0);
    REQUIRE(::posix_spawn(&pid_, "/bin/cat", &actions, &attributes, const_cast<char**>(argv), envp.data()) == 0);
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
  }
  ~Bystander() {
    keep_.reset();
    if (!reaped_) ::waitpid(pid_, nullptr, 0);
  }
  /// True if it was ended; false if it lived until it was let go.
  bool was_killed() {
    keep_.reset();
    int status = 0;
    reaped_ = ::waitpid(pid_, &status, 0) == pid_;
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
  }

 private:
  Fd keep_;
  pid_t pid_ = -1;
  bool reaped_ = false;
};

OpenedRecord session_on(const std::string& host) {
  OpenedRecord record;
  record.host = host;
  record.boot_id = "of that host";
  record.pid = 4711;
  record.worker_pid = 4710;
  return record;
}

}  // namespace

TEST_CASE("only what has the id of a task of the batch is ended as its stray") {
  SampleBatch sample(3);
  sample.intent(1, StepRanges(0, 3));  // id base 0123456789ab
  const std::string directory = "ALLOT_BATCH_DIR=" + sample.batch().path();
  Bystander stray({directory, "ALLOT_DISTRIBUTOR_ID=0123456789ab_2"});
  Bystander exported({directory});  // a user's shell, say
  Bystander of_another_batch({directory, "ALLOT_DISTRIBUTOR_ID=zzzzzzzzzzzz_2"});
  Bystander of_none({directory, "ALLOT_DISTRIBUTOR_ID=0123456789ab2"});
  Bystander in_our_group({directory, "ALLOT_DISTRIBUTOR_ID=0123456789ab_2"}, false);
  CHECK(end_strays(sample.batch(), {}));
  CHECK(stray.was_killed());
  CHECK_FALSE(exported.was_killed());
  CHECK_FALSE(of_another_batch.was_killed());
  CHECK_FALSE(of_none.was_killed());
  CHECK_FALSE(in_our_group.was_killed());
}

TEST_CASE("many ids are ended with one look at the processes") {
  // Of its own: tests that run at the same time end what has the ids of their sample batches.
  const std::string base = new_id_base().value() + "_";
  Bystander first({"ALLOT_DISTRIBUTOR_ID=" + base + "1"}), second({"ALLOT_DISTRIBUTOR_ID=" + base + "20000"});
  Bystander other({"ALLOT_DISTRIBUTOR_ID=" + base + "20001"});
  std::vector<std::string> ids;
  for (int step = 0; step <= 20'000; ++step) ids.push_back(base + std::to_string(step));
  CHECK(end_marked(ids));  // with a look for each id this takes minutes
  CHECK(first.was_killed());
  CHECK(second.was_killed());
  CHECK_FALSE(other.was_killed());
}

TEST_CASE("a run without an end on another host is what makes it the one to ask") {
  SampleBatch sample(4);
  const auto state = [&sample](std::optional<std::uint32_t> submission = {}) {
    auto sessions = sessions_of(sample.batch(), {}, submission);
    REQUIRE(sessions);
    return sessions->state;
  };
  sample.intent(1, StepRanges(0, 2));
  sample.intent(2, StepRanges(2, 2));
  sample.add("there-0", session_on("there"));
  CHECK(state() == Sessions::State::gone);  // queued steps never started there
  sample.started({0, 1, 0}, "there-0");
  CHECK(state() == Sessions::State::elsewhere);
  CHECK(state(1) == Sessions::State::elsewhere);
  CHECK(state(2) == Sessions::State::gone);
  sample.finished({0, 1, 0}, ExitClass::done, "there-0");
  CHECK(state() == Sessions::State::gone);
  sample.started({1, 1, 0}, "here-0");
  CHECK(state(1) == Sessions::State::gone);
}

TEST_CASE("processes that cannot be looked into are named in the evidence") {
  CHECK(Strays{true, 0}.reservation().empty());
  CHECK(Strays{true, 1}.reservation().find("; 1 process of other users") == 0);
  CHECK(Strays{true, 2}.reservation().find("; 2 processes of other users") == 0);
}
