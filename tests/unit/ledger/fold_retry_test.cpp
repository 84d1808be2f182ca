// SPDX-License-Identifier: MIT
// What the fold makes of decisions that a task runs again.
#include "ledger/fold.h"
#include "tests/support/catch.h"
#include "tests/unit/ledger/mentions.h"
#include "tests/unit/ledger/sample_batch.h"

using namespace allot;
using test::mentions;
using test::SampleBatch;

TEST_CASE("a run that is to be repeated leaves its task waiting, and the decisions are counted by class") {
  SampleBatch batch(2);
  batch.opened("host-0");
  batch.opened("driver-1");
  IntentRecord intent;
  intent.submission = 1;
  intent.steps = StepRanges(0, 2);
  batch.add("driver-1", intent);
  FinishedRecord finished;
  finished.key = {0, 1, 0};
  finished.exit_info = {ExitClass::error, 3, {}, "why"};
  batch.add("host-0", StartedRecord{{0, 1, 0}, 1, 1});
  batch.add("host-0", finished);
  RetryRecord decision;
  decision.key = {0, 1, 0};
  decision.because = ExitClass::error;
  decision.not_before_ns = 5;
  decision.reason = "error (3): 1 of 2";
  batch.add("driver-1", decision);
  {
    const Fold fold = batch.fold();
    CHECK(fold.task(0).state == TaskState::waiting);
    CHECK(fold.task(0).is_retry_due);
    CHECK(fold.task(0).attempts == 1);
    CHECK(fold.count(TaskState::failed) == 0);
    const TaskDetail detail = fold.detail(0).value();
    CHECK(detail.retries[static_cast<std::size_t>(ExitClass::error)] == 1);
    CHECK(detail.retry->not_before_ns == 5);
    CHECK(
        mentions(detail.evidence.back(), {"driver's decision (epoch 1): runs again after 1970", "error (3): 1 of 2"}));
  }
  intent.submission = 2;
  intent.steps = StepRanges(0, 1);
  batch.add("driver-1", intent);
  CHECK(batch.fold().task(0).state == TaskState::queued);
  finished.key.submission = 2;
  batch.add("host-0", StartedRecord{{0, 2, 0}, 2, 1});
  batch.add("host-0", finished);
  const Fold fold = batch.fold();
  CHECK(fold.task(0).state == TaskState::failed);
  CHECK(fold.task(0).attempts == 2);
  CHECK(fold.detail(0)->retries[static_cast<std::size_t>(ExitClass::error)] == 1);
  CHECK(fold.damage().empty());
}
