// SPDX-License-Identifier: MIT
#include "ledger/fold.h"

#include <filesystem>
#include <random>

#include "ledger/detail_reader.h"
#include "process/fd.h"
#include "tests/support/catch.h"
#include "tests/unit/ledger/mentions.h"
#include "tests/unit/ledger/sample_batch.h"

using namespace allot;
using test::mentions;
using test::put_file;
using test::SampleBatch;

namespace {

TaskDetail detail_of(const Fold& fold, std::uint64_t step) {
  auto detail = fold.detail(step);
  REQUIRE(detail);
  return std::move(*detail);
}

}  // namespace

TEST_CASE("a batch without records is all waiting") {
  const SampleBatch batch(3);
  const Fold fold = batch.fold();
  CHECK(fold.size() == 3);
  CHECK(fold.count(TaskState::waiting) == 3);
  CHECK(fold.submissions().empty());
  CHECK(fold.damage().empty());
  CHECK_FALSE(fold.ended());
  const TaskDetail detail = detail_of(fold, 2);
  CHECK(detail.distributor_id.empty());
  CHECK(detail.started_ns == 0);
  CHECK(detail.evidence.empty());
  auto none = fold.detail(3);
  REQUIRE_FALSE(none);
  CHECK(none.error().code == ErrorCode::fix_request);

  test::TempDirectory directory;
  auto bare = BatchDirectory::create(directory / "batch", {});
  REQUIRE(bare);
  auto empty = Fold::load(*bare);
  REQUIRE(empty);
  CHECK(empty->size() == 0);
  std::filesystem::remove(directory / "batch/records");
  auto broken = Fold::load(*bare);
  REQUIRE_FALSE(broken);
  CHECK(mentions(broken.error().message, {directory / "batch/records"}));
}

TEST_CASE("a task goes from queued over running to its end") {
  SampleBatch batch(5);
  batch.opened("driver-1");
  batch.intent(1, StepRanges(0, 4));
  batch.add("driver-1", SubmittedRecord{1, "native-7", "", 1});
  batch.opened("host-0", "node9");
  const std::uint64_t start = batch.started({1, 1, 0});
  batch.started({2, 1, 0});
  const std::uint64_t end = batch.finished({2, 1, 0});
  batch.started({3, 1, 0});
  batch.finished({3, 1, 0}, ExitClass::error);
  const Fold fold = batch.fold();
  CHECK(fold.damage().empty());
  CHECK(fold.task(0).state == TaskState::queued);
  CHECK(fold.task(0).submission == 1);
  CHECK(fold.task(0).attempts == 0);
  CHECK(fold.task(1).state == TaskState::running);
  CHECK(fold.task(1).attempts == 1);
  CHECK(fold.task(1).started_offset == start);
  CHECK(fold.task(2).state == TaskState::done);
  CHECK(fold.task(2).end_offset == end);
  CHECK(fold.task(2).has_end);
  CHECK(fold.task(2).end_kind == EndKind::finished);
  CHECK(fold.task(3).state == TaskState::failed);
  CHECK(fold.task(3).exit_class == ExitClass::error);
  CHECK(fold.task(3).number == 3);
  CHECK(fold.task(4).state == TaskState::waiting);
  CHECK(fold.count(TaskState::done) == 1);
  CHECK(fold.count(TaskState::queued) == 1);
  CHECK(fold.record_files() == std::vector<std::string>{"host-0", "driver-1"});
  REQUIRE(fold.sessions()[0]);
  CHECK(fold.sessions()[0]->host == "node9");
  REQUIRE(fold.submission(1) != nullptr);
  CHECK(fold.submission(1)->accepted);
  CHECK(fold.submission(1)->native_id == "native-7");
  CHECK(fold.submission(2) == nullptr);

  TaskDetail detail = detail_of(fold, 2);
  CHECK(detail.step == 2);
  CHECK(detail.distributor_id == "0123456789ab_2");
  CHECK(detail.node == "node9");
  CHECK(detail.usage.node == "node9");
  CHECK(detail.usage.wall_seconds == 0.52);
  CHECK(detail.started_ns == 1'700'000'000'000'000'000);
  CHECK(detail.ended_ns == 1'700'000'000'520'000'000);
  CHECK(detail.exit_info.is_done());
  CHECK(detail.output_writer == "host-0");
  CHECK(detail.evidence ==
        std::vector<std::string>{"worker node record host-0 @" + std::to_string(end) + ": done, wall 0.52 s"});
  detail = detail_of(fold, 1);
  CHECK(detail.node == "node9");
  CHECK(detail.output_writer.empty());
  CHECK(detail.ended_ns == 0);
  REQUIRE(detail.evidence.size() == 1);
  CHECK(mentions(detail.evidence[0], {"host-0 @" + std::to_string(start), "started 2023-11-14", "no end recorded"}));
  CHECK(detail_of(fold, 0).evidence.empty());
}

