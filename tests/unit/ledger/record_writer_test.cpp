// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>

#include <csignal>

#include "ledger/record_file.h"
#include "process/fd.h"
#include "tests/support/catch.h"
#include "tests/support/temp_directory.h"
#include "tests/unit/ledger/mentions.h"
#include "tests/unit/ledger/random_record.h"

using namespace allot;
using test::bytes_of;
using test::mentions;
using test::put_file;
using test::RandomRecords;

namespace {

std::vector<std::string> records_in(const std::string& path, ScanReport* report = nullptr) {
  std::vector<std::string> records;
  std::uint64_t sequence = 0;
  auto result = scan_record_file(path, 0, [&](const DecodedRecord& decoded, std::uint64_t) {
    CHECK(decoded.sequence == ++sequence);
    records.push_back(bytes_of(decoded.record));
    return true;
  });
  REQUIRE(result);
  if (report != nullptr) *report = *result;
  return records;
}

struct stat status_of(const std::string& path) {
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  return status;
}

// Runs `body` in a child with a limit on the size of files, so that a write fails half-way with EFBIG. The child
// reports by its exit status, because assertions would be lost with it.
template <class F>
int run_with_file_limit(std::uint64_t bytes, F&& body) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{bytes, RLIM_INFINITY};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) ::_exit(99);
    ::_exit(body());
  }
  int wait_status = 0;
  REQUIRE(::waitpid(child, &wait_status, 0) == child);
  REQUIRE(WIFEXITED(wait_status));
  return WEXITSTATUS(wait_status);
}

void lift_file_limit() {
  const rlimit none{RLIM_INFINITY, RLIM_INFINITY};
  ::setrlimit(RLIMIT_FSIZE, &none);
}

}  // namespace

TEST_CASE("what is appended is read back, over several openings") {
  test::TempDirectory directory;
  const std::string path = directory / "host-0";
  RandomRecords random(1);
  std::vector<std::string> expected;
  for (int session = 0; session < 5; ++session) {
    auto writer = RecordWriter::open(path, session % 2 == 0 ? 64 * 1024 : 0);
    REQUIRE(writer);
    for (int i = 0; i < 50; ++i) {
      const Record record = random.record();
      expected.push_back(bytes_of(record));
      writer->add(record);
      if (random.below(3) == 0) REQUIRE(writer->write());
    }
    REQUIRE(writer->append(EndedRecord{"session over", 1}));
    expected.push_back(bytes_of(EndedRecord{"session over", 1}));
    REQUIRE(writer->sync());
    CHECK(writer->offset() == static_cast<std::uint64_t>(status_of(path).st_size));
    REQUIRE(records_in(path) == expected);
  }
  CHECK((status_of(path).st_mode & 0777) == 0600);
}

TEST_CASE("nothing is in the file before write") {
  test::TempDirectory directory;
  const std::string path = directory / "host-0";
  auto writer = RecordWriter::open(path);
  REQUIRE(writer);
  writer->add(StartedRecord{});
  CHECK(status_of(path).st_size == 0);
  CHECK(writer->offset() == 0);
  REQUIRE(writer->write());
  CHECK(records_in(path).size() == 1);
  REQUIRE(writer->write());
  CHECK(records_in(path).size() == 1);
}

TEST_CASE("a torn tail is cut at every length and the sequence goes on") {
  test::TempDirectory directory;
  const std::string path = directory / "host-0";
  std::string bytes;
  {
    auto writer = RecordWriter::open(path);
    REQUIRE(writer);
    for (int i = 0; i < 3; ++i) writer->add(FinishedRecord{});
    REQUIRE(writer->write());
    bytes = *read_file(path);
  }
  for (std::size_t size = 0; size <= bytes.size(); ++size) {
    put_file(path, bytes.substr(0, size));
    const std::size_t whole = records_in(path).size();
    auto writer = RecordWriter::open(path);
    REQUIRE(writer);
    REQUIRE(writer->append(StartedRecord{}));
    ScanReport report;
    REQUIRE(records_in(path, &report).size() == whole + 1);
    REQUIRE(report.torn_bytes == 0);
    REQUIRE(report.damaged.empty());
  }
}

