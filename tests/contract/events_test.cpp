// SPDX-License-Identifier: MIT
// The event stream: numbered without gaps, at least once, told only after it is stored.
#include <poll.h>

#include <algorithm>

#include "tests/contract/session.h"
#include "tests/support/catch.h"

namespace allot::contract {

namespace {

using std::chrono::milliseconds;

bool is_readable(int descriptor, milliseconds limit) {
  pollfd waiting{descriptor, POLLIN, 0};
  return ::poll(&waiting, 1, static_cast<int>(limit.count())) == 1 && (waiting.revents & POLLIN) != 0;
}

bool same(const Event& a, const Event& b) {
  return a.sequence == b.sequence && a.distributor_id == b.distributor_id && a.phase == b.phase && a.step == b.step &&
         a.submission == b.submission && a.batch_directory == b.batch_directory &&
         a.exit_info.has_value() == b.exit_info.has_value();
}

}  // namespace

TEST_CASE("a task's events come in order and name the task", "[events]") {
  Batch batch;
  batch.add_line("exit 0", 2);
  batch.add_line("exit 3", 2);
  Submission submission = batch.array(1, 2);
  Session session;
  const auto started = std::chrono::system_clock::now();
  const auto ids = session.run(submission);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const Event* running = session.find(ids[i], TaskPhase::running);
    const Event* finished = session.find(ids[i], TaskPhase::finished);
    REQUIRE(running != nullptr);
    REQUIRE(finished != nullptr);
    CHECK(running->sequence < finished->sequence);
    for (const Event* event : {running, finished}) {
      CHECK(event->batch_directory == submission.batch_directory);
      CHECK(event->submission == submission.number);
      CHECK(event->step == 1 + i);
      CHECK(event->at >= started - milliseconds(1));
      CHECK(event->at <= std::chrono::system_clock::now());
    }
    CHECK(finished->wall_seconds.has_value());
    CHECK(finished->max_rss_bytes.has_value());
    CHECK_FALSE(finished->output_incomplete);
    CHECK(finished->exit_info->exit_class == (i == 0 ? ExitClass::done : ExitClass::error));
  }
}

TEST_CASE("the record is on disk when the event comes", "[events]") {
  Rendezvous rendezvous;
  Batch batch;
  for (int i = 0; i < 6; ++i) batch.add_line("echo out " + std::to_string(i) + "; exit " + std::to_string(i));
  Session session;
  const auto submitting = session.submit(batch.array(0, 6));
  for (std::uint64_t step = 0; step < 6; ++step) {
    const ExitInfo info = session.await_end(submitting.id_of(step));
    const TaskDetail detail = batch.detail(step);
    CHECK(detail.exit_info.exit_class == info.exit_class);
    CHECK(detail.exit_info.exit_code == info.exit_code);
    CHECK(detail.ended_ns >= detail.started_ns);
    CHECK(detail.started_ns > 0);
    CHECK(batch.output(step) == "out " + std::to_string(step) + "\n");
  }
  CHECK(batch.fold().damage().empty());
}

TEST_CASE("events come again until the cursor passes them", "[events][cursor]") {
  Batch batch;
  Session session;
  session.run(batch.single_line("true"));
  const std::uint64_t acknowledged = session.events().size();
  // From here on the cursor stands still, so the same events must come again and again.
  session.submit(batch.single_line("exit 1"));
  std::vector<Event> first;
  const auto deadline = std::chrono::steady_clock::now() + patience();
  while (first.empty() || first.back().phase != TaskPhase::finished) {
    REQUIRE(std::chrono::steady_clock::now() < deadline);
    first = must(session->wait_for_events(acknowledged, milliseconds(50)));
  }
  const auto second = must(session->wait_for_events(acknowledged, milliseconds(1000)));
  REQUIRE(second.size() == first.size());
  for (std::size_t i = 0; i < first.size(); ++i) {
    CHECK(first[i].sequence == acknowledged + 1 + i);
    CHECK(same(first[i], second[i]));
  }
  // A cursor in between gives the rest.
  const auto rest = must(session->wait_for_events(first[0].sequence, milliseconds(1000)));
  REQUIRE(rest.size() == first.size() - 1);
  if (!rest.empty()) CHECK(same(rest[0], first[1]));
  CHECK(must(session->wait_for_events(first.back().sequence, milliseconds(0))).empty());
}