TEST_CASE("a run is on the node that the scheduler names") {
  SampleBatch batch(1);
  batch.intent(1, StepRanges(0, 1));
  batch.add("n7-0", OpenedRecord{"host1", "boot", 1, 2, 3, 4, "", 5, "n7"});
  batch.started({0, 1, 0}, "n7-0");
  batch.finished({0, 1, 0}, ExitClass::done, "n7-0");
  const TaskDetail detail = detail_of(batch.fold(), 0);
  CHECK(detail.node == "n7");
  CHECK(detail.usage.node == "n7");
}

TEST_CASE("a verdict ends a run, and the worker node's record counts over it whenever it came") {
  SampleBatch batch(2);
  batch.opened("driver-2");
  batch.intent(1, StepRanges(0, 2), "driver-2");
  batch.opened("host-0");
  batch.started({0, 1, 0});
  batch.verdict({0, 1, 0}, ExitClass::lost, true, "driver-2");
  batch.started({1, 1, 0});
  batch.verdict({1, 1, 0}, ExitClass::lost, true, "driver-2");
  const std::uint64_t late = batch.finished({1, 1, 0});
  const Fold fold = batch.fold();
  CHECK(fold.damage().empty());
  CHECK(fold.task(0).state == TaskState::failed);
  CHECK(fold.task(0).exit_class == ExitClass::lost);
  CHECK(fold.task(0).attempts == 1);
  CHECK(fold.task(0).has_end);
  TaskDetail detail = detail_of(fold, 0);
  CHECK(detail.exit_info.text == "its guard (pid 4711) is gone");
  CHECK(detail.started_ns == 1'700'000'000'000'000'000);
  CHECK(detail.ended_ns == 5);
  CHECK(detail.node == "node1");
  CHECK(detail.output_writer.empty());
  REQUIRE(detail.evidence.size() == 2);
  CHECK(mentions(detail.evidence[0], {"no end recorded"}));
  CHECK(detail.evidence[1] == "driver's verdict (epoch 2): lost: its guard (pid 4711) is gone");

  CHECK(fold.task(1).state == TaskState::done);
  CHECK(fold.task(1).attempts == 1);
  detail = detail_of(fold, 1);
  CHECK(detail.exit_info.is_done());
  CHECK(detail.exit_info.text.empty());
  REQUIRE(detail.evidence.size() == 2);
  CHECK(mentions(detail.evidence[0], {"@" + std::to_string(late), "done"}));
  CHECK(mentions(detail.evidence[1], {"driver's verdict (epoch 2): lost"}));
}

TEST_CASE("a later verdict refines an earlier one") {
  SampleBatch batch(1);
  batch.intent(1, StepRanges(0, 1));
  batch.started({0, 1, 0});
  batch.verdict({0, 1, 0}, ExitClass::lost);
  batch.verdict({0, 1, 0}, ExitClass::out_of_memory, true, "driver-10");
  batch.verdict({0, 1, 0}, ExitClass::node_failed, true, "driver-9");
  const Fold fold = batch.fold();
  CHECK(fold.task(0).exit_class == ExitClass::out_of_memory);  // epoch 10 came after 9
  CHECK(fold.task(0).attempts == 1);
  CHECK(detail_of(fold, 0).evidence.size() == 4);
  CHECK(fold.damage().empty());
}

