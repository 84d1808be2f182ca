// SPDX-License-Identifier: MIT
#include <algorithm>
#include <chrono>
#include <cstring>

#include "ledger/record_codec.h"
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

constexpr std::size_t kHeaderBytes = 8;

// A record file in memory, with where each frame lies and what it holds.
struct Sample {
  struct Frame {
    std::size_t offset = 0;
    std::size_t end = 0;
    std::string record;  // its bytes, as bytes_of gives them
  };
  std::string bytes = kRecordFileHeader;
  std::vector<Frame> frames;

  void add(const Record& record) {
    Frame frame;
    frame.offset = bytes.size();
    append_frame(bytes, record, frames.size() + 1, bytes.size());
    frame.end = bytes.size();
    frame.record = bytes_of(record);
    frames.push_back(std::move(frame));
  }
  static Sample random(std::uint32_t seed, int count) {
    RandomRecords records(seed);
    Sample sample;
    for (int i = 0; i < count; ++i) sample.add(records.record());
    return sample;
  }
};

struct Found {
  std::vector<std::pair<std::uint64_t, std::string>> records;
  ScanReport report;
};

RecordVisitor collector(Found& found) {
  return [&found](const DecodedRecord& decoded, std::uint64_t offset) {
    found.records.emplace_back(offset, bytes_of(decoded.record));
    return true;
  };
}

Found scan(const std::string& bytes, std::uint64_t base = 0) {
  Found found;
  // Exactly as large as the bytes, so that a sanitizer sees a read beyond them.
  const std::vector<char> copy(bytes.begin(), bytes.end());
  found.report = scan_frames({copy.data(), copy.size()}, base, collector(found));
  return found;
}

// Checks that exactly the frames that do not overlap [from, to) were found, each with its content.
void check_all_but(const Sample& sample, const Found& found, std::size_t from, std::size_t to) {
  std::size_t next = 0;
  for (const Sample::Frame& frame : sample.frames) {
    if (frame.offset < to && from < frame.end) continue;
    REQUIRE(next < found.records.size());
    REQUIRE(found.records[next].first == frame.offset);
    REQUIRE(found.records[next].second == frame.record);
    ++next;
  }
  REQUIRE(next == found.records.size());
}

}  // namespace

TEST_CASE("a good file is read whole") {
  const Sample sample = Sample::random(1, 200);
  const Found found = scan(sample.bytes);
  check_all_but(sample, found, 0, 0);
  CHECK(found.report.valid_end == sample.bytes.size());
  CHECK(found.report.torn_bytes == 0);
  CHECK(found.report.last_sequence == 200);
  CHECK(found.report.damaged.empty());
  CHECK(found.report.unknown_records == 0);
  CHECK(scan("").report.valid_end == 0);
}

TEST_CASE("a file cut at any byte gives every whole frame before it") {
  const Sample sample = Sample::random(2, 12);
  for (std::size_t size = 0; size < sample.bytes.size(); ++size) {
    const Found found = scan(sample.bytes.substr(0, size));
    check_all_but(sample, found, size, sample.bytes.size());
    const std::size_t end =
        found.records.empty() ? (size >= kHeaderBytes ? kHeaderBytes : 0) : sample.frames[found.records.size() - 1].end;
    REQUIRE(found.report.valid_end == end);
    REQUIRE(found.report.torn_bytes == size - end);
    REQUIRE(found.report.damaged.empty());
    REQUIRE(found.report.last_sequence == found.records.size());
  }
}

TEST_CASE("any bit flipped costs the frame it lies in and no other") {
  const Sample sample = Sample::random(3, 12);
  for (std::size_t at = 0; at < sample.bytes.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string bytes = sample.bytes;
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << bit));
      const Found found = scan(bytes);
      check_all_but(sample, found, at, at + 1);
      if (at < kHeaderBytes) {
        REQUIRE(found.report.damaged.size() == 1);
        REQUIRE(found.report.damaged[0].offset == 0);
        REQUIRE(found.report.damaged[0].length == kHeaderBytes);
      } else if (at < sample.frames.back().offset) {
        REQUIRE(found.report.damaged.size() == 1);
        REQUIRE(found.report.damaged[0].offset <= at);
        REQUIRE(at < found.report.damaged[0].offset + found.report.damaged[0].length);
        REQUIRE(found.report.torn_bytes == 0);
      } else {  // the last frame: nothing good behind it, so it counts as torn
        REQUIRE(found.report.damaged.empty());
        REQUIRE(found.report.torn_bytes == sample.bytes.size() - sample.frames.back().offset);
      }
    }
  }
}

