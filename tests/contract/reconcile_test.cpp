// SPDX-License-Identifier: MIT
// reconcile: found, proven absent, or unknown. "Unknown" is never a reason to submit again, absence needs a proof.
#include "tests/contract/session.h"
#include "tests/support/catch.h"

namespace allot::contract {

namespace {

using Answer = Reconciliation::Answer;

Reconciliation reconcile(Session& session, const Batch& batch, const std::string& token) {
  const auto before = std::chrono::steady_clock::now();
  auto answer = must(session->reconcile(batch.path(), token));
  CHECK(std::chrono::steady_clock::now() - before < bound(std::chrono::seconds(10)));
  CHECK(answer.ids.has_value() == (answer.answer == Answer::found));
  CHECK_FALSE(answer.evidence.empty());
  return answer;
}

void check_same(const SubmittedIds& a, const SubmittedIds& b) {
  CHECK(a.base == b.base);
  CHECK(a.is_array == b.is_array);
  CHECK(a.step_origin == b.step_origin);
  CHECK(a.steps == b.steps);
}

}  // namespace

TEST_CASE("a submission that took effect is found with its ids", "[reconcile]") {
  Batch batch;
  batch.add_line("true", 9);
  Submission submission = batch.submission({}, true);
  for (std::uint64_t step : {2, 3, 7}) submission.steps.append(step);
  submission.step_origin = 2;
  Session session;
  session.run(submission);
  const auto ids = must(session->submit(submission));  // the token again: the ids
  const auto answer = reconcile(session, batch, submission.token);
  REQUIRE(answer.answer == Answer::found);
  check_same(*answer.ids, ids);
}

TEST_CASE("a submission under way is found", "[reconcile]") {
  Rendezvous rendezvous;
  rendezvous.make_gate("0");
  Batch batch;
  batch.add_line(rendezvous.array_element());
  Session session;
  const Submission submission = batch.array(0, 1);
  const auto submitting = session.submit(submission);
  const auto element = next_element(rendezvous);
  const auto answer = reconcile(session, batch, submission.token);
  REQUIRE(answer.answer == Answer::found);
  CHECK(answer.ids->id_of(0) == element.distributor_id);
  rendezvous.open_gate("0");
  session.await_end(element.distributor_id);
}

TEST_CASE("a token that was never submitted is proven absent and may be submitted", "[reconcile]") {
  Batch batch;
  const Submission submission = batch.single_line("echo ran >> ran");
  Session session;
  CHECK(reconcile(session, batch, submission.token).answer == Answer::proven_absent);
  CHECK(session.run_one(submission).is_done());
  CHECK(reconcile(session, batch, submission.token).answer == Answer::found);
  CHECK(read_lines(batch.cwd() + "/ran").size() == 1);
}

TEST_CASE("a refused submission is proven absent", "[reconcile]") {
  Batch batch;
  batch.add_line("true", 2);
  Session session;
  Submission submission = batch.array(0, 3);
  CHECK(must_fail(session.submit(submission).answer()).code == ErrorCode::fix_request);
  CHECK(reconcile(session, batch, submission.token).answer == Answer::proven_absent);
}

TEST_CASE("a new distributor finds what an earlier one submitted", "[reconcile][restart]") {
  Batch batch;
  batch.add_line("echo ran >> ran-$ALLOT_ARRAY_STEP_ID", 4);
  const Submission submission = batch.array(0, 4);
  SubmittedIds ids;
  {
    Session session;
    session.run(submission);
    ids = must(session->submit(submission));
    session.stop();
  }
  Session session;
  const auto answer = reconcile(session, batch, submission.token);
  REQUIRE(answer.answer == Answer::found);
  check_same(*answer.ids, ids);
  CHECK(reconcile(session, batch, unique_token()).answer == Answer::proven_absent);
  for (int step = 0; step < 4; ++step) CHECK(read_lines(batch.cwd() + "/ran-" + std::to_string(step)).size() == 1);
}

TEST_CASE("a token repeated to a new distributor gives the same ids and runs nothing twice", "[reconcile][restart]") {
  Batch batch;
  batch.add_line("echo ran >> ran-$ALLOT_ARRAY_STEP_ID", 4);
  const Submission submission = batch.array(0, 4);
  SubmittedIds ids;
  {
    Session session;
    session.run(submission);
    ids = must(session->submit(submission));
    session.stop();
  }
  Session session;
  const auto again = session.submit(submission);
  check_same(must(again.answer()), ids);
  // What it would run again would be over before this one.
  session.run(batch.single_line("true"));
  for (int step = 0; step < 4; ++step) CHECK(read_lines(batch.cwd() + "/ran-" + std::to_string(step)).size() == 1);
}

TEST_CASE("a batch that is not there is not an answer about its submissions", "[reconcile]") {
  Session session;
  const auto answer = session->reconcile("/no/such/batch", unique_token());
  if (answer) CHECK(answer->answer != Answer::found);
  if (!answer) CHECK(answer.error().code == ErrorCode::fix_request);
}

}  // namespace allot::contract