TEST_CASE("a damaged middle is kept and appended behind") {
  test::TempDirectory directory;
  const std::string path = directory / "host-0";
  {
    auto writer = RecordWriter::open(path);
    REQUIRE(writer);
    for (int i = 0; i < 5; ++i) writer->add(FinishedRecord{});
    REQUIRE(writer->write());
  }
  std::string bytes = *read_file(path);
  bytes[bytes.size() / 2] ^= 1;
  put_file(path, bytes);
  auto writer = RecordWriter::open(path);
  REQUIRE(writer);
  CHECK(writer->offset() == bytes.size());
  REQUIRE(writer->append(EndedRecord{}));
  auto report = scan_record_file(path, 0, [](const DecodedRecord&, std::uint64_t) { return true; });
  REQUIRE(report);
  CHECK(report->last_sequence == 6);
  CHECK(report->damaged.size() == 1);
}

TEST_CASE("a file that is something else is not emptied") {
  test::TempDirectory directory;
  const std::string path = directory / "host-0";
  put_file(path, "a letter to a friend");
  auto writer = RecordWriter::open(path);
  REQUIRE_FALSE(writer);
  CHECK(writer.error().code == ErrorCode::gave_up);
  CHECK(mentions(writer.error().message, {path}));
  CHECK(*read_file(path) == "a letter to a friend");
  // A power loss can leave a file of zeros; that one is begun anew.
  put_file(path, std::string(100, '\0'));
  writer = RecordWriter::open(path);
  REQUIRE(writer);
  REQUIRE(writer->append(EndedRecord{}));
  CHECK(records_in(path).size() == 1);
  CHECK_FALSE(RecordWriter::open(directory / "no/such/place"));
}

TEST_CASE("a write that fails half-way leaves whole frames, keeps the buffer and works later") {
  test::TempDirectory directory;
  // At every limit within the second write: the file must end at the first record each time.
  std::string small_frames;
  append_frame(small_frames, FinishedRecord{}, 1, 8);
  const std::size_t first_end = 8 + small_frames.size();
  for (std::size_t limit = first_end; limit < first_end + 2 * small_frames.size(); limit += 7) {
    const std::string path = directory / ("host-" + std::to_string(limit));
    const int failed_check = run_with_file_limit(limit, [&] {
      auto writer = RecordWriter::open(path, 0);
      if (!writer || !writer->append(FinishedRecord{})) return 1;
      writer->add(FinishedRecord{});
      writer->add(StartedRecord{});
      writer->add(FinishedRecord{});
      for (int attempt = 0; attempt < 2; ++attempt) {
        auto result = writer->write();
        if (result) return 2;
        if (result.error().code != ErrorCode::gave_up) return 3;  // EFBIG does not pass by itself
        if (!mentions(result.error().message, {path, "EFBIG"})) return 4;
        if (writer->offset() != first_end) return 5;
        struct stat status {};
        if (::stat(path.c_str(), &status) != 0 || static_cast<std::size_t>(status.st_size) != first_end) return 6;
      }
      lift_file_limit();
      if (!writer->write()) return 7;
      return 0;
    });
    INFO(limit);
    REQUIRE(failed_check == 0);
    ScanReport report;
    REQUIRE(records_in(path, &report).size() == 4);
    REQUIRE(report.torn_bytes == 0);
    REQUIRE(report.damaged.empty());
  }
}

