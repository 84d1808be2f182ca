// SPDX-License-Identifier: MIT
// Who starts first: priorities, and batches that share a cluster. Where submit waits for its tasks no submission waits
// beside another: there is nothing to choose from.
#include <algorithm>
#include <map>

#include "tests/contract/session.h"
#include "tests/support/catch.h"

namespace allot::contract {

namespace {

Submission with_priority(Submission submission, std::int32_t priority) {
  submission.priority = priority;
  return submission;
}

ClusterOptions with_slots(std::int64_t slots) {
  ClusterOptions options;
  options.slots = slots;
  return options;
}

}  // namespace

TEST_CASE("tasks of higher priority start first whatever was submitted before", "[priority]") {
  if (harness().traits.synchronous) return;
  TempDir dir;
  Rendezvous rendezvous;
  rendezvous.make_gate("0");
  Batch batch, other;
  batch.add_line(rendezvous.array_element());
  const auto line = [&](const std::string& what) {
    return "echo " + what + " $ALLOT_ARRAY_STEP_ID >> " + (dir / "order");
  };
  Session session(with_slots(1));
  const auto holder = session.submit(batch.array(0, 1));
  next_element(rendezvous);
  std::vector<Submitting> submitted;
  for (const std::int32_t priority : {0, 5, -3, 5, 2'000'000'000, -2'000'000'000}) {
    for (Batch* one : {&batch, &other}) {
      const auto first = one->add_line(line(std::to_string(priority) + (one == &batch ? " one" : " other")), 3);
      submitted.push_back(session.submit(with_priority(one->array(first, 3), priority)));
    }
  }
  rendezvous.open_gate("0");
  for (const auto& submitting : submitted) session.await_ends(submitting.ids());
  const auto order = read_lines(dir / "order");
  REQUIRE(order.size() == 36);
  std::map<std::string, std::vector<int>> steps;  // by priority and batch
  for (std::size_t i = 0; i < order.size(); ++i) {
    INFO(i << ": " << order[i]);
    const auto words = split_words(order[i]);
    if (i > 0) CHECK(std::stoi(words[0]) <= std::stoi(split_words(order[i - 1])[0]));
    steps[words[0] + words[1]].push_back(std::stoi(words[2]));
  }
  for (const auto& [what, list] : steps) {
    INFO(what);
    CHECK(list == (list.size() == 3 ? std::vector<int>{0, 1, 2} : std::vector<int>{0, 1, 2, 0, 1, 2}));
  }
}

TEST_CASE("what was handed out ahead of time holds up a higher priority for a moment only", "[priority]") {
  if (harness().traits.synchronous) return;
  // Short tasks first, so that many of the long ones behind them are handed out early.
  const bool has_scheduler = harness().traits.has_scheduler;  // which needs its time for each
  const std::uint64_t kShort = has_scheduler ? 10 : 600, kLong = has_scheduler ? 20 : 60;
  Rendezvous rendezvous;
  for (std::uint64_t step = kShort; step < kShort + kLong; ++step) rendezvous.make_gate(std::to_string(step));
  rendezvous.make_gate("urgent");
  Batch batch;
  batch.add_line(
      "[ $ALLOT_ARRAY_STEP_ID -lt " + std::to_string(kShort) + " ] || { " + rendezvous.array_element() + "; }",
      kShort + kLong);
  const auto urgent = batch.add_line(rendezvous.arrive("urgent") + "; " + rendezvous.wait_at("urgent"));
  Session session(with_slots(2));
  const auto low = session.submit(batch.array(0, kShort + kLong));
  std::vector<std::uint64_t> running;
  for (int i = 0; i < 2; ++i) running.push_back(next_element(rendezvous).array_step);
  const auto high = session.submit(with_priority(batch.single(urgent), 1));
  std::size_t before_it = 0;
  for (;;) {
    rendezvous.open_gate(std::to_string(running.front()));
    running.erase(running.begin());
    const std::string line = rendezvous.next_arrival("the next task");
    if (line == "urgent") break;
    running.push_back(parse_arrival(line).array_step);
    ++before_it;
  }
  CHECK(before_it <= 10);
  CHECK(session.await(high.id_of(urgent), TaskPhase::running).node == node_name(with_slots(2)));
  rendezvous.open_gate("urgent");
  for (std::uint64_t step = kShort; step < kShort + kLong; ++step) rendezvous.open_gate(std::to_string(step));
  session.await_ends(low.ids());
  session.await_end(high.id_of(urgent));
}

TEST_CASE("a small batch does not wait for a big one", "[fairness]") {
  if (harness().traits.synchronous || harness().traits.has_scheduler) return;
  constexpr std::uint64_t kBig = 40;
  constexpr std::uint64_t kSmall = 4;
  Rendezvous rendezvous;
  rendezvous.make_gates(kBig);
  for (std::uint64_t i = 0; i < kSmall; ++i) rendezvous.make_gate(std::to_string(kBig + i));
  Batch big, small;
  big.add_line(rendezvous.array_element(), kBig);
  small.add_line("true", kBig);
  small.add_line(rendezvous.array_element(), kSmall);
  Session session(with_slots(2));
  const auto first = session.submit(big.array(0, kBig));
  std::vector<std::uint64_t> running;
  for (int i = 0; i < 2; ++i) running.push_back(next_element(rendezvous).array_step);
  Submission late = small.submission(StepRanges(kBig, kSmall), true);  // its array steps tell them apart
  const auto second = session.submit(late);
  const auto is_small = [](std::uint64_t step) { return step >= kBig; };
  // Once what runs its tasks has started, which may take a few tasks of the big one...
  std::uint64_t waited = 0;
  while (!is_small(running[0]) && ++waited < kBig - 10) {
    rendezvous.open_gate(std::to_string(running[0]));
    running[0] = next_element(rendezvous).array_step;
  }
  REQUIRE(is_small(running[0]));
  // ... each has one of the two slots until the small one is through.
  for (int round = 0; round < 6; ++round) {
    const std::size_t which = static_cast<std::size_t>(round) % 2;
    rendezvous.open_gate(std::to_string(running[which]));
    running[which] = next_element(rendezvous).array_step;
    INFO("round " << round << ": " << running[0] << " and " << running[1]);
    CHECK(is_small(running[0]) != is_small(running[1]));
  }
  for (std::uint64_t step = 0; step < kBig + kSmall; ++step) rendezvous.open_gate(std::to_string(step));
  session.await_ends(second.ids());
  session.await_ends(first.ids());
}

TEST_CASE("a wide task of one batch is not starved by narrow ones of another", "[fairness][packing]") {
  if (harness().traits.synchronous || harness().traits.has_scheduler) return;
  constexpr std::uint64_t kNarrow = 40;
  Rendezvous rendezvous;
  rendezvous.make_gates(kNarrow);
  rendezvous.make_gate("wide");
  Batch narrow, other;
  narrow.add_line(rendezvous.array_element(), kNarrow);
  Session session(with_slots(2));
  const auto many = session.submit(narrow.array(0, kNarrow));
  for (int i = 0; i < 2; ++i) next_element(rendezvous);
  Submission wide = other.single_line(rendezvous.arrive("wide") + "; " + rendezvous.wait_at("wide"));
  wide.resources.cores = 2;
  const auto one = session.submit(wide);
  // One place becomes free: the wide task has it, although it needs both.
  rendezvous.open_gate("0");
  session.await_end(many.id_of(0));
  rendezvous.open_gate("1");
  CHECK(rendezvous.next_arrival("the wide task") == "wide");
  rendezvous.open_gate("wide");
  for (std::uint64_t step = 2; step < kNarrow; ++step) rendezvous.open_gate(std::to_string(step));
  session.await_end(one.id_of(wide.steps.front()));
  session.await_ends(many.ids());
}

TEST_CASE("a task that waits says what its scheduler says", "[explain]") {
  if (!harness().traits.has_scheduler) return;
  const ClusterOptions options = with_slots(1);
  Rendezvous rendezvous;
  rendezvous.make_gates(2);
  Batch batch;
  batch.add_line(rendezvous.array_element(), 2);
  Session session(options);
  const auto submitting = session.submit(batch.array(0, 2));
  const auto first = next_element(rendezvous).distributor_id;
  auto ids = submitting.ids();
  std::erase(ids, first);
  const auto reason = [&] { return must(session->explain_pending(ids)).at(ids.at(0)); };
  const std::string text = reason();
  INFO(text);
  const bool names_a_reason = text.find("Slurm says Resources") == 0 || text.find("Slurm says Priority") == 0 ||
                              text.find("Slurm says None") == 0;
  CHECK(names_a_reason);
  CHECK(must(session->hold(ids)) == 1);
  CHECK(reason().find("held") != std::string::npos);
  CHECK(must(session->release(ids)) == 1);
  rendezvous.open_gate("0");
  rendezvous.open_gate("1");
  session.await_ends(submitting.ids());
}

TEST_CASE("a task that waits says truly what it waits for", "[explain][priority]") {
  if (harness().traits.synchronous || harness().traits.has_scheduler) return;
  ClusterOptions options = with_slots(2);
  options.memory_bytes = std::int64_t{1000} << 20;
  Rendezvous rendezvous;
  rendezvous.make_gates(3);
  Batch batch, other;
  batch.add_line(rendezvous.array_element(), 3);
  batch.add_line("true", 4);
  Session session(options);
  Submission running = batch.array(0, 1);
  running.resources.memory_bytes = std::uint64_t{800} << 20;
  const auto holder = session.submit(running);
  next_element(rendezvous);
  const auto reason = [&](const std::string& id) { return must(session->explain_pending({id})).at(id); };
  const auto has = [](const std::string& text, const std::string& word) {
    INFO(text);
    CHECK(text.find(word) != std::string::npos);
  };

  Submission large = batch.submission(StepRanges(3, 1), true);
  large.resources.memory_bytes = std::uint64_t{400} << 20;
  const auto short_of_memory = session.submit(large);
  has(reason(short_of_memory.id_of(3)), "400M of memory");
  Submission behind = batch.submission(StepRanges(4, 1), true);
  const auto overtakes_nobody = session.submit(behind);
  has(reason(overtakes_nobody.id_of(4)), "the task before it waits for 400M of memory");
  has(reason(session.submit(with_priority(batch.submission(StepRanges(5, 1), true), -4)).id_of(5)), "priority 0");
  const std::string held = overtakes_nobody.id_of(4);
  CHECK(must(session->hold({held})) == 1);
  has(reason(held), "held");
  CHECK(must(session->terminate_task_instances({short_of_memory.id_of(3)})).size() == 1);

  // Both cores are taken by this batch; another one waits.
  const auto narrow = session.submit(batch.submission(StepRanges(1, 1), true));
  next_element(rendezvous);
  const Submission foreign = other.single_line("true");
  const std::string waits = session.submit(foreign).id_of(0);
  has(reason(waits), "1 core");
  has(reason(waits), "2 are in use");
  has(reason(waits), "all by other batches");
  CHECK(must(session->release({held})) == 1);
  rendezvous.open_gate("0");
  rendezvous.open_gate("1");
  session.await_end(waits);
  session.await_end(held);
  session.await_end(narrow.id_of(1));
  session.await_ends(holder.ids());
}

}  // namespace allot::contract