TEST_CASE("waiting for events ends in time when there are none", "[events]") {
  Session session;
  const auto before = std::chrono::steady_clock::now();
  CHECK(must(session->wait_for_events(0, milliseconds(0))).empty());
  CHECK(must(session->wait_for_events(0, milliseconds(80))).empty());
  const auto took = std::chrono::steady_clock::now() - before;
  CHECK(took >= milliseconds(79));
  CHECK(took < bound(std::chrono::seconds(5)));
}

TEST_CASE("a waiter is woken by the event", "[events]") {
  Rendezvous rendezvous;
  rendezvous.make_gate("0");
  Batch batch;
  batch.add_line(rendezvous.array_element());
  Session session;
  session.submit(batch.array(0, 1));
  const auto element = next_element(rendezvous);
  session.await(element.distributor_id, TaskPhase::running);
  const std::uint64_t cursor = session.events().size();
  const auto waiting = session.in_background([&] { return session->wait_for_events(cursor, std::chrono::hours(1)); });
  rendezvous.open_gate("0");
  const auto events = must(must_answer(waiting));
  REQUIRE_FALSE(events.empty());
  CHECK(events[0].sequence == cursor + 1);
}

TEST_CASE("the descriptor is readable exactly while there are events to take", "[events][descriptor]") {
  Rendezvous rendezvous;
  rendezvous.make_gate("0");
  Batch batch;
  batch.add_line(rendezvous.array_element());
  Session session;
  const auto descriptor = session->event_descriptor();
  if (!descriptor) {
    CHECK(descriptor.error().code == ErrorCode::unsupported);
    return;
  }
  CHECK_FALSE(is_readable(*descriptor, milliseconds(0)));
  session.submit(batch.array(0, 1));
  CHECK(is_readable(*descriptor, patience()));
  const auto element = next_element(rendezvous);
  session.await(element.distributor_id, TaskPhase::running);
  // Everything up to here is acknowledged by the next call's cursor, and the task waits at its gate.
  CHECK(must(session->wait_for_events(session.events().size(), milliseconds(0))).empty());
  CHECK_FALSE(is_readable(*descriptor, milliseconds(0)));
  rendezvous.open_gate("0");
  CHECK(is_readable(*descriptor, patience()));
  CHECK(must(session->wait_for_events(session.events().size(), milliseconds(0))).size() >= 1);
  CHECK(is_readable(*descriptor, milliseconds(0)));  // not acknowledged yet
  session.await_end(element.distributor_id);
  CHECK(must(session->wait_for_events(session.events().size(), milliseconds(0))).empty());
  CHECK_FALSE(is_readable(*descriptor, milliseconds(0)));
  CHECK(*descriptor == must(session->event_descriptor()));
}

TEST_CASE("many events come in portions without a gap", "[events]") {
  // Each task has two events at least, so that there is more than one portion of 4096.
  constexpr std::uint64_t kTasks = 2100;
  Batch batch;
  TaskSpec task;
  task.argv = {"true"};
  batch.add(task, kTasks);
  ClusterOptions options;
  options.more["pack"] = std::string("500");  // where a scheduler needs its time for each
  Session session(options);
  const auto submitting = session.submit(batch.array(0, kTasks));
  std::vector<Event> portion;
  const auto deadline = std::chrono::steady_clock::now() + 2 * patience();
  while (portion.size() < 4096) {
    REQUIRE(std::chrono::steady_clock::now() < deadline);
    ::poll(nullptr, 0, 20);  // events at this cursor are there, so that the call itself does not wait
    portion = must(session->wait_for_events(0, milliseconds(0)));
  }
  CHECK(portion.size() == 4096);
  session.await_ends(submitting.ids());  // checks every number
  CHECK(session.events().size() >= 2 * kTasks);
}

}  // namespace allot::contract
