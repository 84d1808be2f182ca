// SPDX-License-Identifier: MIT
// Nodes: events name them, and a submission may exclude some.
#include "tests/contract/session.h"
#include "tests/support/catch.h"

namespace allot::contract {

TEST_CASE("events name the node where a task runs or ran", "[node][events]") {
  Batch batch;
  Session session;
  for (const std::string line : {"true", "exit 3", "kill -9 $$"}) {
    const auto id = session.run(batch.single_line(line)).at(0);
    const std::string node = session.await(id, TaskPhase::finished).node;
    CHECK_FALSE(node.empty());
    CHECK(session.await(id, TaskPhase::running).node == node);
    CHECK(must(session->get_usage_stats({id})).at(id).node == node);
  }
}

TEST_CASE("what never ran has no node", "[node][events]") {
  ClusterOptions options;
  const std::uint64_t count = slots_of(options) + 1;
  Rendezvous rendezvous;
  rendezvous.make_gates(count);
  Batch batch;
  batch.add_line(rendezvous.array_element(), count);
  Session session(options);
  const auto submitting = session.submit(batch.array(0, count));
  std::vector<std::string> waiting = submitting.ids();
  for (std::uint64_t i = 0; i < session.slots(); ++i) std::erase(waiting, next_element(rendezvous).distributor_id);
  REQUIRE(waiting.size() == 1);
  must(session->terminate_task_instances(waiting));
  CHECK(session.await(waiting[0], TaskPhase::finished).node.empty());
  for (std::uint64_t step = 0; step < count; ++step) rendezvous.open_gate(std::to_string(step));
  session.await_ends(submitting.ids());
}

TEST_CASE("an excluded node starts nothing of a submission", "[node][exclude]") {
  Batch batch;
  Session session;
  const auto probe = session.run(batch.single_line("true")).at(0);
  const std::string node = session.await(probe, TaskPhase::finished).node;
  Submission submission = batch.single_line("echo ran >> ran");
  submission.excluded_nodes = {"no-such-node", node};
  const auto submitting = session.submit(submission);
  const auto& answer = submitting.answer();
  if (answer) {
    CHECK(session.await(answer->id_of(submission.steps.front()), TaskPhase::running).node != node);
  } else {
    CHECK(answer.error().code == ErrorCode::fix_request);
    CHECK(answer.error().message.find(node) != std::string::npos);
    CHECK(session.snapshot().phases.empty());
    CHECK_FALSE(exists(batch.cwd() + "/ran"));
  }
  Submission elsewhere = batch.single_line("true");
  elsewhere.excluded_nodes = {"no-such-node"};
  CHECK(session.run_one(elsewhere).is_done());
}

}  // namespace allot::contract
