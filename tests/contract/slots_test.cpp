// SPDX-License-Identifier: MIT
// Slots: all of them are used, and neither they nor cores nor memory are ever oversubscribed.
#include <algorithm>
#include <map>

#include "tests/contract/session.h"
#include "tests/support/catch.h"

namespace allot::contract {

namespace {

// Tasks that report when they run and wait to be let on; keeps account of what those running asked for.
class Account {
 public:
  explicit Account(std::uint64_t count) : count_(count) { rendezvous_.make_gates(count); }
  std::string line() const { return rendezvous_.array_element(); }

  // `shares` is what each array step asks for. Lets tasks through one by one; what arrives before the next is let
  // through must fit beside those that run, and so must what the plugin itself says is running.
  void run_all(Session& session, const std::vector<std::uint64_t>& shares, std::uint64_t capacity) {
    std::vector<ArrivedElement> running;
    std::uint64_t in_use = 0;
    for (std::uint64_t arrived = 0; arrived < count_ || !running.empty();) {
      while (arrived < count_) {
        // Somebody must come while nobody runs; else only those that are there already are taken in.
        const auto line =
            running.empty() ? rendezvous_.next_arrival("a task, with all slots free") : rendezvous_.poll_arrival();
        if (!line) break;
        ++arrived;
        running.push_back(parse_arrival(*line));
        in_use += shares[running.back().array_step];
        most_running_ = std::max<std::uint64_t>(most_running_, running.size());
        INFO("arrival " << arrived << " of step " << running.back().array_step);
        CHECK(in_use <= capacity);
      }
      CHECK(claimed(session.snapshot(), shares) <= capacity);
      const ArrivedElement next = running.front();
      running.erase(running.begin());
      rendezvous_.open_gate(std::to_string(next.array_step));
      session.await_end(next.distributor_id);
      in_use -= shares[next.array_step];
    }
  }
  Rendezvous& rendezvous() { return rendezvous_; }
  std::uint64_t most_running() const { return most_running_; }

 private:
  static std::uint64_t claimed(const Snapshot& snapshot, const std::vector<std::uint64_t>& shares) {
    std::uint64_t sum = 0;
    for (const auto& [id, phase] : snapshot.phases) {
      if (phase == TaskPhase::running) sum += shares.at(parse_distributor_id(id).value().array_step.value());
    }
    return sum;
  }

