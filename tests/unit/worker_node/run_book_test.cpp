// SPDX-License-Identifier: MIT
#include "worker_node/run_book.h"

#include <filesystem>

#include "tests/unit/ledger/sample_batch.h"

using namespace allot;
using test::SampleBatch;

namespace {

constexpr std::chrono::milliseconds kNow{0};

Submission submission_in(const SampleBatch& batch, std::uint32_t number, const std::string& token) {
  Submission submission;
  submission.token = token;
  submission.batch_directory = batch.batch().path();
  submission.number = number;
  submission.steps = StepRanges(number - 1, 1);
  return submission;
}

std::string id_of(RunBook& book, std::uint32_t entry) {
  const auto& ids = book.entry(entry).ids;
  return ids.id_of(ids.steps.front());
}

}  // namespace

TEST_CASE("a batch is forgotten when its tasks have ended and its events are acknowledged") {
  SampleBatch batch(2);
  RunBook book;
  const auto first = book.add(submission_in(batch, 1, "a"));
  REQUIRE(first);
  const std::uint32_t number = book.entry(first->first).batch;
  CHECK(book.check_forgettable(number).error().code == ErrorCode::fix_request);
  book.remove({first->first, 0});
  CHECK(book.check_forgettable(number).error().code == ErrorCode::retry_later);
  REQUIRE(book.events().wait(1, kNow));
  REQUIRE(book.check_forgettable(number));
  {
    const auto pin = book.pin(number);
    CHECK(book.is_pinned(number));
  }
  CHECK_FALSE(book.is_pinned(number));
  const std::string id = id_of(book, first->first);
  book.forget(number);
  CHECK_FALSE(book.find(id));
  CHECK_FALSE(book.find_batch(batch.batch().path()));
  CHECK_FALSE(book.find_token(batch.batch().path(), "a"));
  CHECK(book.snapshot({}).phases.empty());
}

TEST_CASE("thousands of forgotten batches leave no entries") {
  SampleBatch batch(1);
  RunBook book;
  std::uint64_t cursor = 0;
  for (int i = 0; i < 2000; ++i) {
    const auto added = book.add(submission_in(batch, 1, "t" + std::to_string(i)));
    REQUIRE(added);
    REQUIRE(added->second);
    const auto number = added->first;
    book.remove({number, 0});
    REQUIRE(book.events().wait(++cursor, kNow));
    book.forget(book.entry(number).batch);
    REQUIRE(book.size() == 1);
  }
}

TEST_CASE("an event that one caller still reads is not taken for one of the batch that has its place now") {
  SampleBatch batch(1), other(1);
  RunBook book;
  const auto added = book.add(submission_in(batch, 1, "a"));
  REQUIRE(added);
  book.remove({added->first, 0});
  const auto read = book.events().wait(0, kNow);  // by a caller that goes on below
  REQUIRE(read);
  REQUIRE(book.events().wait(1, kNow));  // another acknowledges it
  book.forget(book.entry(added->first).batch);
  const auto again = book.add(submission_in(other, 1, "b"));
  REQUIRE(again);
  CHECK(again->first == read->items.at(0).entry);
  CHECK(book.entry(again->first).generation != read->items.at(0).generation);
}

TEST_CASE("a batch at the path of one that was removed is another batch") {
  SampleBatch removed(1, "0123456789ab"), fresh(1, "0123456789ac");
  const std::string path = removed.batch().path();
  RunBook book;
  const auto before = book.add(submission_in(removed, 1, "a"));
  REQUIRE(before);
  book.remove({before->first, 0});
  std::filesystem::remove_all(path);
  CHECK(book.find_token(path, "a") == before->first);  // no other batch is there yet
  std::filesystem::rename(fresh.batch().path(), path);
  CHECK_FALSE(book.find_token(path, "a"));
  CHECK_FALSE(book.current_batch(path));

  const auto after = book.add(submission_in(removed, 1, "a"));
  REQUIRE(after);
  CHECK(after->second);
  const std::uint32_t old_number = book.entry(before->first).batch;
  const std::uint32_t new_number = book.entry(after->first).batch;
  CHECK(new_number != old_number);
  CHECK(book.current_batch(path) == new_number);
  // What is forgotten at this path is the old one first.
  CHECK(book.find_batch(path) == old_number);
  REQUIRE(book.events().wait(1, kNow));
  REQUIRE(book.check_forgettable(old_number));
  book.forget(old_number);
  CHECK(book.find_batch(path) == new_number);
  CHECK(book.find_token(path, "a") == after->first);
}

TEST_CASE("nodes whose names an intent cannot keep are refused") {
  SampleBatch batch(1);
  RunBook book;
  Submission submission = submission_in(batch, 1, "a");
  submission.excluded_nodes.assign(4000, "a-node-with-a-long-name");
  const auto refused = book.add(submission);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::fix_request);
  CHECK(refused.error().message.find("64 KiB") != std::string::npos);
}
