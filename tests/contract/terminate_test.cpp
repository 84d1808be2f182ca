// SPDX-License-Identifier: MIT
// Termination: running trees are gone when the call returns, queued work never runs, and nobody else is touched.
#include <algorithm>
#include <csignal>
#include <set>

#include "process/identity.h"
#include "tests/contract/session.h"
#include "tests/support/catch.h"

namespace allot::contract {

namespace {

using std::chrono::milliseconds;

TerminationOutcome outcome_of(const std::map<std::string, Termination>& answer, const std::string& id) {
  const auto found = answer.find(id);
  if (found == answer.end()) fail_test("no answer for " + id);
  INFO(id << ": " << to_string(found->second.outcome) << " " << found->second.text);
  return found->second.outcome;
}

// An array of which as many elements run as there are slots; the others are queued.
struct FullHouse {
  explicit FullHouse(std::uint64_t queued_count, const ClusterOptions& options = {}) : session_options(options) {
    const std::uint64_t count = slots_of(options) + queued_count;
    rendezvous.make_gates(count);
    batch.add_line(rendezvous.array_element() + "; echo ran to its end", count);
    session.emplace(options);
    submitting = session->submit(batch.array(0, count));
    std::set<std::uint64_t> running_steps;
    for (std::uint64_t i = 0; i < session->slots(); ++i) {
      running.push_back(next_element(rendezvous));
      running_steps.insert(running.back().array_step);
    }
    for (std::uint64_t step = 0; step < count; ++step) {
      if (running_steps.count(step) == 0) queued.push_back(step);
    }
  }
  std::string id(std::uint64_t step) const { return submitting.id_of(step); }
  std::uint64_t attempts(std::uint64_t step) const { return batch.fold().task(step).attempts; }