TEST_CASE("room is allocated ahead and given back at the end") {
  test::TempDirectory directory;
  const std::string path = directory / "host-0";
  bool allocates = false;
  {
    Fd probe(::open((directory / "probe").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    REQUIRE(probe);
    allocates = ::fallocate(probe.get(), FALLOC_FL_KEEP_SIZE, 0, 4096) == 0;
  }
  {
    auto writer = RecordWriter::open(path, 128 * 1024);
    REQUIRE(writer);
    CHECK(writer->has_reserve());
    REQUIRE(writer->append(FinishedRecord{}));
    if (allocates) CHECK(status_of(path).st_blocks * 512 >= 128 * 1024);
    CHECK(status_of(path).st_size < 1024);
    std::string text(9'000, 't');
    for (int i = 0; i < 200; ++i) {  // far beyond what was allocated first
      FinishedRecord record;
      record.exit_info.text = text;
      REQUIRE(writer->append(record));
      REQUIRE(writer->has_reserve());
      if (allocates)
        REQUIRE(status_of(path).st_blocks * 512 >= static_cast<std::int64_t>(writer->offset()) + 128 * 1024);
    }
  }
  const struct stat status = status_of(path);
  CHECK(status.st_blocks * 512 <= (status.st_size + 64 * 1024));
  CHECK(records_in(path).size() == 201);
}

TEST_CASE("moved writers write on and close once") {
  test::TempDirectory directory;
  auto first = RecordWriter::open(directory / "a");
  REQUIRE(first);
  first->add(StartedRecord{});
  RecordWriter moved(std::move(*first));
  REQUIRE(moved.write());
  auto second = RecordWriter::open(directory / "b");
  REQUIRE(second);
  moved = std::move(*second);
  REQUIRE(moved.append(EndedRecord{}));
  CHECK(records_in(directory / "a").size() == 1);
  CHECK(records_in(directory / "b").size() == 1);
}

TEST_CASE("a file that was left in order is known by its last record") {
  const test::TempDirectory directory;
  const std::string path = directory / "records";
  for (std::uint64_t i = 0; i < 3; ++i) {
    auto writer = RecordWriter::open(path, 4096);
    REQUIRE(writer);
    REQUIRE(writer->append(EndedRecord{"one", 1}));
    REQUIRE(writer->append(ClosedRecord{{10 + i, 20}, 30}));
  }
  const std::string whole = *read_file(path);
  const Fd fd = open_regular(path, O_RDONLY);
  const auto closed = find_closed_end(fd.get());
  REQUIRE(closed);
  CHECK(closed->end == whole.size());
  CHECK(closed->last_sequence == 6);
  CHECK(closed->record.output_bytes[0] == 12);
  CHECK(closed->record.output_bytes[1] == 20);
  ScanReport report;
  CHECK(records_in(path, &report).size() == 6);  // the sequence goes on behind one
  CHECK(report.valid_end == whole.size());
  CHECK(report.damaged.empty());
}

TEST_CASE("a file with anything behind its last record was not left in order") {
  const test::TempDirectory directory;
  const std::string path = directory / "records";
  {
    auto writer = RecordWriter::open(path);
    REQUIRE(writer);
    REQUIRE(writer->append(ClosedRecord{{1, 2}, 3}));
  }
  const std::string whole = *read_file(path);
  const auto is_closed = [&path](const std::string& bytes) {
    put_file(path, bytes);
    return find_closed_end(open_regular(path, O_RDONLY).get()).has_value();
  };
  CHECK(is_closed(whole));
  CHECK_FALSE(is_closed(""));
  CHECK_FALSE(is_closed(whole.substr(0, whole.size() - 1)));
  CHECK_FALSE(is_closed(whole + "x"));
  CHECK_FALSE(is_closed(whole + whole.substr(8)));  // a frame of another place
  for (std::size_t at = 8; at < whole.size(); ++at) {
    std::string flipped = whole;
    flipped[at] = static_cast<char>(flipped[at] ^ 1);
    INFO("a flipped bit at " << at);
    CHECK_FALSE(is_closed(flipped));
  }
  put_file(path, whole);
  auto writer = RecordWriter::open(path);
  REQUIRE(writer);
  REQUIRE(writer->append(EndedRecord{"more", 1}));
  CHECK_FALSE(find_closed_end(writer->descriptor()));
}