TEST_CASE("any byte replaced costs its frame only") {
  const Sample sample = Sample::random(4, 40);
  RandomRecords random(5);
  for (int i = 0; i < 6'000; ++i) {
    std::string bytes = sample.bytes;
    const std::size_t at = kHeaderBytes + random.below(bytes.size() - kHeaderBytes);
    const char before = bytes[at];
    bytes[at] = static_cast<char>(random.below(256));
    if (bytes[at] == before) continue;
    check_all_but(sample, scan(bytes), at, at + 1);
  }
}

TEST_CASE("a zeroed block in the middle costs the frames it touches") {
  Sample sample = Sample::random(6, 600);
  REQUIRE(sample.bytes.size() > 40'000);
  for (std::size_t at = 4096; at + 4096 < sample.bytes.size(); at += 4096) {
    std::string bytes = sample.bytes;
    std::memset(bytes.data() + at, 0, 4096);
    const Found found = scan(bytes);
    // A frame that has nothing but zeros in the block is whole.
    std::size_t from = at;
    std::size_t to = at + 4096;
    while (sample.bytes[from] == 0) ++from;
    while (sample.bytes[to - 1] == 0) --to;
    check_all_but(sample, found, from, to);
    // With nothing good behind it, it counts as torn.
    REQUIRE(found.report.damaged.size() == (to > sample.frames.back().offset ? 0u : 1u));
  }
}

TEST_CASE("a missing stretch is found and what follows it is not mistaken for anything") {
  const Sample sample = Sample::random(7, 50);
  // Frames behind the gap lie at other offsets than they were written for: none of them is believed.
  std::string bytes = sample.bytes;
  bytes.erase(sample.frames[10].offset, sample.frames[12].end - sample.frames[10].offset);
  const Found found = scan(bytes);
  check_all_but(sample, found, sample.frames[10].offset, sample.bytes.size());
  CHECK(found.report.torn_bytes == bytes.size() - sample.frames[10].offset);
}

TEST_CASE("a record file quoted in an error text is not read as records when its frame is damaged") {
  Sample inner;
  for (int i = 0; i < 5; ++i) inner.add(FinishedRecord{});
  Sample sample;
  sample.add(StartedRecord{});
  FinishedRecord failed;
  failed.exit_info = {ExitClass::error, 1, {}, inner.bytes};
  sample.add(failed);
  sample.add(EndedRecord{"over", 1});
  std::string bytes = sample.bytes;
  bytes[sample.frames[1].offset] ^= 1;
  check_all_but(sample, scan(bytes), sample.frames[1].offset, sample.frames[1].end);
}

TEST_CASE("records of unknown types are counted and skipped") {
  Sample sample = Sample::random(8, 3);
  std::string bytes = sample.bytes;
  const std::size_t offset = bytes.size();
  append_frame(bytes, EndedRecord{"x", 1}, 4, offset);
  bytes[offset + kFrameHeaderBytes] = 42;
  const std::string_view payload = std::string_view(bytes).substr(offset + kFrameHeaderBytes);
  ledger::store(bytes.data() + offset + 8, ledger::checksum(payload));
  ledger::store(bytes.data() + offset + 12, ledger::checksum({bytes.data() + offset, 12}, offset));
  append_frame(bytes, StartedRecord{}, 5, bytes.size());
  const Found found = scan(bytes);
  CHECK(found.records.size() == 4);
  CHECK(found.report.unknown_records == 1);
  CHECK(found.report.last_sequence == 5);
  CHECK(found.report.damaged.empty());
  test::TempDirectory directory;
  put_file(directory / "f", bytes);
  auto read = read_record_at(directory / "f", offset);
  REQUIRE_FALSE(read);
  CHECK(mentions(read.error().message, {"type (42)", directory / "f", std::to_string(offset)}));
}

TEST_CASE("part of a file is scanned from a frame's offset, and a visitor may stop") {
  const Sample sample = Sample::random(9, 20);
  const std::size_t from = sample.frames[7].offset;
  const Found found = scan(sample.bytes.substr(from), from);
  REQUIRE(found.records.size() == 13);
  CHECK(found.records[0].first == from);
  CHECK(found.report.valid_end == sample.bytes.size());
  CHECK(scan(sample.bytes.substr(from), from + 1).records.empty());

  int seen = 0;
  const ScanReport report =
      scan_frames(sample.bytes, 0, [&](const DecodedRecord&, std::uint64_t) { return ++seen < 5; });
  CHECK(seen == 5);
  CHECK(report.valid_end == sample.frames[4].end);
  CHECK(report.torn_bytes == 0);
}

TEST_CASE("files are scanned as memory is, whatever the frames' sizes and the blocks' borders") {
  test::TempDirectory directory;
  const std::string path = directory / "records";
  Sample sample;
  RandomRecords random(10);
  for (int i = 0; i < 400; ++i) {
    sample.add(random.record());
    if (i % 40 == 7) sample.add(SubmittedRecord{1, "", std::string(random.below(64 * 1024), 'e'), 0});
    if (i % 150 == 9) {  // close to the largest payload
      IntentRecord large;
      for (std::uint64_t step = 0; step < 37'000; ++step)
        large.steps.append((std::uint64_t{1} << 61) + step * 2'000'000);
      for (int k = 0; k < 12; ++k) large.resources.pass_through[std::to_string(k)].assign(10'000, 'p');
      sample.add(large);
    }
  }
  put_file(path, sample.bytes);
  Found found;
  auto report = scan_record_file(path, 0, collector(found));
  REQUIRE(report);
  found.report = *report;
  check_all_but(sample, found, 0, 0);
  CHECK(report->valid_end == sample.bytes.size());
  CHECK(report->torn_bytes == 0);

  for (const Sample::Frame& frame : sample.frames) {
    auto read = read_record_at(path, frame.offset);
    REQUIRE(read);
    REQUIRE(bytes_of(read->record) == frame.record);
  }
  auto reader = RecordReader::open(path);
  REQUIRE(reader);
  for (int i = 0; i < 2000; ++i) {
    // Mostly ascending, sometimes back.
    const std::size_t at =
        random.coin() ? static_cast<std::size_t>(i) % sample.frames.size() : random.below(sample.frames.size());
    auto read = reader->read(sample.frames[at].offset);
    REQUIRE(read);
    REQUIRE(bytes_of(read->record) == sample.frames[at].record);
  }
  CHECK_FALSE(reader->read(sample.frames[5].offset + 1));
  CHECK_FALSE(reader->read(sample.bytes.size()));
  CHECK(reader->read(sample.frames[5].offset));
  found.records.clear();
  report = scan_record_file(path, sample.frames[300].offset, collector(found));
  REQUIRE(report);
  CHECK(found.records.size() == sample.frames.size() - 300);

  // Cut, and damaged, at random places: file and memory agree.
  for (int i = 0; i < 60; ++i) {
    std::string bytes = sample.bytes.substr(0, 1 + random.below(sample.bytes.size()));
    for (std::uint64_t n = random.below(5); n > 0; --n) bytes[random.below(bytes.size())] ^= 0x55;
    put_file(path, bytes);
    Found in_file;
    report = scan_record_file(path, 0, collector(in_file));
    REQUIRE(report);
    const Found in_memory = scan(bytes);
    REQUIRE(in_file.records == in_memory.records);
    REQUIRE(report->valid_end == in_memory.report.valid_end);
    REQUIRE(report->torn_bytes == in_memory.report.torn_bytes);
    REQUIRE(report->damaged.size() == in_memory.report.damaged.size());
  }
}

TEST_CASE("reading at a wrong place, or from no file, is an error that says where") {
  test::TempDirectory directory;
  const std::string path = directory / "records";
  auto report = scan_record_file(path, 0, [](const DecodedRecord&, std::uint64_t) { return true; });
  REQUIRE(report);
  CHECK(report->valid_end == 0);
  CHECK(report->torn_bytes == 0);
  CHECK_FALSE(read_record_at(path, 8));
  const Sample sample = Sample::random(11, 3);
  put_file(path, sample.bytes.substr(0, sample.bytes.size() - 1));
  for (std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{9}, std::uint64_t{sample.frames[2].offset},
                               std::uint64_t{sample.bytes.size()}, ~std::uint64_t{0} >> 1}) {
    INFO(offset);
    auto read = read_record_at(path, offset);
    REQUIRE_FALSE(read);
    CHECK(read.error().code == ErrorCode::gave_up);
    CHECK(mentions(read.error().message, {path}));
  }
  auto directory_read = scan_record_file(directory.path(), 0, [](const DecodedRecord&, std::uint64_t) { return true; });
  REQUIRE_FALSE(directory_read);
  CHECK(directory_read.error().code == ErrorCode::gave_up);
}

TEST_CASE("a reader that has seen a torn tail sees what was written over it") {
  test::TempDirectory directory;
  const std::string path = directory / "records";
  Sample sample;
  for (int i = 0; i < 3; ++i) sample.add(StartedRecord{{1, 2, 3}, 4, 5});
  put_file(path, sample.bytes.substr(0, sample.bytes.size() - 1) + "?????");
  auto reader = RecordReader::open(path);
  REQUIRE(reader);
  REQUIRE(reader->read(sample.frames[0].offset));
  CHECK_FALSE(reader->read(sample.frames[2].offset));
  REQUIRE(reader->read(sample.frames[0].offset));
  auto writer = RecordWriter::open(path);
  REQUIRE(writer);
  REQUIRE(writer->append(StartedRecord{{7, 8, 9}, 1, 1}));
  auto read = reader->read(sample.frames[2].offset);
  REQUIRE(read);
  CHECK(std::get<StartedRecord>(read->record).key == RunKey{7, 8, 9});
}

TEST_CASE("hostile bytes are scanned in linear time") {
  // Headers that are good in every checksum they carry themselves, one after the other, each with a length as large as
  // may be and a payload that does not match; and magics at every place.
  auto seconds_for = [](std::size_t size, bool good_headers) {
    std::string bytes = kRecordFileHeader;
    std::size_t frames = 0;
    while (bytes.size() < size) {
      const std::uint64_t offset = bytes.size();
      char header[kFrameHeaderBytes];
      ledger::store(header, kFrameMagic);
      ledger::store(header + 4, static_cast<std::uint32_t>(kMaxPayloadBytes - frames % 1000));
      ledger::store(header + 8, std::uint32_t{1});
      ledger::store(header + 12, good_headers ? ledger::checksum({header, 12}, offset) : kFrameMagic);
      bytes.append(header, good_headers ? sizeof header : 4 + frames % 13);
      ++frames;
    }
    const auto begin = std::chrono::steady_clock::now();
    int records = 0;
    const ScanReport report = scan_frames(bytes, 0, [&](const DecodedRecord&, std::uint64_t) { return ++records > 0; });
    CHECK(records == 0);
    CHECK(report.torn_bytes == bytes.size() - kHeaderBytes);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  for (bool good_headers : {false, true}) {
    // 16 MB; a scan that read each claimed payload would have to sum 10^12 bytes and more. The bound is generous for
    // slow machines and sanitizers.
    CHECK(seconds_for(16u << 20, good_headers) < 5.0);
  }
}

TEST_CASE("the list of damaged regions is bounded") {
  std::string bytes = kRecordFileHeader;
  for (std::uint64_t i = 0; i < 3000; ++i) {
    append_frame(bytes, StartedRecord{}, i + 1, bytes.size());
    bytes += "?";
  }
  append_frame(bytes, StartedRecord{}, 3001, bytes.size());
  const Found found = scan(bytes);
  CHECK(found.records.size() == 3001);
  CHECK(found.report.damaged.size() == 1024);
  CHECK(found.report.more_damaged == 3000 - 1024);
}

TEST_CASE("random bytes and random mixtures of frames never break the scan") {
  RandomRecords random(12);
  for (int i = 0; i < 3'000; ++i) {
    std::string bytes = random.coin() ? kRecordFileHeader : "";
    for (std::uint64_t n = random.below(12); n > 0; --n) {
      const std::size_t before = bytes.size();
      switch (random.below(4)) {
        case 0:
          bytes += random.text(50);
          break;
        case 1:
          append_frame(bytes, random.record(), random.any(), bytes.size());
          break;
        case 2:
          append_frame(bytes, random.record(), random.any(), random.any());
          break;
        default:
          append_frame(bytes, random.record(), 1, bytes.size());
          bytes.resize(before + random.below(bytes.size() - before + 1));
      }
    }
    const Found found = scan(bytes);
    REQUIRE(found.report.valid_end + found.report.torn_bytes == bytes.size());
    for (const auto& [offset, record] : found.records) REQUIRE(offset + record.size() <= found.report.valid_end);
  }
}