TEST_CASE("a newer intent makes the end of the run before history") {
  SampleBatch batch(3);
  batch.intent(1, StepRanges(0, 3));
  for (std::uint32_t step = 0; step < 3; ++step) {
    batch.started({step, 1, 0});
    batch.finished({step, 1, 0}, ExitClass::error);
  }
  batch.intent(2, StepRanges(0, 2));
  batch.started({1, 2, 0}, "host-1");
  batch.finished({1, 2, 0}, ExitClass::done, "host-1");
  const Fold fold = batch.fold();
  CHECK(fold.damage().empty());
  CHECK(fold.task(0).state == TaskState::queued);
  CHECK(fold.task(0).submission == 2);
  CHECK(fold.task(0).attempts == 1);
  CHECK(fold.task(0).end_offset == 0);
  CHECK(fold.task(1).state == TaskState::done);
  CHECK(fold.task(1).attempts == 2);
  CHECK(fold.record_files()[fold.task(1).end_file] == "host-1");
  CHECK(fold.task(2).state == TaskState::failed);
  CHECK(fold.task(2).submission == 1);
  const TaskDetail detail = detail_of(fold, 1);
  REQUIRE(detail.evidence.size() == 2);
  CHECK(mentions(detail.evidence[0], {"earlier run (submission 1)", "host-0", "error (3)"}));
  CHECK(mentions(detail.evidence[1], {"worker node record host-1", "done"}));
  CHECK(detail.distributor_id == "0123456789ab_1");
}

TEST_CASE("a late result of an older submission is evidence and replaces nothing") {
  SampleBatch batch(2);
  batch.intent(1, StepRanges(0, 2));
  batch.started({0, 1, 0});
  batch.verdict({0, 1, 0});
  batch.intent(2, StepRanges(0, 1));
  batch.finished({0, 1, 0});  // it was alive after all
  batch.started({1, 1, 0});
  batch.verdict({1, 1, 0});
  batch.intent(3, StepRanges(1, 1));
  batch.started({1, 3, 0}, "host-1");
  batch.finished({1, 3, 0}, ExitClass::error, "host-1");
  batch.finished({1, 1, 0});
  const Fold fold = batch.fold();
  CHECK(fold.damage().empty());
  CHECK(fold.task(0).state == TaskState::queued);
  CHECK(fold.task(0).attempts == 1);
  CHECK(fold.task(1).state == TaskState::failed);
  CHECK(fold.task(1).exit_class == ExitClass::error);
  CHECK(fold.task(1).attempts == 2);
  const TaskDetail detail = detail_of(fold, 1);
  REQUIRE(detail.evidence.size() == 3);
  CHECK(mentions(detail.evidence[0], {"earlier run (submission 1)", "done"}));
  CHECK(mentions(detail.evidence[1], {"earlier run (submission 1)", "verdict", "lost"}));
  CHECK(mentions(detail.evidence[2], {"error (3)"}));
  CHECK(detail.exit_info.exit_class == ExitClass::error);
}

TEST_CASE("a requeue by the scheduler is a run of its own") {
  SampleBatch batch(1);
  batch.intent(1, StepRanges(0, 1));
  batch.started({0, 1, 1}, "host-1");
  batch.started({0, 1, 0}, "host-2");  // the file of the older run is read later
  batch.verdict({0, 1, 0}, ExitClass::preempted);
  const Fold fold = batch.fold();
  CHECK(fold.task(0).state == TaskState::running);
  CHECK(fold.task(0).restart == 1);
  CHECK(fold.task(0).attempts == 2);
  CHECK(fold.damage().empty());
}

