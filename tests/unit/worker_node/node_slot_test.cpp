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
