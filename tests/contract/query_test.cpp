// SPDX-License-Identifier: MIT
// Snapshots, queueing errors, reasons to wait: asking never changes the answer, and not knowing is never an answer.
#include <algorithm>

#include "tests/contract/session.h"
#include "tests/support/catch.h"

namespace allot::contract {

TEST_CASE("a snapshot holds exactly the unfinished tasks and the time it is of", "[query][snapshot]") {
  ClusterOptions options;
  const std::uint64_t count = slots_of(options) + 3;
  Rendezvous rendezvous;
  rendezvous.make_gates(count);
  Batch batch;
  batch.add_line(rendezvous.array_element(), count);
  Session session(options);
  CHECK(session.snapshot().phases.empty());
  const auto before = std::chrono::system_clock::now();
  const auto submitting = session.submit(batch.array(0, count));
  std::vector<std::string> running;
  for (std::uint64_t i = 0; i < session.slots(); ++i) running.push_back(next_element(rendezvous).distributor_id);
  for (const auto& id : running) session.await(id, TaskPhase::running);

  const auto ids = submitting.ids();
  const Snapshot all = session.snapshot();
  CHECK(all.as_of >= before);
  CHECK(all.as_of <= std::chrono::system_clock::now());
  CHECK(all.phases.size() == count);
  for (const auto& id : ids) {
    REQUIRE(all.phases.count(id) == 1);
    const bool runs = std::find(running.begin(), running.end(), id) != running.end();
    CHECK(all.phases.at(id) == (runs ? TaskPhase::running : TaskPhase::queued));
  }
  const Snapshot some = session.snapshot({{running[0], "0123456789ab"}});
  CHECK(some.phases.size() == 1);
  CHECK(some.phases.count(running[0]) == 1);
  CHECK(session.snapshot(std::vector<std::string>{}).phases.empty());

  for (std::uint64_t i = 0; i < count; ++i) rendezvous.open_gate(std::to_string(i));
  session.await_ends(ids);
  CHECK(session.snapshot().phases.empty());
  CHECK(session.snapshot(ids).phases.empty());
}

TEST_CASE("a finished task has left the snapshot when its event comes", "[query][snapshot]") {
  Rendezvous rendezvous;
  rendezvous.make_gate("1");
  Batch batch;
  batch.add_line("[ $ALLOT_ARRAY_STEP_ID = 0 ] || { " + rendezvous.array_element() + "; }", 2);
  Session session;
  const auto submitting = session.submit(batch.array(0, 2));
  session.await_end(submitting.id_of(0));
  CHECK(session.snapshot().phases.count(submitting.id_of(0)) == 0);
  CHECK(session.snapshot().phases.count(submitting.id_of(1)) == 1);
  rendezvous.open_gate("1");
  session.await_end(submitting.id_of(1));
}

TEST_CASE("what the cluster can never run is refused or gets a queueing error", "[query][queueing]") {
  Batch batch;
  Submission submission = batch.single_line("echo ran >> ran");
  SECTION("cores") {
    submission.resources.cores = 1'000'000;
  }
  SECTION("memory") {
    submission.resources.memory_bytes = std::uint64_t{1} << 60;
  }
  SECTION("gpus") {
    submission.resources.gpus = 100'000;
  }
  Session session;
  const auto submitting = session.submit(submission);
  const auto& answer = submitting.answer();
  if (!answer) {
    INFO(answer.error().message);
    CHECK(answer.error().code == ErrorCode::fix_request);
    CHECK_FALSE(answer.error().message.empty());
    CHECK(session.snapshot().phases.empty());
  } else {
    const std::string id = answer->id_of(0);
    const ExitInfo info = session.await_end(id);
    CHECK(info.exit_class == ExitClass::queueing_error);
    // Jobmon's rewrite forgot the reason when it was read.
    for (int time = 0; time < 3; ++time) {
      const auto errors = must(session->get_queueing_errors({id, "0123456789ab"}));
      REQUIRE(errors.size() == 1);
      CHECK_FALSE(errors.at(id).empty());
    }
    CHECK(session.ended(id).exit_class == ExitClass::queueing_error);
    CHECK(session.snapshot().phases.empty());
  }
  CHECK(session.run_one(batch.single_line("true")).is_done());
  CHECK_FALSE(exists(batch.cwd() + "/ran"));
}

TEST_CASE("tasks without a queueing error are left out of the answer", "[query][queueing]") {
  Batch batch;
  Session session;
  const auto id = session.run(batch.single_line("exit 1")).at(0);
  CHECK(must(session->get_queueing_errors({id, "0123456789ab", "no id"})).empty());
  CHECK(must(session->get_queueing_errors({})).empty());
}

TEST_CASE("a waiting task can say why it waits", "[query][explain]") {
  ClusterOptions options;
  const std::uint64_t count = slots_of(options) + 1;
  Rendezvous rendezvous;
  rendezvous.make_gates(count);
  Batch batch;
  batch.add_line(rendezvous.array_element(), count);
  Session session(options);
  const auto submitting = session.submit(batch.array(0, count));
  std::vector<std::string> running;
  for (std::uint64_t i = 0; i < session.slots(); ++i) running.push_back(next_element(rendezvous).distributor_id);
  for (const auto& id : running) session.await(id, TaskPhase::running);

  auto asked = submitting.ids();
  asked.push_back("0123456789ab");
  const auto reasons = must(session->explain_pending(asked));
  CHECK(reasons.size() == 1);
  for (const auto& [id, reason] : reasons) {
    CHECK(std::find(running.begin(), running.end(), id) == running.end());
    CHECK(reason.find(' ') != std::string::npos);  // a sentence
  }
  for (std::uint64_t i = 0; i < count; ++i) rendezvous.open_gate(std::to_string(i));
  session.await_ends(submitting.ids());
  CHECK(must(session->explain_pending(submitting.ids())).empty());
}

TEST_CASE("the queries still answer after stop", "[query][lifecycle]") {
  Batch batch;
  Session session;
  const auto id = session.run(batch.single_line("exit 6")).at(0);
  session.stop();
  CHECK(session.ended(id).exit_code == 6);
  CHECK(session.snapshot().phases.empty());
  CHECK(must(session->get_queueing_errors({id})).empty());
  CHECK(must(session->get_usage_stats({id})).count(id) == 1);
  CHECK(must(session->explain_pending({id})).empty());
}

}  // namespace allot::contract