TEST_CASE("queued steps end by withdrawal or by a verdict, running ones do not") {
  SampleBatch batch(5);
  batch.intent(1, StepRanges(0, 5));
  batch.started({2, 1, 0});
  batch.withdrawn(1, StepRanges(0, 3));
  batch.verdict({3, 1, 0}, ExitClass::queueing_error, false);
  Fold fold = batch.fold();
  CHECK(fold.damage().empty());
  CHECK(fold.task(0).state == TaskState::failed);
  CHECK(fold.task(0).exit_class == ExitClass::killed);
  CHECK(fold.task(0).attempts == 0);
  CHECK_FALSE(fold.task(0).has_end);
  CHECK(fold.task(0).end_kind == EndKind::withdrawn);
  CHECK(fold.task(2).state == TaskState::running);
  CHECK(fold.task(3).state == TaskState::failed);
  CHECK(fold.task(3).exit_class == ExitClass::queueing_error);
  CHECK(fold.task(3).attempts == 0);
  CHECK(fold.task(4).state == TaskState::queued);
  TaskDetail detail = detail_of(fold, 1);
  CHECK(detail.exit_info.exit_class == ExitClass::killed);
  CHECK(detail.exit_info.text == "cancelled");
  CHECK(detail.ended_ns == 6);
  CHECK(detail.evidence == std::vector<std::string>{"driver's record (epoch 1): withdrawn: cancelled"});
  detail = detail_of(fold, 3);
  REQUIRE(detail.evidence.size() == 1);
  CHECK(mentions(detail.evidence[0], {"queueing_error", "never started"}));
  CHECK(detail_of(fold, 2).evidence.size() == 2);

  batch.intent(2, StepRanges(0, 4));
  fold = batch.fold();
  for (std::uint64_t step = 0; step < 4; ++step) CHECK(fold.task(step).state == TaskState::queued);
  CHECK(fold.task(2).attempts == 1);
  CHECK(detail_of(fold, 0).evidence.size() == 1);
  batch.withdrawn(1, StepRanges(0, 1));  // of a submission that is over
  fold = batch.fold();
  CHECK(fold.task(0).state == TaskState::queued);
}

TEST_CASE("a step that was said never to have started and did is running, and the contradiction is named") {
  SampleBatch batch(1);
  batch.intent(1, StepRanges(0, 1));
  const std::uint64_t start = batch.started({0, 1, 0});
  const std::uint64_t verdict = batch.verdict({0, 1, 0}, ExitClass::queueing_error, false);
  const Fold fold = batch.fold();
  CHECK(fold.task(0).state == TaskState::running);
  REQUIRE(fold.damage().size() == 1);
  CHECK(mentions(fold.damage()[0], {"records/driver-1 @" + std::to_string(verdict),
                                    "records/host-0 @" + std::to_string(start), "step 0"}));
}

TEST_CASE("an abandoned task stays so until a later intent") {
  SampleBatch batch(4);
  batch.abandoned(0, 3);
  batch.intent(1, StepRanges(1, 2));
  batch.abandoned(1, 3);
  batch.started({2, 1, 0});
  batch.finished({2, 1, 0});
  batch.abandoned(2, 3);
  Fold fold = batch.fold();
  CHECK(fold.task(0).state == TaskState::abandoned);
  CHECK(fold.task(1).state == TaskState::abandoned);
  CHECK(fold.task(2).state == TaskState::done);
  const TaskDetail detail = detail_of(fold, 0);
  CHECK(detail.exit_info.text == "its dependency failed");
  CHECK(detail.evidence ==
        std::vector<std::string>{"driver's record (epoch 1): abandoned because of step 3: its dependency failed"});
  batch.intent(2, StepRanges(0, 2), "driver-2");
  fold = batch.fold();
  CHECK(fold.task(0).state == TaskState::queued);
  CHECK(fold.task(1).state == TaskState::queued);
  CHECK(fold.count(TaskState::abandoned) == 0);
}

