// SPDX-License-Identifier: MIT
#include "worker_node/step_claim.h"

#include "worker_node/by_hand.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process/identity.h"
#include "tests/unit/ledger/sample_batch.h"
#include "worker_node/local_distributor.h"

using namespace allot;
using test::SampleBatch;

TEST_CASE("a step is run by hand by one process at a time") {
  SampleBatch sample(20);
  CHECK_FALSE(has_claimed_steps(sample.batch().path()));
  auto first = claim_steps(sample.batch().path(), StepRanges(0, 5));
  REQUIRE(first);
  StepRanges overlapping(10, 1);
  overlapping.append(12);
  auto second = claim_steps(sample.batch().path(), overlapping);
  REQUIRE(second);
  StepRanges both(4, 1);
  both.append(7);
  auto refused = claim_steps(sample.batch().path(), both);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::retry_later);
  CHECK(refused.error().message.find("runs some of the steps 4 of") != std::string::npos);
  CHECK(claim_steps(sample.batch().path(), StepRanges(7, 3)));  // what was refused holds nothing

  auto sessions = sessions_of(sample.batch());
  REQUIRE(sessions);
  CHECK(sessions->state == Sessions::State::alive);
  first->reset();
  CHECK(claim_steps(sample.batch().path(), both));
  CHECK(has_claimed_steps(sample.batch().path()));
  second->reset();
  CHECK_FALSE(has_claimed_steps(sample.batch().path()));
  CHECK(sessions_of(sample.batch())->state == Sessions::State::gone);
}

TEST_CASE("steps are not run by hand beside a driver that lives") {
  SampleBatch sample(2);
  CHECK(check_undriven(sample.batch()));
  int ends[2], answer[2];
  REQUIRE(::pipe(ends) == 0);
  REQUIRE(::pipe(answer) == 0);
  const pid_t driver = ::fork();
  if (driver == 0) {
    const char good = sample.batch().claim() ? 'y' : 'n';
    char end;
    ::_exit(::write(answer[1], &good, 1) == 1 && ::close(ends[1]) == 0 && ::read(ends[0], &end, 1) == 0 ? 0 : 1);
  }
  char good = 0;
  REQUIRE(::read(answer[0], &good, 1) == 1);
  REQUIRE(good == 'y');
  const auto refused = check_undriven(sample.batch());
  ::close(ends[1]);
  ::waitpid(driver, nullptr, 0);
  for (int fd : {ends[0], answer[0], answer[1]}) ::close(fd);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::fix_request);
  CHECK(refused.error().message.find("process " + std::to_string(driver)) != std::string::npos);
  CHECK(check_undriven(sample.batch()));  // it is gone
  REQUIRE(sample.batch().claim());
  CHECK(check_undriven(sample.batch()));  // it is this very process
}
