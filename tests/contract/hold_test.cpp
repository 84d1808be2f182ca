// SPDX-License-Identifier: MIT
// Hold and release: a held task does not start, whatever becomes free.
#include <algorithm>
#include <set>

#include "tests/contract/session.h"
#include "tests/support/catch.h"

namespace allot::contract {

TEST_CASE("held elements start only after their release", "[hold]") {
  ClusterOptions options;
  const std::uint64_t count = slots_of(options) + 4;
  Rendezvous rendezvous;
  rendezvous.make_gates(count);
  Batch batch;
  batch.add_line(rendezvous.array_element(), count);
  Session session(options);
  const auto submitting = session.submit(batch.array(0, count));
  std::set<std::string> started;
  std::string runs;
  for (std::uint64_t i = 0; i < session.slots(); ++i) {
    runs = next_element(rendezvous).distributor_id;
    started.insert(runs);
  }
  const auto ids = submitting.ids();
  std::vector<std::string> held;
  for (const auto& id : ids) {
    if (started.count(id) == 0 && held.size() < 2) held.push_back(id);
  }
  REQUIRE(held.size() == 2);
  // Idempotent; a running one is not touched and not counted.
  CHECK(must(session->hold(held)) == 2);
  CHECK(must(session->hold({held[0], held[1], runs})) == 2);
  for (const auto& id : held) CHECK(session.snapshot().phases.at(id) == TaskPhase::held);
  const auto reasons = must(session->explain_pending(held));
  CHECK(reasons.size() == 2);

  for (std::uint64_t step = 0; step < count; ++step) rendezvous.open_gate(std::to_string(step));
  std::vector<std::string> others;
  for (const auto& id : ids) {
    if (std::find(held.begin(), held.end(), id) == held.end()) others.push_back(id);
  }
  session.await_ends(others);
  // All slots are free now and the held ones are all that is left.
  const Snapshot left = session.snapshot();
  CHECK(left.phases.size() == 2);
  for (const auto& id : held) {
    CHECK(left.phases.at(id) == TaskPhase::held);
    CHECK(session.find(id, TaskPhase::running) == nullptr);
    CHECK_FALSE(session.exit_info(id).has_value());
  }
  while (auto line = rendezvous.poll_arrival()) {
    CHECK(std::find(held.begin(), held.end(), split_words(*line).at(2)) == held.end());
  }
  CHECK(must(session->release(held)) == 2);
  CHECK(must(session->release({held[0], runs})) == 2);
  for (const auto& id : held) CHECK(session.await_end(id).is_done());
  CHECK(must(submitting.answer()).size() == count);
}

TEST_CASE("a held element can be terminated", "[hold][terminate]") {
  ClusterOptions options;
  const std::uint64_t count = slots_of(options) + 1;
  Rendezvous rendezvous;
  rendezvous.make_gates(count);
  Batch batch;
  batch.add_line(rendezvous.array_element(), count);
  Session session(options);
  const auto submitting = session.submit(batch.array(0, count));
  std::set<std::string> started;
  for (std::uint64_t i = 0; i < session.slots(); ++i) started.insert(next_element(rendezvous).distributor_id);
  std::string held;
  for (const auto& id : submitting.ids()) {
    if (started.count(id) == 0) held = id;
  }
  CHECK(must(session->hold({held})) == 1);
  CHECK(must(session->terminate_task_instances({held})).at(held).outcome == TerminationOutcome::removed);
  CHECK(session.await_end(held).exit_class == ExitClass::killed);
  CHECK(must(session->hold({held})) == 0);  // finished: not held
  for (std::uint64_t step = 0; step < count; ++step) rendezvous.open_gate(std::to_string(step));
  session.await_ends(submitting.ids());
}

TEST_CASE("thousands are held and released as one", "[hold]") {
  constexpr std::uint64_t kTasks = 20'000;
  Rendezvous rendezvous;
  rendezvous.make_gate("0");
  Batch batch;
  batch.add_line("if [ $ALLOT_ARRAY_STEP_ID = 0 ]; then " + rendezvous.array_element() + "; fi", kTasks);
  ClusterOptions options;
  options.slots = 1;
  Session session(options);
  const auto submitting = session.submit(batch.array(0, kTasks));
  next_element(rendezvous);
  auto rest = submitting.ids();
  const std::string first = rest.front();
  rest.erase(rest.begin());
  CHECK(must(session->hold(rest)) == rest.size());
  rendezvous.open_gate("0");
  session.await_end(first);
  CHECK(session.snapshot().phases.size() == rest.size());
  CHECK(must(session->release({rest[2], rest[0]})) == 2);
  session.await_end(rest[0]);
  session.await_end(rest[2]);
  // The others are taken out, not run: they are many.
  CHECK(must(session->terminate_task_instances(rest)).size() == rest.size());
  session.await_ends(rest);
  CHECK(must(submitting.answer()).size() == kTasks);
  CHECK(batch.fold().count(TaskState::done) == 3);
}

TEST_CASE("unknown ids are not held", "[hold]") {
  Session session;
  CHECK(must(session->hold({"0123456789ab", ""})) == 0);
  CHECK(must(session->hold({})) == 0);
}

}  // namespace allot::contract
