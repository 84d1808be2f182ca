// SPDX-License-Identifier: MIT
// forget_batch: what is over and read leaves nothing behind in the distributor, and everything in the ledger.
#include <filesystem>

#include "tests/contract/session.h"
#include "tests/support/catch.h"

namespace allot::contract {

namespace {

using std::chrono::milliseconds;

// Acknowledges every event that the session has seen.
void acknowledge(Session& session) {
  must(session->wait_for_events(session.events().size(), milliseconds(0)));
}

}  // namespace

TEST_CASE("a batch that is over and read is forgotten", "[forget]") {
  Batch batch, other;
  batch.add_line("echo ran >> ran; exit $ALLOT_ARRAY_STEP_ID", 2);
  Session session;
  const Submission submission = batch.array(0, 2);
  const auto ids = session.run(submission);
  const auto stays = session.run(other.single_line("exit 6")).at(0);
  acknowledge(session);
  must(session->forget_batch(batch.path()));
  must(session->forget_batch(batch.path()));  // what is not known is forgotten
  for (const auto& id : ids) {
    CHECK_FALSE(session.exit_info(id).has_value());
    CHECK(must(session->terminate_task_instances({id})).at(id).outcome == TerminationOutcome::unknown_id);
  }
  CHECK(must(session->get_usage_stats(ids)).empty());
  CHECK(session.ended(stays).exit_code == 6);
  // The ledger has it all: the same submission runs nothing again.
  const auto answer = must(session->reconcile(batch.path(), submission.token));
  REQUIRE(answer.answer == Reconciliation::Answer::found);
  CHECK(answer.ids->id_of(0) == ids[0]);
  CHECK(must(session->submit(submission)).id_of(1) == ids[1]);
  CHECK(read_lines(batch.cwd() + "/ran").size() == 2);
}

TEST_CASE("a forgotten batch may be submitted to again", "[forget]") {
  Batch batch;
  batch.add_line("echo $ALLOT_ARRAY_STEP_ID", 3);
  Session session;
  for (std::uint64_t step = 0; step < 3; ++step) {
    const auto id = session.run(batch.array(step, 1)).at(0);
    CHECK(session.ended(id).is_done());
    acknowledge(session);
    must(session->forget_batch(batch.path()));
  }
  CHECK(batch.fold().count(TaskState::done) == 3);
}

TEST_CASE("a batch at the path of one that was removed before it was forgotten is another batch", "[forget]") {
  Batch removed, fresh;
  Session session;
  const Submission before = removed.single_line("exit 3");
  Submission after = fresh.single_line("exit 4");
  REQUIRE(after.number == before.number);
  CHECK(session.run_one(before).exit_code == 3);
  std::filesystem::remove_all(removed.path());
  std::filesystem::rename(fresh.path(), removed.path());
  after.batch_directory = removed.path();
  CHECK(session.run_one(after).exit_code == 4);
  // Both are forgotten by their path, the one that was there first before the other.
  acknowledge(session);
  must(session->forget_batch(removed.path()));
  must(session->forget_batch(removed.path()));
  CHECK_FALSE(session.exit_info(after.id_base).has_value());
}

TEST_CASE("a batch with a task that has not finished is not forgotten", "[forget]") {
  Rendezvous rendezvous;
  rendezvous.make_gate("0");
  Batch batch;
  batch.add_line(rendezvous.array_element());
  Session session;
  const auto submitting = session.submit(batch.array(0, 1));
  const auto element = next_element(rendezvous);
  const Error error = must_fail(session->forget_batch(batch.path()));
  CHECK(error.code == ErrorCode::fix_request);
  CHECK(error.message.find(batch.path()) != std::string::npos);
  CHECK(session.snapshot().phases.count(element.distributor_id) == 1);
  rendezvous.open_gate("0");
  CHECK(session.await_end(element.distributor_id).is_done());
}

TEST_CASE("a batch with an event that was not acknowledged is not forgotten", "[forget]") {
  Batch batch;
  Session session;
  const Submission submission = batch.single_line("exit 3");
  const auto answer = session.call([&] { return session->submit(submission); });
  std::vector<Event> events;
  while (events.empty() || events.back().phase != TaskPhase::finished) {  // the same cursor acknowledges nothing
    events = must(session->wait_for_events(0, patience()));
  }
  const std::string id = events.back().distributor_id;
  must(must_answer(answer));
  const Error error = must_fail(session->forget_batch(batch.path()));
  CHECK(error.code == ErrorCode::retry_later);
  CHECK(session.ended(id).exit_code == 3);
  must(session->wait_for_events(events.back().sequence, milliseconds(0)));
  must(session->forget_batch(batch.path()));
}

TEST_CASE("many batches one after the other leave neither processes nor descriptors", "[forget][descriptors]") {
  constexpr int kBatches = 25;
  Session session;
  const auto idle = own_descendants();
  {
    Batch first;
    session.run(first.single_line("true"));
    acknowledge(session);
    must(session->forget_batch(first.path()));
  }
  const std::size_t descriptors = open_descriptors();
  CHECK(own_descendants() == idle);
  for (int i = 0; i < kBatches; ++i) {
    Batch batch;
    CHECK(session.run_one(batch.single_line("true")).is_done());
    acknowledge(session);
    must(session->forget_batch(batch.path()));
  }
  CHECK(open_descriptors() == descriptors);
  CHECK(own_descendants() == idle);
}

TEST_CASE("many batches at once are bounded in processes and all run", "[forget][fairness]") {
  constexpr int kBatches = 40;
  std::vector<std::unique_ptr<Batch>> batches;
  for (int i = 0; i < kBatches; ++i) batches.push_back(std::make_unique<Batch>());
  Session session;
  const auto idle = own_descendants();
  std::vector<Submitting> submitted;
  for (const auto& batch : batches) submitted.push_back(session.submit(batch->single_line("true")));
  for (const auto& submitting : submitted) CHECK(session.await_end(submitting.id_of(0)).is_done());
  acknowledge(session);
  for (const auto& submitting : submitted) must(submitting.answer());
  for (const auto& batch : batches) must(session->forget_batch(batch->path()));
  CHECK(own_descendants() == idle);
}

}  // namespace allot::contract
