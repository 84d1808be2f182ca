// SPDX-License-Identifier: MIT
#include "worker_node/node_slot.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "process/identity.h"
#include "tests/support/catch.h"
#include "tests/unit/ledger/sample_batch.h"

using namespace allot;

namespace {

OpenedRecord opened_by(const ProcessIdentity& guard, const ProcessIdentity& worker) {
  OpenedRecord record;
  record.host = host_name();
  record.boot_id = boot_id();
  record.pid = guard.pid;
  record.start_ticks = guard.start_ticks;
  record.worker_pid = worker.pid;
  record.worker_start_ticks = worker.start_ticks;
  return record;
}

constexpr ProcessIdentity kNobody{1, 1};

void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream(path) << bytes;
}

}  // namespace

TEST_CASE("a slot is claimed once, and free again when it is given back") {
  const test::SampleBatch sample(1);
  const test::TempDirectory runtime;
  NodeSlot first, second, third;
  REQUIRE(claim_slot_files(first, sample.batch(), runtime.path()));
  REQUIRE(claim_slot_files(second, sample.batch(), runtime.path()));
  CHECK(first.writer != second.writer);
  const std::string writer = first.writer;
  release_slot_files(first);
  REQUIRE(claim_slot_files(third, sample.batch(), runtime.path()));
  CHECK(third.writer == writer);
  release_slot_files(second);
  release_slot_files(third);
}

TEST_CASE("a slot whose guard or worker node lives is not claimed in another runtime directory") {
  test::SampleBatch sample(1);
  const test::TempDirectory here, elsewhere;
  NodeSlot first;
  REQUIRE(claim_slot_files(first, sample.batch(), here.path()));
  first.claim.reset();  // as where there is another network, too
  // By this process's parent: a worker node in this very process would know better.
  const ProcessIdentity parent{::getppid(), process_start_ticks(::getppid()).value_or(0)};
  const bool by_guard = GENERATE(true, false);
  sample.add(first.writer, by_guard ? opened_by(own_identity(), kNobody) : opened_by(kNobody, parent));
  NodeSlot second;
  REQUIRE(claim_slot_files(second, sample.batch(), elsewhere.path()));
  CHECK(second.writer != first.writer);

  sample.add(first.writer, opened_by(kNobody, kNobody));
  NodeSlot third;
  REQUIRE(claim_slot_files(third, sample.batch(), elsewhere.path()));
  CHECK(third.writer == first.writer);
  release_slot_files(first);
  release_slot_files(second);
  release_slot_files(third);
}

TEST_CASE("a slot is claimed once by those who have runtime directories of their own") {
  const test::SampleBatch sample(1);
  const test::TempDirectory here, elsewhere;
  NodeSlot first, second;
  REQUIRE(claim_slot_files(first, sample.batch(), here.path()));
  REQUIRE(first.claim);
  REQUIRE(claim_slot_files(second, sample.batch(), elsewhere.path()));
  CHECK(second.writer != first.writer);
  const std::string writer = first.writer;
  release_slot_files(first);
  release_slot_files(second);
  REQUIRE(claim_slot_files(second, sample.batch(), elsewhere.path()));
  CHECK(second.writer == writer);
  release_slot_files(second);
}

TEST_CASE("the slots of a node that the scheduler names are called by it") {
  test::SampleBatch sample(1);
  const test::TempDirectory runtime;
  const SlotPlace place{sample.batch().path(), sample.batch().info().batch_id, runtime.path(), "n7"};
  SlotFiles first;
  REQUIRE(claim_slot_files(first, place));
  CHECK(first.writer == "n7-0");
  release_slot_files(first);
  // The node was another host once; whether that one still writes cannot be seen from here.
  OpenedRecord last = opened_by(kNobody, kNobody);
  last.host = "another-host";
  sample.add("n7-0", last);
  SlotFiles second;
  REQUIRE(claim_slot_files(second, place));
  CHECK(second.writer == "n7-1");
  release_slot_files(second);
  sample.add("n7-0", ClosedRecord{});  // it has left in order
  REQUIRE(claim_slot_files(second, place));
  CHECK(second.writer == "n7-0");
  release_slot_files(second);
}

TEST_CASE("a slot that was left in order is claimed where it ends and with the output that it had") {
  test::SampleBatch sample(1);
  const test::TempDirectory runtime;
  const SlotPlace place{sample.batch().path(), sample.batch().info().batch_id, runtime.path(), "n7"};
  sample.opened("n7-0", host_name());
  const std::uint64_t frame = sample.add("n7-0", ClosedRecord{{3, 0}, 1});
  SlotFiles slot;
  REQUIRE(claim_slot_files(slot, place));
  CHECK(slot.writer == "n7-1");  // what was printed is gone
  release_slot_files(slot);
  write_file(sample.batch().output_path("n7-0", OutputStream::standard_output), "abc");
  REQUIRE(claim_slot_files(slot, place));
  CHECK(slot.writer == "n7-0");
  CHECK(slot.session_start == frame + 49);
  release_slot_files(slot);
}

TEST_CASE("a slot whose output was removed is not written to again") {
  test::SampleBatch sample(1);
  const test::TempDirectory runtime;
  NodeSlot first;
  REQUIRE(claim_slot_files(first, sample.batch(), runtime.path()));
  const std::string writer = first.writer;
  release_slot_files(first);
  FinishedRecord finished;
  finished.key = {0, 1, 0};
  finished.standard_error = {0, 5, 0, false};
  sample.add(writer, finished);
  NodeSlot second;
  REQUIRE(claim_slot_files(second, sample.batch(), runtime.path()));
  CHECK(second.writer != writer);
  release_slot_files(second);
  write_file(sample.batch().output_path(writer, OutputStream::standard_error), "12345");
  REQUIRE(claim_slot_files(second, sample.batch(), runtime.path()));
  CHECK(second.writer == writer);
  release_slot_files(second);
}

TEST_CASE("what slots of a batch left that nobody holds is removed, and nothing else") {
  const test::SampleBatch sample(1);
  const test::TempDirectory runtime;
  NodeSlot held;
  REQUIRE(claim_slot_files(held, sample.batch(), runtime.path()));
  const std::string id = sample.batch().info().batch_id;
  write_file(runtime / (id + "-7.lock"), "");
  write_file(runtime / (id + "-7.error"), "left");
  write_file(runtime / "another-0.lock", "");
  remove_unused_scratch(id, runtime.path());
  CHECK_FALSE(std::filesystem::exists(runtime / (id + "-7.lock")));
  CHECK_FALSE(std::filesystem::exists(runtime / (id + "-7.error")));
  CHECK(std::filesystem::exists(runtime / "another-0.lock"));
  CHECK(std::filesystem::exists(held.lock_path));
  release_slot_files(held);
}
