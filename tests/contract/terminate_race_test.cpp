// SPDX-License-Identifier: MIT
// Termination at the worst moments: right after submit, while a task ends, from several threads.
#include <csignal>
#include <map>

#include "process/identity.h"
#include "tests/contract/session.h"
#include "tests/support/catch.h"

namespace allot::contract {

namespace {

using std::chrono::milliseconds;

}  // namespace

TEST_CASE("a task terminated right after its submission does not run on", "[terminate][race]") {
  // Jobmon's rewrite forgot the id of a task that was terminated between thread start and spawn, and it ran on.
  constexpr int kRounds = 40;
  Batch batch;
  batch.add_line("echo $$ >> started; exec sleep 1000", kRounds);
  Session session;
  for (int round = 0; round < kRounds; ++round) {
    const auto submitting = session.submit(batch.array(static_cast<std::uint64_t>(round), 1));
    const std::string id = submitting.id_of(static_cast<std::uint64_t>(round));
    const auto answer = must(session->terminate_task_instances({id}, milliseconds(100)));
    const auto outcome = answer.at(id).outcome;
    INFO("round " << round << ": " << to_string(outcome) << " " << answer.at(id).text);
    const bool ended = outcome == TerminationOutcome::gone || outcome == TerminationOutcome::removed;
    REQUIRE(ended);
    CHECK(session.snapshot({{id}}).phases.empty());
    CHECK(processes_with_environment("ALLOT_DISTRIBUTOR_ID=" + id).empty());
    CHECK(session.await_end(id).exit_class == ExitClass::killed);
    const auto runs = batch.fold().task(static_cast<std::uint64_t>(round)).attempts;
    CHECK(runs == (outcome == TerminationOutcome::gone ? 1 : 0));
  }
}

TEST_CASE("terminating tasks that are just ending never changes what they did", "[terminate][race]") {
  constexpr std::uint64_t kTasks = 60;
  Batch batch;
  batch.add_line("echo whole; exit 7", kTasks);
  Session session;
  const auto submitting = session.submit(batch.array(0, kTasks));
  const auto ids = submitting.ids();
  for (const auto& id : ids) {
    const auto outcome = must(session->terminate_task_instances({id}, milliseconds(100))).at(id).outcome;
    const ExitInfo info = session.ended(id);
    INFO(id << ": " << to_string(outcome) << ", " << describe(info));
    if (outcome == TerminationOutcome::already_finished) {
      CHECK(info.exit_class == ExitClass::error);
      CHECK(info.exit_code == 7);
    } else if (outcome == TerminationOutcome::removed) {
      CHECK(info.exit_class == ExitClass::killed);
    } else {
      CHECK(outcome == TerminationOutcome::gone);
    }
    CHECK(session.await_end(id).exit_class == info.exit_class);
  }
}

TEST_CASE("several threads may terminate the same ids", "[terminate][race]") {
  ClusterOptions options;
  const std::uint64_t count = slots_of(options) + 4;
  Rendezvous rendezvous;
  rendezvous.make_gates(count);
  Batch batch;
  batch.add_line(rendezvous.array_element(), count);
  Session session(options);
  const auto submitting = session.submit(batch.array(0, count));
  std::vector<ArrivedElement> running;
  for (std::uint64_t i = 0; i < session.slots(); ++i) running.push_back(next_element(rendezvous));
  const auto ids = submitting.ids();
  std::vector<std::shared_future<Result<std::map<std::string, Termination>>>> answers;
  for (int i = 0; i < 4; ++i) {
    answers.push_back(session.in_background([&] { return session->terminate_task_instances(ids, milliseconds(100)); }));
  }
  for (const auto& answer : answers) {
    const auto outcomes = must(must_answer(answer));
    CHECK(outcomes.size() == ids.size());
    for (const auto& [id, termination] : outcomes) {
      INFO(id << ": " << to_string(termination.outcome));
      const bool over = termination.outcome == TerminationOutcome::gone ||
                        termination.outcome == TerminationOutcome::removed ||
                        termination.outcome == TerminationOutcome::already_finished;
      CHECK(over);
    }
  }
  for (const auto& element : running) CHECK_FALSE(is_alive(element.process));
  for (const auto& id : ids) CHECK(session.await_end(id).exit_class == ExitClass::killed);
}

TEST_CASE("a slot is free again after a termination", "[terminate]") {
  ClusterOptions options;
  options.slots = 1;
  Rendezvous rendezvous;
  rendezvous.make_gate("0");
  Batch batch;
  batch.add_line(rendezvous.array_element());
  const auto next = batch.add_line("echo next");
  Session session(options);
  session.submit(batch.array(0, 1));
  const auto element = next_element(rendezvous);
  const auto following = session.submit(batch.single(next));
  must(session->terminate_task_instances({element.distributor_id}, milliseconds(100)));
  CHECK(session.await_end(following.id_of(next)).is_done());
  CHECK(batch.output(next) == "next\n");
}

TEST_CASE("what is said to be removed or held right after its submission does not run", "[terminate][hold][race]") {
  const bool holds = GENERATE(false, true);
  for (int round = 0; round < 10; ++round) {
    Batch batch;
    const auto step = batch.add_line("touch ran");
    Session session;  // each with a worker node to start, which takes its time
    const auto submitting = session.submit(batch.single(step));
    std::map<std::string, TaskPhase> there;
    while (there.empty() && !exists(batch.cwd() + "/ran")) there = session.snapshot().phases;
    if (there.empty()) continue;  // it was faster
    const std::string id = there.begin()->first;
    if (holds) {
      if (must(session->hold({id})) == 1) {
        CHECK(session.stop() < bound(std::chrono::seconds(5)));
        CHECK_FALSE(exists(batch.cwd() + "/ran"));
      }
      continue;
    }
    if (must(session->terminate_task_instances({id})).at(id).outcome == TerminationOutcome::removed) {
      CHECK(session.ended(id).exit_class == ExitClass::killed);
      session.stop();
      CHECK_FALSE(exists(batch.cwd() + "/ran"));
    }
  }
}

TEST_CASE("the longest grace that can be written is no error", "[terminate]") {
  Rendezvous rendezvous;
  rendezvous.make_gate("0");
  Batch batch;
  batch.add_line(rendezvous.array_element(), 1);
  Session session;
  session.submit(batch.array(0, 1));
  const auto element = next_element(rendezvous);
  const auto ended =
      must(session->terminate_task_instances({element.distributor_id}, std::chrono::milliseconds::max()));
  CHECK(ended.at(element.distributor_id).outcome == TerminationOutcome::gone);
  CHECK(session.await_end(element.distributor_id).exit_class == ExitClass::killed);
}

}  // namespace allot::contract