TEST_CASE("a refused submission never took effect") {
  SampleBatch batch(2);
  batch.intent(1, StepRanges(0, 2));
  batch.started({0, 1, 0});
  batch.finished({0, 1, 0}, ExitClass::error);
  batch.intent(2, StepRanges(0, 2));
  batch.add("driver-1", SubmittedRecord{2, "", "no such partition", 1});
  const Fold fold = batch.fold();
  CHECK(fold.task(0).state == TaskState::failed);
  CHECK(fold.task(1).state == TaskState::queued);
  CHECK(fold.task(1).submission == 1);
  CHECK_FALSE(fold.submission(2)->accepted);
  CHECK(fold.submission(2)->error == "no such partition");
  const TaskDetail detail = detail_of(fold, 0);
  REQUIRE(detail.evidence.size() == 2);
  CHECK(detail.evidence[1] == "submission 2 was refused: no such partition");
}

TEST_CASE("contradictions name both places") {
  SampleBatch batch(5);
  batch.intent(1, StepRanges(0, 4));
  // Two ends of one run, in one file and in two; of the current run and of one before.
  const std::uint64_t a = (batch.started({0, 1, 0}), batch.finished({0, 1, 0}));
  const std::uint64_t b = batch.finished({0, 1, 0}, ExitClass::error);
  batch.started({1, 1, 0});
  const std::uint64_t c = batch.finished({1, 1, 0}, ExitClass::error);
  const std::uint64_t d = batch.finished({1, 1, 0}, ExitClass::done, "host-1");
  batch.intent(2, StepRanges(1, 1));
  const std::uint64_t e = batch.finished({2, 1, 0});  // never started
  const std::uint64_t f = batch.started({3, 1, 0});
  const std::uint64_t g = batch.started({3, 1, 0}, "host-1");
  batch.started({9, 1, 0});
  batch.intent(3, StepRanges(4, 7));
  batch.add("driver-1", SubmittedRecord{8, "x", "", 1});
  batch.intent(4, StepRanges(4, 7));
  const std::uint64_t h = batch.intent(3, StepRanges(0, 1), "driver-2");
  const Fold fold = batch.fold();
  auto named = [&](std::initializer_list<std::string_view> words) {
    int count = 0;
    for (const std::string& line : fold.damage()) count += mentions(line, words);
    return count == 1;
  };
  auto at = [](const std::string& file, std::uint64_t offset) {
    return "records/" + file + " @" + std::to_string(offset);
  };
  CHECK(fold.damage().size() == 8);
  CHECK(named({"two finished", "step 0", at("host-0", a), at("host-0", b)}));
  CHECK(named({"two finished", "step 1", at("host-0", c), at("host-1", d)}));
  CHECK(named({"no started record", "step 2", at("host-0", e)}));
  CHECK(named({"two started", "step 3", at("host-0", f), at("host-1", g)}));
  CHECK(named({"step 9", "the batch has 5", "records/host-0"}));
  CHECK(named({"submission 4 names steps up to 10", "the batch has 5"}));
  CHECK(named({"submission 8", "no intent"}));
  CHECK(named({"second intent for submission 3", at("driver-2", h)}));
  CHECK(fold.task(0).state == TaskState::queued);  // submission 3 is the later driver's
  CHECK(fold.task(0).attempts == 1);
  CHECK(fold.task(1).attempts == 1);
  CHECK(fold.task(2).state == TaskState::done);
  CHECK(fold.task(3).attempts == 1);
}

TEST_CASE("damage is told and costs only what it hit") {
  SampleBatch batch(100);
  batch.intent(1, StepRanges(0, 100));
  std::uint64_t middle = 0;
  for (std::uint32_t step = 0; step < 100; ++step) {
    batch.started({step, 1, 0});
    const std::uint64_t offset = batch.finished({step, 1, 0});
    if (step == 50) middle = offset;
  }
  const std::string path = batch.batch().record_path("host-0");
  std::string bytes = *read_file(path);
  bytes[middle + 40] ^= 1;
  put_file(path, bytes + "torn");
  Fold fold = batch.fold();
  CHECK(fold.count(TaskState::done) == 99);
  CHECK(fold.task(50).state == TaskState::running);
  REQUIRE(fold.damage().size() == 2);
  CHECK(mentions(fold.damage()[0], {"records/host-0 @" + std::to_string(middle), "damaged"}));
  CHECK(mentions(fold.damage()[1], {"records/host-0", "last 4 bytes"}));

  // The record that decides is damaged between the fold and the question.
  bytes = *read_file(path);
  bytes[middle - 60] ^= 1;
  fold = batch.fold();
  put_file(path, std::string(bytes.size(), '\0'));
  auto detail = fold.detail(7);
  REQUIRE_FALSE(detail);
  CHECK(mentions(detail.error().message, {path}));
}

