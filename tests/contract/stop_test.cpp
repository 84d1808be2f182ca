// SPDX-License-Identifier: MIT
// start and stop: idempotent, prompt, and nothing is left behind or run after.
#include <algorithm>
#include <csignal>
#include <set>

#include "process/identity.h"
#include "tests/contract/session.h"
#include "tests/support/catch.h"

namespace allot::contract {

namespace {

using std::chrono::milliseconds;

constexpr milliseconds kStopBound{5000};  // beyond the kill grace

}  // namespace

TEST_CASE("start and stop may be repeated", "[lifecycle]") {
  const auto distributor = make_distributor();
  must(distributor->start());
  must(distributor->start());
  must(distributor->stop());
  must(distributor->stop());
  const auto never_started = make_distributor();
  must(never_started->stop());
  CHECK(own_descendants() == std::vector<std::string>{});
}

TEST_CASE("a distributor that is only destroyed leaves nothing behind", "[lifecycle]") {
  const std::size_t before = open_descriptors();
  {
    Batch batch;
    const auto distributor = make_distributor();
    must(distributor->start());
    must(distributor->submit(batch.single_line("true")));
  }
  CHECK(own_descendants() == std::vector<std::string>{});
  CHECK(open_descriptors() == before);
}

TEST_CASE("stop is prompt and runs nothing after and leaves no process", "[lifecycle][stop]") {
  // Jobmon's stop waited for a running task and then ran a queued one after it had returned.
  const std::size_t descriptors = open_descriptors();
  Rendezvous rendezvous;
  const std::size_t held_by_test = open_descriptors() - descriptors;
  Batch batch;
  ClusterOptions options;
  const std::uint64_t count = slots_of(options) + 20;
  batch.add_line("trap '' TERM; echo ran >> ran-$ALLOT_ARRAY_STEP_ID; " +
                     rendezvous.arrive("$ALLOT_ARRAY_STEP_ID $$ $ALLOT_DISTRIBUTOR_ID") +
                     "; while :; do sleep 1000; done",
                 count);
  {
    Session session(options);
    session.submit(batch.array(0, count));
    std::vector<ArrivedElement> running;
    std::set<std::uint64_t> running_steps;
    for (std::uint64_t i = 0; i < session.slots(); ++i) {
      running.push_back(next_element(rendezvous));
      running_steps.insert(running.back().array_step);
    }
    const auto took = session.stop();
    INFO("stop took " << took.count() << " ms");
    CHECK(took < bound(milliseconds(options.kill_grace_milliseconds) + kStopBound));
    for (const auto& element : running) CHECK_FALSE(is_alive(element.process));
    CHECK(own_descendants() == std::vector<std::string>{});

    const Fold fold = batch.fold();
    for (std::uint64_t step = 0; step < count; ++step) {
      INFO("step " << step);
      const bool ran = running_steps.count(step) == 1;
      CHECK(fold.task(step).attempts == (ran ? 1 : 0));
      CHECK(exists(batch.cwd() + "/ran-" + std::to_string(step)) == ran);
      // Nobody asked for the end of what waited: it stays to be resumed.
      if (!ran) CHECK(fold.task(step).state == TaskState::queued);
      CHECK(fold.task(step).state != TaskState::done);
    }
    CHECK(must_fail(session->submit(batch.single(0))).code == ErrorCode::gone);
    CHECK(must_fail(session->submit_to_batch_distributor("true", "late", {})).code == ErrorCode::gone);
  }
  for (std::uint64_t step = 0; step < count; ++step) {
    const std::string path = batch.cwd() + "/ran-" + std::to_string(step);
    if (exists(path)) CHECK(read_lines(path).size() == 1);
  }
  CHECK(open_descriptors() == descriptors + held_by_test);
}

TEST_CASE("stop right after a submission is as prompt", "[lifecycle][stop][race]") {
  // Workers may be just starting. No task runs that could use up the kill grace, so none of it is waited out.
  constexpr int kRounds = 5;
  Batch batch;
  batch.add_line("true", kRounds);
  for (std::uint64_t round = 0; round < kRounds; ++round) {
    Session session;
    session.submit(batch.array(round, 1));
    const auto took = session.stop();
    INFO("round " << round << " took " << took.count() << " ms");
    CHECK(took < bound(milliseconds(2000)));
    CHECK(own_descendants() == std::vector<std::string>{});
  }
}

TEST_CASE("a synchronous submit returns when the distributor is stopped", "[lifecycle][stop]") {
  Rendezvous rendezvous;
  rendezvous.make_gates(8);
  Batch batch;
  batch.add_line(rendezvous.array_element(), 8);
  Session session;
  const auto answer = session.call([&, submission = batch.array(0, 8)] { return session->submit(submission); });
  next_element(rendezvous);
  session.stop();
  must_answer(answer);
  CHECK(own_descendants() == std::vector<std::string>{});
}

TEST_CASE("stop while tasks come and go loses none and runs none twice", "[lifecycle][stop][race]") {
  constexpr std::uint64_t kTasks = 300;
  Batch batch;
  batch.add_line("echo ran >> ran-$ALLOT_ARRAY_STEP_ID", kTasks);
  std::uint64_t ran = 0;
  {
    Session session;
    const auto submitting = session.submit(batch.array(0, kTasks));
    session.await(submitting.id_of(0), TaskPhase::finished);
    session.stop();
    for (std::uint64_t step = 0; step < kTasks; ++step) ran += exists(batch.cwd() + "/ran-" + std::to_string(step));
  }
  CHECK(own_descendants() == std::vector<std::string>{});
  const Fold fold = batch.fold();
  std::uint64_t ran_later = 0;
  for (std::uint64_t step = 0; step < kTasks; ++step) {
    INFO("step " << step);
    const std::string path = batch.cwd() + "/ran-" + std::to_string(step);
    ran_later += exists(path);
    if (fold.task(step).state == TaskState::done) CHECK(read_lines(path).size() == 1);
    if (fold.task(step).attempts == 0) CHECK_FALSE(exists(path));
  }
  CHECK(ran_later == ran);
}

TEST_CASE("what stop left can be submitted to a new distributor", "[lifecycle][restart]") {
  ClusterOptions options;
  const std::uint64_t count = slots_of(options) + 5;
  Rendezvous rendezvous;
  rendezvous.make_gates(count);
  Batch batch;
  batch.add_line(rendezvous.array_element() + "; echo whole", count);
  std::set<std::string> old_ids;
  {
    Session session(options);
    const auto submitting = session.submit(batch.array(0, count));
    for (std::uint64_t i = 0; i < session.slots(); ++i) next_element(rendezvous);
    for (const auto& id : submitting.ids()) old_ids.insert(id);
    session.stop();
  }
  Session session(options);
  const auto submitting = session.submit(batch.array(0, count));
  for (std::uint64_t step = 0; step < count; ++step) rendezvous.open_gate(std::to_string(step));
  const auto ids = submitting.ids();
  session.await_ends(ids);
  for (std::uint64_t step = 0; step < count; ++step) {
    CHECK(old_ids.count(ids[step]) == 0);
    CHECK(session.ended(ids[step]).is_done());
    CHECK(batch.output(step) == "whole\n");
    CHECK(batch.detail(step).distributor_id == ids[step]);
  }
}

TEST_CASE("two distributors at once do not see each other", "[lifecycle]") {
  Rendezvous rendezvous;
  rendezvous.make_gates(2);
  Batch first_batch;
  Batch second_batch;
  first_batch.add_line(rendezvous.array_element(), 1);
  second_batch.add_line("echo \"$ALLOT_ARRAY_STEP_ID $$ $ALLOT_DISTRIBUTOR_ID\" > " + rendezvous.path() + "/arrive; " +
                        rendezvous.wait_at("1"));
  Session first;
  const auto one = first.submit(first_batch.array(0, 1));
  const auto one_element = next_element(rendezvous);
  Session second;
  const auto two = second.submit(second_batch.array(0, 1));
  const auto two_element = next_element(rendezvous);
  CHECK(one_element.distributor_id != two_element.distributor_id);
  CHECK(first.snapshot().phases.size() == 1);
  CHECK(second.snapshot().phases.size() == 1);
  CHECK_FALSE(second.exit_info(one_element.distributor_id).has_value());
  CHECK(must(second->terminate_task_instances({one_element.distributor_id})).begin()->second.outcome ==
        TerminationOutcome::unknown_id);
  second.stop();
  CHECK_FALSE(is_alive(two_element.process));
  CHECK(is_alive(one_element.process));
  rendezvous.open_gate("0");
  CHECK(first.await_end(one_element.distributor_id).is_done());
}

TEST_CASE("one distributor runs tasks of several batches", "[lifecycle]") {
  Batch first;
  Batch second;
  first.add_line("echo first $ALLOT_ARRAY_STEP_ID", 3);
  second.add_line("echo second $ALLOT_ARRAY_STEP_ID", 3);
  Session session;
  const auto one = session.submit(first.array(0, 3));
  const auto two = session.submit(second.array(0, 3));
  session.await_ends(one.ids());
  session.await_ends(two.ids());
  for (std::uint64_t step = 0; step < 3; ++step) {
    CHECK(first.output(step) == "first " + std::to_string(step) + "\n");
    CHECK(second.output(step) == "second " + std::to_string(step) + "\n");
  }
}

TEST_CASE("what a stop left queued says so after another start", "[lifecycle][restart]") {
  ClusterOptions options;
  options.slots = 1;
  Rendezvous rendezvous;
  rendezvous.make_gates(2);
  Batch batch;
  batch.add_line(rendezvous.array_element(), 2);
  Session session(options);
  const auto submitting = session.submit(batch.array(0, 2));
  const auto first = next_element(rendezvous);
  session.stop();
  must(session->start());
  std::string left;
  for (const auto& id : submitting.ids()) {
    if (id != first.distributor_id) left = id;
  }
  const auto reasons = must(session->explain_pending({left}));
  REQUIRE(reasons.count(left) == 1);
  CHECK(reasons.at(left).find("was stopped") != std::string::npos);
}

}  // namespace allot::contract
