// SPDX-License-Identifier: MIT
// The guard's own program with a queue that the test has made: what it claims, and what it leaves alone.
#include "worker_node/guard.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <new>

#include "ledger/environment.h"
#include "process/identity.h"
#include "process/install_paths.h"
#include "tests/support/catch.h"
#include "tests/unit/ledger/sample_batch.h"
#include "worker_node/node_slot.h"
#include "worker_node/shared_queue.h"

using namespace allot;

namespace {

// A queue as the worker node shares it, with one task in it.
class OneTask {
 public:
  OneTask() : memory_(::memfd_create("queue", MFD_CLOEXEC)), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    REQUIRE(::ftruncate(memory_.get(), sizeof(SharedQueue)) == 0);
    void* mapped = ::mmap(nullptr, sizeof(SharedQueue), PROT_READ | PROT_WRITE, MAP_SHARED, memory_.get(), 0);
    REQUIRE(mapped != MAP_FAILED);
    queue_ = new (mapped) SharedQueue();
    queue_->slot_count = 1;
    queue_->limit.store(1);
    QueueEntry& entry = queue_->entries[0];
    std::fill_n(entry.id_base, kIdBaseLength, '7');
    entry.state.store(kEntryQueued);
    queue_->tail.store(1);
  }
  OneTask(const OneTask&) = delete;
  OneTask& operator=(const OneTask&) = delete;
  ~OneTask() { ::munmap(queue_, sizeof(SharedQueue)); }

  SharedQueue& queue() { return *queue_; }
  QueueEntry& entry() { return queue_->entries[0]; }
  /// Sleeps as a worker node does: until a guard has news.
  void wait_for_finish() {
    for (;;) {
      queue_->node_waiting.store(kNodeSleeps);
      if (entry_kind(entry().state.load()) == kEntryFinished) return;
      pollfd wake = {wake_.get(), POLLIN, 0};
      REQUIRE(::poll(&wake, 1, -1) == 1);
      std::uint64_t count;
      REQUIRE(::read(wake_.get(), &count, sizeof count) == sizeof count);
    }
  }
  GuardOptions options(const BatchDirectory& batch) const {
    GuardOptions options;
    options.batch_directory = batch.path();
    options.cwd = "/";
    options.shell = "/bin/sh";
    options.host = host_name();
    options.shared_fd = memory_.get();
    options.wake_fd = wake_.get();
    return options;
  }

 private:
  Fd memory_, wake_;
  SharedQueue* queue_ = nullptr;
};

}  // namespace

TEST_CASE("a guard whose worker node was gone before it got ready claims nothing") {
  const test::SampleBatch sample(1);
  REQUIRE(write_environment(sample.batch().environment_path(), {}));
  const test::TempDirectory runtime;
  OneTask task;
  NodeSlot slot;
  REQUIRE(claim_slot_files(slot, sample.batch(), runtime.path()));

  // It becomes the guard when the test says so: the worker node can be gone by then.
  const std::string go = runtime / "go", program = runtime / "program";
  REQUIRE(::mkfifo(go.c_str(), 0600) == 0);
  test::put_file(program, "#!/bin/sh\nread _ <'" + go + "'\nexec '" + guard_program() + "' \"$@\"\n");
  REQUIRE(::chmod(program.c_str(), 0700) == 0);
  Spawner spawner;
  Fd exit_descriptor;
  REQUIRE(start_guard(slot, task.options(sample.batch()), program, spawner, exit_descriptor));
  const bool node_is_gone = GENERATE(true, false);
  if (node_is_gone) slot.lifeline.reset();
  std::ofstream(go) << "go\n";

  if (!node_is_gone) {
    // The one that is not gone runs the task; only then it is told to leave.
    task.wait_for_finish();
    task.queue().draining.store(1);
    const std::uint64_t one = 1;
    REQUIRE(::write(slot.poke.get(), &one, sizeof one) == sizeof one);
  }
  int status = -1;
  REQUIRE(::waitpid(slot.guard_pid, &status, 0) == slot.guard_pid);
  CHECK(status == 0);
  CHECK(entry_kind(task.entry().state.load()) == (node_is_gone ? kEntryQueued : kEntryFinished));
  int finished = 0;
  REQUIRE(scan_record_file(sample.batch().record_path(slot.writer), 0, [&](const DecodedRecord& record, std::uint64_t) {
    finished += std::holds_alternative<FinishedRecord>(record.record) ? 1 : 0;
    return true;
  }));
  CHECK(finished == (node_is_gone ? 0 : 1));
  release_slot_files(slot);
}