  Rendezvous rendezvous_;
  std::uint64_t count_;
  std::uint64_t most_running_ = 0;
};

}  // namespace

TEST_CASE("as many tasks run at once as there are slots and never more", "[slots]") {
  ClusterOptions options;
  options.slots = 3;
  constexpr std::uint64_t kTasks = 12;
  Account account(kTasks);
  Batch batch;
  batch.add_line(account.line(), kTasks);
  Session session(options);
  const auto submitting = session.submit(batch.array(0, kTasks));
  // All slots fill up while nobody is let through: each of these arrivals is waited for.
  std::vector<ArrivedElement> first;
  for (std::uint64_t i = 0; i < session.slots(); ++i) first.push_back(next_element(account.rendezvous()));
  for (const auto& element : first) session.await(element.distributor_id, TaskPhase::running);
  const Snapshot snapshot = session.snapshot();
  CHECK(std::count_if(snapshot.phases.begin(), snapshot.phases.end(), [](const auto& entry) {
          return entry.second == TaskPhase::running;
        }) == static_cast<std::ptrdiff_t>(session.slots()));
  CHECK_FALSE(account.rendezvous().poll_arrival().has_value());

  // One let through, one new one: the number that runs stays where it is until the queue is empty.
  std::vector<std::uint64_t> running;
  for (const auto& element : first) running.push_back(element.array_step);
  for (std::uint64_t arrived = first.size(); arrived < kTasks; ++arrived) {
    account.rendezvous().open_gate(std::to_string(running.front()));
    running.erase(running.begin());
    running.push_back(next_element(account.rendezvous()).array_step);
    CHECK_FALSE(account.rendezvous().poll_arrival().has_value());
  }
  for (const auto step : running) account.rendezvous().open_gate(std::to_string(step));
  session.await_ends(submitting.ids());
}

TEST_CASE("tasks of several cores are packed and never oversubscribe", "[slots][packing]") {
  ClusterOptions options;
  options.slots = 4;
  const std::uint64_t capacity = slots_of(options);
  const std::uint64_t wide = std::min<std::uint64_t>(3, capacity);
  const std::uint64_t middle = std::min<std::uint64_t>(2, capacity);
  constexpr std::uint64_t kEach = 10;  // the mixture changes often, also to one kind only
  Account account(3 * kEach);
  Batch batch;
  batch.add_line(account.line(), 3 * kEach);
  Session session(options);
  std::vector<std::uint64_t> shares;
  std::vector<Submitting> submittings;
  for (const std::uint64_t cores : {wide, std::uint64_t{1}, middle}) {
    Submission submission = batch.submission(StepRanges(shares.size(), kEach), true);
    submission.resources.cores = static_cast<std::uint32_t>(cores);
    shares.insert(shares.end(), kEach, cores);
    submittings.push_back(session.submit(submission));
  }
  account.run_all(session, shares, capacity);
  for (const auto& submitting : submittings) session.await_ends(submitting.ids());
  const auto usage = must(session->get_usage_stats({submittings[0].id_of(0), submittings[1].id_of(kEach)}));
  CHECK(usage.at(submittings[0].id_of(0)).cores == wide);
  CHECK(usage.at(submittings[1].id_of(kEach)).cores == 1);
}

TEST_CASE("a wide task and a narrow one share the cluster at the same time", "[slots][packing]") {
  ClusterOptions options;
  options.slots = 4;
  Rendezvous rendezvous;
  rendezvous.make_gates(2);
  Batch batch;
  batch.add_line(rendezvous.array_element(), 2);
  Session session(options);
  Submission wide = batch.submission(StepRanges(0, 1), true);
  wide.resources.cores = static_cast<std::uint32_t>(std::max<std::uint64_t>(session.slots(), 2) - 1);
  Submission narrow = batch.submission(StepRanges(1, 1), true);
  narrow.resources.cores = 1;
  const auto first = session.submit(wide);
  const auto second = session.submit(narrow);
  // No gate opens before both have come; with one slot they follow on each other.
  std::vector<std::string> waiting;
  for (int i = 0; i < 2; ++i) {
    waiting.push_back(std::to_string(next_element(rendezvous).array_step));
    if (session.slots() > 1 && i == 0) continue;
    for (const auto& step : waiting) rendezvous.open_gate(step);
    waiting.clear();
  }
  CHECK(session.await_end(first.id_of(0)).is_done());
  CHECK(session.await_end(second.id_of(1)).is_done());
}

TEST_CASE("tasks that ask for memory never oversubscribe it", "[slots][packing]") {
  ClusterOptions options;
  options.slots = 4;
  options.memory_bytes = std::int64_t{1000} << 20;
  constexpr std::uint64_t kTasks = 8;
  Account account(kTasks);
  Batch batch;
  batch.add_line(account.line(), kTasks);
  Session session(options);
  Submission submission = batch.array(0, kTasks);
  submission.resources.memory_bytes = std::uint64_t{400} << 20;
  const auto submitting = session.submit(submission);
  account.run_all(session, std::vector<std::uint64_t>(kTasks, 400), slots_of(options) == 1 ? 400 : 1000);
  CHECK(account.most_running() <= 2);
  session.await_ends(submitting.ids());
}

TEST_CASE("a task that waits for room does not starve", "[slots][packing]") {
  if (harness().traits.has_scheduler) return;
  // Narrow tasks keep coming; the wide one that came first must get its turn before all of them are through.
  ClusterOptions options;
  options.slots = 2;
  const auto capacity = static_cast<std::uint32_t>(slots_of(options));
  constexpr std::uint64_t kNarrow = 300;
  TempDir dir;
  Batch batch;
  batch.add_line("echo $ALLOT_ARRAY_STEP_ID >> " + (dir / "order"), 10);
  const auto wide_step = batch.add_line("echo wide >> " + (dir / "order"));
  batch.add_line("echo $ALLOT_ARRAY_STEP_ID >> " + (dir / "order"), kNarrow);
  Session session(options);
  // Where submit waits for the tasks, the order of three submits at once would be that of the threads.
  const auto in_order = [](const Submitting& submitting) {
    if (harness().traits.synchronous) must(submitting.answer());
    return submitting;
  };
  const auto before = in_order(session.submit(batch.array(0, 10)));
  Submission wide = batch.single(wide_step);
  wide.resources.cores = capacity;
  const auto middle = in_order(session.submit(wide));
  const auto after = session.submit(batch.array(wide_step + 1, kNarrow));
  session.await_ends(before.ids());
  session.await_ends(after.ids());
  session.await_end(middle.id_of(wide_step));
  const auto order = read_lines(dir / "order");
  const auto at = std::find(order.begin(), order.end(), "wide") - order.begin();
  CHECK(at < static_cast<std::ptrdiff_t>(order.size()) - 100);
}

}  // namespace allot::contract
