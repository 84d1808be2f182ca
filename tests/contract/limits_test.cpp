// SPDX-License-Identifier: MIT
// Runtime and memory limits: what they end is told by its cause, and the whole tree goes.
#include <csignal>
#include <cstdint>

#include "process/identity.h"
#include "tests/contract/session.h"
#include "tests/support/catch.h"

namespace allot::contract {

namespace {

constexpr std::int64_t kRuntimeLimitMilliseconds = 400;

Submission limited(Batch& batch, std::string_view line, std::int64_t runtime_milliseconds = kRuntimeLimitMilliseconds) {
  Submission submission = batch.single_line(line);
  submission.resources.runtime_milliseconds = runtime_milliseconds;
  return submission;
}

void check_timed_out(const Batch& batch, std::uint64_t step, const ExitInfo& info) {
  INFO(describe(info) << ": " << info.text);
  CHECK(info.exit_class == ExitClass::timed_out);
  const TaskDetail detail = batch.detail(step);
  CHECK(detail.exit_info.exit_class == ExitClass::timed_out);
  REQUIRE(detail.usage.wall_seconds.has_value());
  CHECK(*detail.usage.wall_seconds >= kRuntimeLimitMilliseconds / 1000.0);
}

}  // namespace

TEST_CASE("a task that outlives its runtime limit is timed out", "[limits]") {
  Batch batch;
  Session session;
  const ExitInfo info = session.run_one(limited(batch, "exec sleep 1000"));
  check_timed_out(batch, 0, info);
  CHECK(info.signal == SIGTERM);
}

TEST_CASE("a task that exits 0 when its limit passes is timed out all the same", "[limits]") {
  Rendezvous rendezvous;
  Batch batch;
  Session session;
  const auto submitting =
      session.submit(limited(batch, "trap 'exit 0' TERM; sleep 1000 & echo ready; wait; echo never"));
  const ExitInfo info = session.await_end(submitting.id_of(0));
  check_timed_out(batch, 0, info);
  CHECK(batch.output(0) == "ready\n");
}

TEST_CASE("a task that ignores TERM is killed when its limit passes", "[limits]") {
  Batch batch;
  Session session;
  const ExitInfo info = session.run_one(limited(batch, "trap '' TERM; while :; do sleep 1000; done"));
  check_timed_out(batch, 0, info);
  CHECK(info.signal == SIGKILL);
}

TEST_CASE("a stopped task is ended by its limit", "[limits]") {
  Batch batch;
  Session session;
  check_timed_out(batch, 0, session.run_one(limited(batch, "kill -STOP $$; echo never")));
}

TEST_CASE("a limit ends the whole tree", "[limits][tree]") {
  Rendezvous rendezvous;
  Batch batch;
  Session session;
  const std::string line =
      "setsid sh -c 'trap \"\" TERM; echo $$ > " + rendezvous.path() + "/arrive; while :; do sleep 1000; done' & wait";
  const auto submitting = session.submit(limited(batch, line, 1500));
  const ProcessIdentity escaped = identify(rendezvous.next_arrival("the child in a session of its own"));
  const ExitInfo info = session.await_end(submitting.id_of(0));
  CHECK(info.exit_class == ExitClass::timed_out);
  CHECK_FALSE(is_alive(escaped));
}

TEST_CASE("waiting in the queue does not count against the runtime limit", "[limits]") {
  // TaskFlow ran one clock over waiting and running. One slot, and a task before this one that takes longer than the
  // limit.
  ClusterOptions options;
  options.slots = 1;
  Batch batch;
  batch.add_line("sleep 1");
  Session session(options);
  const auto before = session.submit(batch.single(0));
  const auto after = session.submit(limited(batch, "echo ran", 800));
  session.await_end(before.id_of(0));
  CHECK(session.await_end(after.id_of(1)).is_done());
  CHECK(batch.output(1) == "ran\n");
}

TEST_CASE("a task within its limits is not touched", "[limits]") {
  Batch batch;
  Session session;
  Submission submission = limited(batch, "echo fine", 60'000);
  submission.resources.memory_bytes = std::uint64_t{64} << 20;
  CHECK(session.run_one(submission).is_done());
}

TEST_CASE("a task that outgrows its memory is out of memory", "[limits][memory]") {
  Batch batch;
  Session session;
  Submission submission = batch.single_line("exec dd if=/dev/zero of=/dev/null bs=96M 2>/dev/null");
  submission.resources.memory_bytes = std::uint64_t{48} << 20;
  const ExitInfo info = session.run_one(submission);
  INFO(describe(info) << ": " << info.text);
  CHECK(info.exit_class == ExitClass::out_of_memory);
  CHECK_FALSE(info.text.empty());
  CHECK(batch.fold().task(0).exit_class == ExitClass::out_of_memory);
}

TEST_CASE("a task that was above its memory limit and ended before anyone looked is out of memory",
          "[limits][memory]") {
  // Tasks as short as these are over between two looks at them; what the kernel says of them at their end counts, too.
  constexpr std::uint64_t kTasks = 8;
  Batch batch;
  const std::uint64_t first = batch.add_line("exec dd if=/dev/zero of=/dev/null bs=96M count=1 2>/dev/null", kTasks);
  Session session;
  Submission submission = batch.array(first, kTasks);
  submission.resources.memory_bytes = std::uint64_t{64} << 20;
  session.run(submission);
  for (std::uint64_t step = first; step < first + kTasks; ++step) {
    const TaskDetail detail = batch.detail(step);
    INFO(describe(detail.exit_info) << ": " << detail.exit_info.text);
    CHECK(detail.exit_info.exit_class == ExitClass::out_of_memory);
    CHECK(detail.exit_info.text.find("of the 64.0 MiB allowed") != std::string::npos);
    if (detail.usage.tree_peak_bytes) {
      CHECK(*detail.usage.tree_peak_bytes >= detail.usage.max_rss_bytes.value_or(0));
    }
  }
}

TEST_CASE("pages that processes share count once against the memory limit", "[limits][memory]") {
  // Four processes with the same 40 MiB between them: 160 MiB as the sum of their resident sets.
  Batch batch;
  Session session;
  Submission submission = batch.single_line(
      "perl -e '$x = q(a) x 40_000_000; for (1..3) { if (!fork) { select undef, undef, undef, 0.5; exit } } "
      "1 while wait != -1'");
  submission.resources.memory_bytes = std::uint64_t{120} << 20;
  const ExitInfo info = session.run_one(submission);
  INFO(describe(info) << ": " << info.text);
  CHECK(info.is_done());
}

TEST_CASE("a runtime limit longer than a clock can tell is no limit", "[limits]") {
  constexpr std::int64_t kDay = 86'400'000;
  for (const std::int64_t limit : {200'000 * kDay, INT64_MAX}) {
    Batch batch;
    Session session;
    const ExitInfo info = session.run_one(limited(batch, "exec sleep 0.1", limit));
    INFO(limit << ": " << describe(info) << ": " << info.text);
    CHECK(info.is_done());
  }
}

TEST_CASE("the memory limit counts the tree and not one process", "[limits][memory]") {
  // Three processes of 40 MiB each: none is above 80 MiB alone.
  Batch batch;
  Session session;
  Submission submission =
      batch.single_line("for i in 1 2 3; do dd if=/dev/zero of=/dev/null bs=40M 2>/dev/null & done; wait");
  submission.resources.memory_bytes = std::uint64_t{80} << 20;
  CHECK(session.run_one(submission).exit_class == ExitClass::out_of_memory);
}

TEST_CASE("the submission's limits count and not the row's", "[limits]") {
  // A retry escalates what it asks for; the row in the task table is immutable and says what was asked for at first.
  Batch batch;
  TaskSpec task;
  task.shell_line = "dd if=/dev/zero of=/dev/null bs=32M count=4 2>/dev/null; sleep 0.6; echo survived";
  task.resources.memory_bytes = std::uint64_t{8} << 20;
  task.resources.runtime_milliseconds = 300;
  Submission submission = batch.single(batch.add(task));
  submission.resources.memory_bytes = std::uint64_t{256} << 20;
  submission.resources.runtime_milliseconds = 60'000;
  Session session;
  CHECK(session.run_one(submission).is_done());
  CHECK(batch.output(0) == "survived\n");
}

}  // namespace allot::contract