  ClusterOptions session_options;
  Rendezvous rendezvous;
  Batch batch;
  std::optional<Session> session;
  Submitting submitting;
  std::vector<ArrivedElement> running;
  std::vector<std::uint64_t> queued;
};

}  // namespace

TEST_CASE("terminating a running task ends its whole tree before the call returns", "[terminate][tree]") {
  Rendezvous rendezvous;
  const std::string report = "echo $$ > " + rendezvous.path() + "/arrive; ";
  Batch batch;
  // A child, a child in a session of its own, a double fork (its parent is gone at once), each deaf to TERM.
  const std::string deaf = "trap \"\" TERM HUP; " + report + "while :; do sleep 1000; done";
  batch.add_line("sh -c '" + deaf + "' & setsid sh -c '" + deaf + "' & ( setsid sh -c '" + deaf +
                 "' & ) ; trap '' TERM; " + report + "while :; do sleep 1000; done");
  Session session;
  const auto submitting = session.submit(batch.single(0));
  std::vector<ProcessIdentity> tree;
  for (int i = 0; i < 4; ++i) tree.push_back(identify(rendezvous.next_arrival("a process of the tree")));
  const std::string id = submitting.id_of(0);

  const auto answer = must(session->terminate_task_instances({id}, milliseconds(200)));
  CHECK(outcome_of(answer, id) == TerminationOutcome::gone);
  for (const auto& process : tree) {
    INFO("pid " << process.pid);
    CHECK_FALSE(is_alive(process));
  }
  CHECK(processes_with_environment("ALLOT_DISTRIBUTOR_ID=" + id).empty());
  CHECK(session.ended(id).exit_class == ExitClass::killed);
  CHECK(session.await_end(id).exit_class == ExitClass::killed);
  CHECK(batch.fold().task(0).exit_class == ExitClass::killed);
  CHECK(session.snapshot().phases.empty());
}

TEST_CASE("a task that obeys TERM ends by it within the grace", "[terminate]") {
  Rendezvous rendezvous;
  rendezvous.make_gate("0");
  Batch batch;
  batch.add_line("trap 'echo cleaned up; exit 5' TERM; " + rendezvous.array_element() + " & wait");
  Session session;
  const auto submitting = session.submit(batch.array(0, 1));
  const auto element = next_element(rendezvous);
  const auto before = std::chrono::steady_clock::now();
  const auto answer = must(session->terminate_task_instances({element.distributor_id}, std::chrono::seconds(100)));
  CHECK(std::chrono::steady_clock::now() - before < bound(std::chrono::seconds(10)));
  CHECK(outcome_of(answer, element.distributor_id) == TerminationOutcome::gone);
  const ExitInfo info = session.await_end(element.distributor_id);
  CHECK(info.exit_class == ExitClass::killed);
  CHECK(batch.output(0) == "cleaned up\n");
}

TEST_CASE("a stopped task can be terminated", "[terminate]") {
  Rendezvous rendezvous;
  Batch batch;
  batch.add_line(rendezvous.arrive("$$ $ALLOT_DISTRIBUTOR_ID") + "; kill -STOP $$; echo went on");
  Session session;
  const auto submitting = session.submit(batch.single(0));
  const auto words = split_words(rendezvous.next_arrival("the task"));
  REQUIRE(words.size() == 2);
  const auto answer = must(session->terminate_task_instances({words[1]}, milliseconds(200)));
  CHECK(outcome_of(answer, words[1]) == TerminationOutcome::gone);
  CHECK(session.await_end(words[1]).exit_class == ExitClass::killed);
}

TEST_CASE("terminating queued elements removes them and leaves the siblings alone", "[terminate][queued]") {
  FullHouse house(4);
  Session& session = *house.session;
  const std::vector<std::string> removed = {house.id(house.queued[0]), house.id(house.queued[2])};
  const auto answer = must(session->terminate_task_instances(removed));
  CHECK(answer.size() == 2);
  for (const auto& id : removed) {
    CHECK(outcome_of(answer, id) == TerminationOutcome::removed);
    CHECK(session.await_end(id).exit_class == ExitClass::killed);
    CHECK(session.ended(id).exit_class == ExitClass::killed);
    CHECK(session.snapshot().phases.count(id) == 0);
  }
  for (const auto& element : house.running) CHECK(is_alive(element.process));

  for (std::uint64_t step = 0; step < house.batch.size(); ++step) house.rendezvous.open_gate(std::to_string(step));
  for (std::uint64_t step = 0; step < house.batch.size(); ++step) {
    const bool was_removed = step == house.queued[0] || step == house.queued[2];
    const ExitInfo info = session.await_end(house.id(step));
    CHECK(info.exit_class == (was_removed ? ExitClass::killed : ExitClass::done));
    CHECK(house.attempts(step) == (was_removed ? 0 : 1));
  }
  const auto second = must(session->terminate_task_instances(removed));
  for (const auto& id : removed) CHECK(outcome_of(second, id) == TerminationOutcome::already_finished);
}

TEST_CASE("terminating one running element leaves its siblings alone", "[terminate]") {
  ClusterOptions options;
  options.slots = 3;
  FullHouse house(2, options);
  Session& session = *house.session;
  const auto victim = house.running.back();
  const auto answer = must(session->terminate_task_instances({victim.distributor_id}, milliseconds(200)));
  CHECK(outcome_of(answer, victim.distributor_id) == TerminationOutcome::gone);
  CHECK_FALSE(is_alive(victim.process));
  for (std::size_t i = 0; i + 1 < house.running.size(); ++i) CHECK(is_alive(house.running[i].process));
  for (std::uint64_t step = 0; step < house.batch.size(); ++step) {
    if (step != victim.array_step) house.rendezvous.open_gate(std::to_string(step));
  }
  for (std::uint64_t step = 0; step < house.batch.size(); ++step) {
    CHECK(session.await_end(house.id(step)).exit_class ==
          (step == victim.array_step ? ExitClass::killed : ExitClass::done));
  }
}

TEST_CASE("running and queued elements go in one call", "[terminate]") {
  FullHouse house(3);
  Session& session = *house.session;
  const auto ids = house.submitting.ids();
  const auto answer = must(session->terminate_task_instances(ids, milliseconds(200)));
  CHECK(answer.size() == ids.size());
  for (const auto& element : house.running) {
    CHECK(outcome_of(answer, element.distributor_id) == TerminationOutcome::gone);
    CHECK_FALSE(is_alive(element.process));
  }
  for (const auto step : house.queued) {
    CHECK(outcome_of(answer, house.id(step)) == TerminationOutcome::removed);
    CHECK(house.attempts(step) == 0);
  }
  for (const auto& id : ids) CHECK(session.await_end(id).exit_class == ExitClass::killed);
  CHECK(session.snapshot().phases.empty());
  CHECK(must(house.submitting.answer()).size() == ids.size());
}

TEST_CASE("the answer of terminate has every id asked for", "[terminate]") {
  Batch batch;
  Session session;
  const auto finished = session.run(batch.single_line("exit 2")).at(0);
  const std::vector<std::string> asked = {finished, "0123456789ab", "0123456789ab_4", "", "not an id", finished};
  for (int time = 0; time < 2; ++time) {
    const auto answer = must(session->terminate_task_instances(asked));
    CHECK(answer.size() == 5);
    CHECK(outcome_of(answer, finished) == TerminationOutcome::already_finished);
    for (const std::string unknown : {"0123456789ab", "0123456789ab_4", "", "not an id"}) {
      CHECK(outcome_of(answer, unknown) == TerminationOutcome::unknown_id);
    }
  }
  CHECK(session.ended(finished).exit_code == 2);  // untouched
  CHECK(must(session->terminate_task_instances({})).empty());
}

TEST_CASE("an array step that was never submitted is an unknown id", "[terminate]") {
  Batch batch;
  batch.add_line("true", 2);
  Session session;
  const auto ids = session.run(batch.array(0, 2));
  const std::string base = parse_distributor_id(ids[0])->base;
  for (const std::string& id : {base, base + "_2", base + "_9999999"}) {
    CHECK(outcome_of(must(session->terminate_task_instances({id})), id) == TerminationOutcome::unknown_id);
    CHECK_FALSE(session.exit_info(id).has_value());
  }
}

TEST_CASE("a second call with a shorter grace cuts the first one short", "[terminate]") {
  Rendezvous rendezvous;
  Batch batch;
  batch.add_line("trap '" + rendezvous.arrive("got TERM") + "' TERM; " + rendezvous.arrive("$$ $ALLOT_DISTRIBUTOR_ID") +
                 "; while :; do sleep 1000 & wait; done");
  Session session;
  const auto submitting = session.submit(batch.single(0));
  const auto words = split_words(rendezvous.next_arrival("the task"));
  REQUIRE(words.size() == 2);
  const ProcessIdentity task = identify(words[0]);
  const auto first =
      session.in_background([&] { return session->terminate_task_instances({words[1]}, std::chrono::seconds(1000)); });
  CHECK(rendezvous.next_arrival("the task's word that TERM came") == "got TERM");
  CHECK(is_alive(task));
  const auto second = must(session->terminate_task_instances({words[1]}, milliseconds(0)));
  CHECK(outcome_of(second, words[1]) == TerminationOutcome::gone);
  CHECK_FALSE(is_alive(task));
  CHECK(outcome_of(must(must_answer(first)), words[1]) == TerminationOutcome::gone);
  CHECK(session.await_end(words[1]).exit_class == ExitClass::killed);
}

}  // namespace allot::contract
