// SPDX-License-Identifier: MIT
#include "worker_node/node_slot.h"

#include <unistd.h>

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