TEST_CASE("the list of damage is bounded") {
  SampleBatch batch(1);
  auto writer = RecordWriter::open(batch.batch().record_path("host-0"));
  REQUIRE(writer);
  for (std::uint32_t step = 1; step <= 5000; ++step) writer->add(StartedRecord{{step, 1, 0}, 1, 1});
  REQUIRE(writer->write());
  const Fold fold = batch.fold();
  REQUIRE(fold.damage().size() == 1001);
  CHECK(mentions(fold.damage().back(), {"4000 more"}));
}

TEST_CASE("the newest driver alone says whether the batch has ended") {
  SampleBatch batch(1);
  batch.opened("driver-1");
  batch.add("driver-1", EndedRecord{"stopped", 1});
  CHECK(batch.fold().ended());
  batch.opened("driver-2");
  CHECK_FALSE(batch.fold().ended());
  batch.add("driver-2", EndedRecord{"all tasks ended", 1});
  CHECK(batch.fold().ended());
  batch.opened("driver-10");
  CHECK_FALSE(batch.fold().ended());
  batch.add("driver-10", EndedRecord{"all tasks ended", 1});
  CHECK(batch.fold().ended());
  // A driver that has claimed the batch and has not written yet.
  put_file(batch.path("epochs/11"),
           "{\"epoch\": 11, \"host\": \"h\", \"boot_id\": \"b\", \"pid\": 1, \"start_ticks\": 2, \"since_ns\": 3}");
  CHECK_FALSE(batch.fold().ended());
}

