// SPDX-License-Identifier: MIT
#include "ledger/output_store.h"

#include "tests/support/catch.h"
#include "tests/unit/ledger/mentions.h"
#include "tests/unit/ledger/sample_batch.h"

using namespace allot;
using test::mentions;
using test::put_file;
using test::SampleBatch;

namespace {

constexpr OutputStream kOut = OutputStream::standard_output;
constexpr OutputStream kErr = OutputStream::standard_error;

struct Output {
  std::string bytes;
  std::size_t largest_block = 0;
  Result<void> result;
};

Output output_of(const SampleBatch& batch, std::uint64_t step, OutputStream stream) {
  auto detail = batch.fold().detail(step);
  REQUIRE(detail);
  Output output;
  output.result = read_output(batch.batch(), *detail, stream, [&](std::string_view block) {
    output.bytes += block;
    output.largest_block = std::max(output.largest_block, block.size());
    return true;
  });
  return output;
}

void add_finished(SampleBatch& batch, std::uint32_t step, const OutputExtent& out, const OutputExtent& err) {
  batch.started({step, 1, 0});
  FinishedRecord record;
  record.key = {step, 1, 0};
  record.exit_info = {ExitClass::done, 0, {}, ""};
  record.standard_output = out;
  record.standard_error = err;
  batch.add("host-0", record);
}

}  // namespace

TEST_CASE("output is read byte for byte, in blocks") {
  SampleBatch batch(3);
  batch.intent(1, StepRanges(0, 3));
  std::string bytes(5u << 20, '\0');
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 2654435761u >> 13);
  put_file(batch.path("output/host-0.out"), bytes);
  put_file(batch.path("output/host-0.err"), std::string("e\0\xFF", 3));
  add_finished(batch, 0, {0, 100, 0, false}, {1, 2, 0, false});
  add_finished(batch, 1, {100, bytes.size() - 100, 0, false}, {});
  add_finished(batch, 2, {bytes.size(), 0, 0, false}, {});
  Output output = output_of(batch, 0, kOut);
  REQUIRE(output.result);
  CHECK(output.bytes == bytes.substr(0, 100));
  output = output_of(batch, 0, kErr);
  REQUIRE(output.result);
  CHECK(output.bytes == std::string("\0\xFF", 2));
  output = output_of(batch, 1, kOut);
  REQUIRE(output.result);
  CHECK(output.bytes == bytes.substr(100));
  CHECK(output.largest_block == 1u << 20);
  output = output_of(batch, 2, kOut);
  REQUIRE(output.result);
  CHECK(output.bytes.empty());

  auto detail = batch.fold().detail(1);
  REQUIRE(detail);
  int blocks = 0;
  CHECK(read_output(batch.batch(), *detail, kOut, [&](std::string_view) { return ++blocks < 2; }));
  CHECK(blocks == 2);
}

TEST_CASE("what is not there is said, after what is there was passed on") {
  SampleBatch batch(6);
  batch.intent(1, StepRanges(0, 6));
  put_file(batch.path("output/host-0.out"), "0123456789");
  add_finished(batch, 0, {5, 10, 0, false}, {0, 4, 0, false});
  add_finished(batch, 1, {0, 4, 3, false}, {0, 0, 1, false});
  add_finished(batch, 2, {20, 4, 0, false}, {~std::uint64_t{0} - 5, 4, 0, false});
  batch.started({3, 1, 0});
  batch.started({4, 1, 0});
  batch.verdict({4, 1, 0});

  Output output = output_of(batch, 0, kOut);
  CHECK(output.bytes == "56789");
  REQUIRE_FALSE(output.result);
  CHECK(output.result.error().code == ErrorCode::gave_up);
  CHECK(mentions(output.result.error().message, {"output/host-0.out", "step 0", "5 bytes too early"}));
  output = output_of(batch, 0, kErr);
  REQUIRE_FALSE(output.result);
  CHECK(mentions(output.result.error().message, {"output/host-0.err", "stderr of step 0", "ENOENT"}));

  output = output_of(batch, 1, kOut);
  CHECK(output.bytes == "0123");
  REQUIRE_FALSE(output.result);
  CHECK(output.result.error().code == ErrorCode::gave_up);
  CHECK(mentions(output.result.error().message, {"stdout of step 1", "3 bytes"}));
  output = output_of(batch, 1, kErr);
  REQUIRE_FALSE(output.result);
  CHECK(mentions(output.result.error().message, {"1 byte "}));

  output = output_of(batch, 2, kOut);
  CHECK(output.bytes.empty());
  REQUIRE_FALSE(output.result);
  CHECK(output.result.error().code == ErrorCode::gave_up);
  output = output_of(batch, 2, kErr);
  REQUIRE_FALSE(output.result);
  CHECK(mentions(output.result.error().message, {"impossible"}));

  for (const auto& [step, words] : {std::pair{3, "running"}, std::pair{4, "no record"}, std::pair{5, "queued"}}) {
    output = output_of(batch, static_cast<std::uint64_t>(step), kOut);
    REQUIRE_FALSE(output.result);
    CHECK(output.result.error().code == ErrorCode::not_available);
    CHECK(mentions(output.result.error().message, {words, "step " + std::to_string(step)}));
  }
}

TEST_CASE("output in a file of the user's is named") {
  SampleBatch batch(0);
  auto table = TaskTableWriter::open(batch.batch().task_data_path(), batch.batch().task_index_path());
  REQUIRE(table);
  TaskSpec task;
  task.shell_line = "date";
  task.stdout_path = "/home/user/out.txt";
  REQUIRE(table->append(task));
  REQUIRE(table->sync());
  batch.intent(1, StepRanges(0, 1));
  add_finished(batch, 0, {0, 0, 0, true}, {});
  const Output output = output_of(batch, 0, kOut);
  REQUIRE_FALSE(output.result);
  CHECK(output.result.error().code == ErrorCode::not_available);
  CHECK(mentions(output.result.error().message, {"/home/user/out.txt", "step 0"}));
  CHECK(output_of(batch, 0, kErr).result);
}