TEST_CASE("an intent of many ranges is put together from its frames") {
  SampleBatch batch(200'000);
  StepRanges steps;
  for (std::uint64_t step = 0; step < 200'000; step += 2) steps.append(step);
  batch.intent(1, steps);
  const Fold fold = batch.fold();
  CHECK(fold.damage().empty());
  CHECK(fold.count(TaskState::queued) == 100'000);
  REQUIRE(fold.submission(1) != nullptr);
  CHECK(fold.submission(1)->intent.steps == steps);
}

TEST_CASE("a detail reader gives what single questions give, over more files than it keeps open") {
  SampleBatch batch(300);
  batch.intent(1, StepRanges(0, 300));
  for (std::uint32_t step = 0; step < 300; ++step) {
    const std::string file = "host-" + std::to_string(step * 7 % 100);
    batch.opened(file, "node" + std::to_string(step * 7 % 100));
    batch.started({step, 1, 0}, file);
    if (step % 3 == 0) batch.verdict({step, 1, 0});
    batch.finished({step, 1, 0}, step % 2 == 0 ? ExitClass::done : ExitClass::error, file);
  }
  const Fold fold = batch.fold();
  DetailReader reader(fold);
  for (int round = 0; round < 2; ++round) {
    for (std::uint64_t step = 0; step < 300; ++step) {
      auto detail = reader.detail(step);
      REQUIRE(detail);
      const TaskDetail single = detail_of(fold, step);
      REQUIRE(detail->evidence == single.evidence);
      REQUIRE(detail->node == "node" + std::to_string(step * 7 % 100));
      REQUIRE(detail->usage == single.usage);
      REQUIRE(detail->exit_info.exit_class == single.exit_info.exit_class);
    }
  }
  CHECK_FALSE(reader.detail(300));
}

TEST_CASE("lost bytes of output are known without reading the details") {
  SampleBatch batch(1);
  batch.intent(1, StepRanges(0, 1));
  batch.started({0, 1, 0});
  FinishedRecord record;
  record.key = {0, 1, 0};
  record.exit_info.exit_class = ExitClass::signaled;
  record.exit_info.signal = 9;
  record.standard_error.lost_bytes = 1;
  batch.add("host-0", record);
  const Fold fold = batch.fold();
  CHECK(fold.task(0).output_incomplete);
  CHECK(fold.task(0).number == 9);
}

TEST_CASE("whatever worker files the runs' records lie in, the fold is the same as a plain model's") {
  struct Run {
    bool started = false;
    int finished = -1;  // exit class
    int verdict = -1;
  };
  constexpr std::uint64_t kSteps = 12;
  for (std::uint32_t seed = 1; seed <= 60; ++seed) {
    std::mt19937 random(seed);
    auto below = [&](std::uint32_t bound) { return static_cast<std::uint32_t>(random() % bound); };
    SampleBatch batch(kSteps);
    std::map<RunKey, Run> runs;
    std::map<std::uint32_t, std::uint32_t> submitted;    // step → newest submission
    std::vector<std::pair<RunKey, int>> worker_records;  // -1: started
    std::vector<RunKey> verdicts;
    std::uint32_t submission = 0;
    for (int round = 0; round < 6; ++round) {
      ++submission;
      StepRanges steps;
      for (std::uint32_t step = 0; step < kSteps; ++step) {
        if (below(2) == 0) steps.append(step);
      }
      batch.intent(submission, steps, "driver-" + std::to_string(1 + round / 3));
      steps.for_each([&](std::uint64_t s) {
        const auto step = static_cast<std::uint32_t>(s);
        submitted[step] = submission;
        const std::uint32_t restarts = 1 + below(2);
        for (std::uint16_t restart = 0; restart < restarts; ++restart) {
          const RunKey key{step, submission, restart};
          if (below(4) == 0) continue;
          Run& run = runs[key];
          run.started = true;
          worker_records.emplace_back(key, -1);
          if (below(3) != 0) {
            run.finished = static_cast<int>(below(kExitClassCount));
            worker_records.emplace_back(key, run.finished);
          }
          if (below(3) == 0) {
            run.verdict = static_cast<int>(below(kExitClassCount));
            batch.verdict(key, static_cast<ExitClass>(run.verdict), true, "driver-" + std::to_string(1 + round / 3));
          }
        }
      });
    }
    std::shuffle(worker_records.begin(), worker_records.end(), random);
    for (const auto& [key, exit_class] : worker_records) {
      const std::string file = "host-" + std::to_string(below(4));
      if (exit_class < 0) {
        batch.started(key, file);
      } else {
        batch.finished(key, static_cast<ExitClass>(exit_class), file);
      }
    }
    const Fold fold = batch.fold();
    INFO("seed " << seed);
    REQUIRE(fold.damage().empty());
    for (std::uint32_t step = 0; step < kSteps; ++step) {
      std::uint32_t attempts = 0;
      const Run* current = nullptr;
      RunKey current_key;
      for (const auto& [key, run] : runs) {
        if (key.step != step) continue;
        ++attempts;
        current = &run;
        current_key = key;
      }
      TaskState expected = TaskState::waiting;
      int expected_class = -1;
      if (submitted.count(step) != 0) expected = TaskState::queued;
      if (current != nullptr && current_key.submission == submitted[step]) {
        expected_class = current->finished >= 0 ? current->finished : current->verdict;
        expected = expected_class < 0 ? TaskState::running : expected_class == 0 ? TaskState::done : TaskState::failed;
      }
      const FoldedTask& task = fold.task(step);
      INFO("step " << step);
      REQUIRE(task.state == expected);
      REQUIRE(task.attempts == attempts);
      REQUIRE(task.submission == (submitted.count(step) != 0 ? submitted[step] : 0));
      if (expected_class >= 0) REQUIRE(static_cast<int>(task.exit_class) == expected_class);
      auto detail = fold.detail(step);
      REQUIRE(detail);
      // One line for each end, and one for each start that nothing else tells of.
      std::size_t lines = 0;
      for (const auto& [key, run] : runs) {
        if (key.step == step) lines += (run.verdict >= 0) + 1u;
      }
      REQUIRE(detail->evidence.size() == lines);
    }
  }
}
