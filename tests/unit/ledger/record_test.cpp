// SPDX-License-Identifier: MIT
#include "ledger/record.h"

#include <chrono>

#include "ledger/record_file.h"
#include "ledger/utf8.h"
#include "tests/support/catch.h"
#include "tests/unit/ledger/random_record.h"

using namespace allot;
using test::bytes_of;
using test::RandomRecords;

namespace {

std::string_view payload_of(const std::string& frame) {
  return std::string_view(frame).substr(kFrameHeaderBytes);
}

template <class R>
R round_trip(const R& record) {
  std::string frame;
  REQUIRE(append_frame(frame, record, 77, 1234) == 1);
  auto decoded = decode_payload(payload_of(frame));
  REQUIRE(decoded);
  REQUIRE(*decoded);
  CHECK((*decoded)->sequence == 77);
  REQUIRE(std::holds_alternative<R>((*decoded)->record));
  return std::get<R>((*decoded)->record);
}

}  // namespace

TEST_CASE("every field of a finished record comes back") {
  FinishedRecord r;
  r.key = {4'000'000'000u, 17, 3};
  r.attempt = 5;
  r.started_ns = 1'700'000'000'123'456'789;
  r.ended_ns = 1'700'000'001'123'456'789;
  r.exit_info = {ExitClass::timed_out, 143, 15, "no time left: \xC3\xA9\n"};
  r.usage.wall_seconds = 0.1;
  r.usage.max_rss_bytes = 0;
  r.usage.involuntary_switches = ~std::uint64_t{0};
  r.usage.cores = 8;
  r.standard_output = {1, 2, 3, true};
  r.standard_error = {~std::uint64_t{0}, 5, 0, false};
  r.leftover_processes = 9;
  const FinishedRecord back = round_trip(r);
  CHECK(back.key == r.key);
  CHECK(back.attempt == 5);
  CHECK(back.started_ns == r.started_ns);
  CHECK(back.ended_ns == r.ended_ns);
  CHECK(back.exit_info.exit_class == ExitClass::timed_out);
  CHECK(back.exit_info.exit_code == 143);
  CHECK(back.exit_info.signal == 15);
  CHECK(back.exit_info.text == r.exit_info.text);
  CHECK(back.usage == r.usage);
  CHECK_FALSE(back.usage.user_seconds);
  CHECK(back.standard_output == r.standard_output);
  CHECK(back.standard_error == r.standard_error);
  CHECK(back.leftover_processes == 9);
}

TEST_CASE("every field of an intent comes back") {
  IntentRecord r;
  r.submission = 12;
  r.token = "token";
  r.id_base = "0123456789ab";
  r.is_array = true;
  r.step_origin = 100;
  r.steps = StepRanges(100, 1'000'000);
  r.steps.append(2'000'000);
  r.attempt = 2;
  r.resources.cores = 2;
  r.resources.memory_bytes = 1u << 30;
  r.resources.runtime_milliseconds = 90'000;
  r.resources.gpus = 0;
  r.resources.queue = "long";
  r.resources.pass_through = {{"--exclusive", ""}, {"--mail-type", "END"}};
  r.name = "batch part 12";
  r.at_ns = -1;
  r.priority = -7;
  r.excluded_nodes = {"node1", "node2"};
  r.round = 3;
  const IntentRecord back = round_trip(r);
  CHECK(back.submission == 12);
  CHECK(back.token == r.token);
  CHECK(back.id_base == r.id_base);
  CHECK(back.is_array);
  CHECK(back.step_origin == 100);
  CHECK(back.steps == r.steps);
  CHECK(back.attempt == 2);
  CHECK(back.resources == r.resources);
  CHECK(back.name == r.name);
  CHECK(back.at_ns == -1);
  CHECK(back.priority == -7);
  CHECK(back.excluded_nodes == r.excluded_nodes);
  CHECK(back.round == 3);
}

TEST_CASE("the other records come back") {
  const OpenedRecord opened = round_trip(OpenedRecord{"node1", "boot", 11, 22, 33, 44, "/sys/fs/cgroup/x", 55, "n7"});
  CHECK(opened.host == "node1");
  CHECK(opened.boot_id == "boot");
  CHECK(opened.pid == 11);
  CHECK(opened.start_ticks == 22);
  CHECK(opened.worker_pid == 33);
  CHECK(opened.worker_start_ticks == 44);
  CHECK(opened.cgroup == "/sys/fs/cgroup/x");
  CHECK(opened.at_ns == 55);
  CHECK(opened.node == "n7");
  CHECK(opened.node_name() == "n7");
  CHECK(round_trip(OpenedRecord{"node1", "boot", 11, 22, 33, 44, "", 55, ""}).node_name() == "node1");
  const StartedRecord started = round_trip(StartedRecord{{1, 2, 3}, 4, 5});
  CHECK(started.key == RunKey{1, 2, 3});
  CHECK(started.attempt == 4);
  CHECK(started.at_ns == 5);
  const SubmittedRecord submitted = round_trip(SubmittedRecord{1, "4711", "", 2});
  CHECK(submitted.submission == 1);
  CHECK(submitted.native_id == "4711");
  CHECK(submitted.error.empty());
  CHECK(submitted.at_ns == 2);
  const VerdictRecord verdict = round_trip(VerdictRecord{{1, 2, 3}, false, {ExitClass::lost, {}, {}, "gone"}, 9});
  CHECK(verdict.key == RunKey{1, 2, 3});
  CHECK_FALSE(verdict.started);
  CHECK(verdict.exit_info.exit_class == ExitClass::lost);
  CHECK_FALSE(verdict.exit_info.exit_code);
  CHECK(verdict.exit_info.text == "gone");
  CHECK(verdict.at_ns == 9);
  AddedRecord one;
  one.parent = {1, 2, 3};
  one.token = "token";
  one.name = "parts";
  one.first_step = 4;
  one.count = 5;
  one.again = true;
  one.when = DependencyKind::after_any;
  one.at_ns = 6;
  const AddedRecord added = round_trip(AddedRecord(one));
  CHECK(added.parent == one.parent);
  CHECK(added.token == "token");
  CHECK(added.name == "parts");
  CHECK(added.first_step == 4);
  CHECK(added.count == 5);
  CHECK(added.again);
  CHECK(added.when == DependencyKind::after_any);
  CHECK(added.at_ns == 6);
  const ClosedRecord closed = round_trip(ClosedRecord{{7, 8}, 9});
  CHECK(closed.output_bytes[0] == 7);
  CHECK(closed.output_bytes[1] == 8);
  CHECK(closed.at_ns == 9);
  const WithdrawnRecord withdrawn = round_trip(WithdrawnRecord{3, StepRanges(5, 6), "cancelled", 7});
  CHECK(withdrawn.submission == 3);
  CHECK(withdrawn.steps == StepRanges(5, 6));
  CHECK(withdrawn.reason == "cancelled");
  const AbandonedRecord abandoned = round_trip(AbandonedRecord{8, 7, "its dependency failed", 6});
  CHECK(abandoned.step == 8);
  CHECK(abandoned.cause_step == 7);
  CHECK(abandoned.reason == "its dependency failed");
  RetryRecord decision;
  decision.key = {8, 7, 1};
  decision.because = ExitClass::out_of_memory;
  decision.retry = 2;
  decision.not_before_ns = 11;
  decision.resources.memory_bytes = 1234;
  decision.resources.queue = "long";
  decision.resources.pass_through["--x"] = "y";
  decision.reason = "memory 1 KiB → 2 KiB";
  decision.at_ns = 10;
  const RetryRecord retry = round_trip(decision);
  CHECK(retry.key == decision.key);
  CHECK(retry.because == decision.because);
  CHECK(retry.retry == 2);
  CHECK(retry.not_before_ns == 11);
  CHECK(retry.resources == decision.resources);
  CHECK(retry.reason == decision.reason);
  CHECK(retry.at_ns == 10);
  const EndedRecord ended = round_trip(EndedRecord{"all tasks ended", 1});
  CHECK(ended.reason == "all tasks ended");
  CHECK(ended.at_ns == 1);
}

TEST_CASE("random records of every type come back byte for byte") {
  RandomRecords random(20'240'601);
  for (int i = 0; i < 20'000; ++i) {
    const Record record = random.record();
    const std::string frame = bytes_of(record);
    auto decoded = decode_payload(payload_of(frame));
    REQUIRE(decoded);
    REQUIRE(*decoded);
    REQUIRE((*decoded)->record.index() == record.index());
    REQUIRE(bytes_of((*decoded)->record) == frame);
  }
}

TEST_CASE("a payload cut anywhere is refused and one with more behind it is read") {
  RandomRecords random(7);
  for (int i = 0; i < 300; ++i) {
    const Record record = random.record();
    const std::string frame = bytes_of(record);
    const std::string payload(payload_of(frame));
    std::size_t without_priority = payload.size();  // an intent may end there
    const bool is_intent = std::holds_alternative<IntentRecord>(record);
    const std::size_t without_round = payload.size() - (is_intent ? 4 : 0);  // or there
    if (const auto* intent = std::get_if<IntentRecord>(&record)) {
      without_priority -= 12;
      for (const std::string& node : intent->excluded_nodes) without_priority -= 4 + node.size();
    } else if (std::holds_alternative<CancelledRecord>(record)) {
      --without_priority;  // and a cancellation before it could be taken back
    } else if (const auto* opened = std::get_if<OpenedRecord>(&record)) {
      without_priority -= 4 + opened->node.size();  // and a session before schedulers had names for nodes
    }
    for (std::size_t size = 0; size < payload.size(); ++size) {
      if (size == without_priority || size == without_round) continue;
      // A copy of exactly that size, so that a sanitizer sees a read beyond it.
      const std::vector<char> cut(payload.begin(), payload.begin() + static_cast<std::ptrdiff_t>(size));
      REQUIRE_FALSE(decode_payload({cut.data(), cut.size()}));
    }
    auto decoded = decode_payload(payload + "a later version's field");
    REQUIRE(decoded);
    REQUIRE(*decoded);
    REQUIRE(bytes_of((*decoded)->record) == frame);
  }
}

TEST_CASE("mutated payloads never crash and never allocate beyond their size") {
  RandomRecords random(99);
  int good = 0;
  int bad = 0;
  for (int i = 0; i < 100'000; ++i) {
    const std::string frame = bytes_of(random.record());
    std::string payload(payload_of(frame));
    for (std::uint64_t n = 1 + random.below(4); n > 0; --n) {
      payload[random.below(payload.size())] = static_cast<char>(random.coin() ? random.below(256) : 0xFF);
    }
    auto decoded = decode_payload(payload);
    if (decoded && *decoded) {
      ++good;
      std::string again;
      append_frame(again, (*decoded)->record, 1, 8);
      REQUIRE(again.size() <= payload.size() + kFrameHeaderBytes + 64);
    } else {
      ++bad;
    }
  }
  CHECK(good > 0);
  CHECK(bad > 0);
}

TEST_CASE("unknown types are told apart from damage") {
  std::string payload = std::string(payload_of(bytes_of(EndedRecord{"x", 1})));
  payload[0] = 100;
  auto decoded = decode_payload(payload);
  REQUIRE(decoded);
  CHECK_FALSE(*decoded);
  payload = std::string(payload_of(bytes_of(FinishedRecord{})));
  payload[9 + 10] = 11;  // the exit class behind the last
  decoded = decode_payload(payload);
  REQUIRE_FALSE(decoded);
  CHECK(decoded.error().code == ErrorCode::gave_up);
}

TEST_CASE("long texts keep their last 10 000 characters and fit") {
  FinishedRecord r;
  for (int i = 0; i < 30'000; ++i) r.exit_info.text += "\xF0\x9F\x98\x80";
  std::string frame;
  append_frame(frame, r, 1, 8);
  CHECK(frame.size() <= kMaxFinishedBytes);
  auto decoded = decode_payload(payload_of(frame));
  REQUIRE(decoded);
  CHECK(std::get<FinishedRecord>((*decoded)->record).exit_info.text == r.exit_info.text.substr(80'000));

  SubmittedRecord submitted;
  submitted.error.assign(3u << 20, 'e');
  frame.clear();
  append_frame(frame, submitted, 1, 8);
  CHECK(frame.size() <= kFrameHeaderBytes + kMaxPayloadBytes);
  decoded = decode_payload(payload_of(frame));
  REQUIRE(decoded);
  CHECK(std::get<SubmittedRecord>((*decoded)->record).error.size() == 64 * 1024);
}

TEST_CASE("an intent that was written before there were priorities has none and excludes no node") {
  IntentRecord intent;
  intent.submission = 3;
  intent.steps = StepRanges(0, 2);
  std::string frame;
  append_frame(frame, intent, 1, 8);
  const std::string_view payload = payload_of(frame);
  auto decoded = decode_payload(payload.substr(0, payload.size() - 12));
  REQUIRE(decoded);
  const auto& old = std::get<IntentRecord>((*decoded)->record);
  CHECK(old.steps == intent.steps);
  CHECK(old.priority == 0);
  CHECK(old.excluded_nodes.empty());
  CHECK_FALSE(decode_payload(payload.substr(0, payload.size() - 8)));
  CHECK(decode_payload(payload.substr(0, payload.size() - 4)));  // before tasks could be added
}

TEST_CASE("a session that was written before schedulers had names for nodes is on its host") {
  std::string frame;
  append_frame(frame, OpenedRecord{"node1", "boot", 11, 22, 33, 44, "", 55, "n7"}, 1, 8);
  const std::string_view payload = payload_of(frame);
  const auto decoded = decode_payload(payload.substr(0, payload.size() - 6));
  REQUIRE(decoded);
  const auto& old = std::get<OpenedRecord>((*decoded)->record);
  CHECK(old.at_ns == 55);
  CHECK(old.node_name() == "node1");
}

TEST_CASE("an intent with very many separate ranges becomes several frames that hold all of them") {
  IntentRecord intent;
  intent.submission = 3;
  intent.token = "t";
  for (std::uint64_t step = 0; step < 300'000; step += 2) intent.steps.append(step);
  for (auto* text : {&intent.name, &intent.id_base, &intent.resources.queue, &intent.resources.account}) {
    text->assign(100'000, 'x');
  }
  for (int i = 0; i < 40; ++i) intent.resources.pass_through[std::to_string(i)].assign(10'000, 'p');
  std::string bytes = kRecordFileHeader;
  const std::uint64_t frames = append_frame(bytes, intent, 5, bytes.size());
  CHECK(frames == 4);
  StepRanges together;
  std::uint64_t sequence = 5;
  const ScanReport report = scan_frames(bytes, 0, [&](const DecodedRecord& decoded, std::uint64_t) {
    CHECK(decoded.sequence == sequence++);
    const auto& part = std::get<IntentRecord>(decoded.record);
    CHECK(part.token == "t");
    for (const StepRange& range : part.steps.ranges()) together.append_range(range.first, range.count);
    return true;
  });
  CHECK(sequence == 9);
  CHECK(report.valid_end == bytes.size());
  CHECK(together == intent.steps);
}

TEST_CASE("utf8_tail keeps whole characters and counts stray bytes") {
  CHECK(utf8_tail("abc", 3) == "abc");
  CHECK(utf8_tail("abc", 2) == "bc");
  CHECK(utf8_tail("abc", 0).empty());
  CHECK(utf8_tail("", 5).empty());
  CHECK(utf8_tail("a\xC3\xA9z", 2) == "\xC3\xA9z");
  CHECK(utf8_tail("a\xE2\x82\xAC", 1) == "\xE2\x82\xAC");
  CHECK(utf8_tail("\xF0\x9F\x98\x80\xF0\x9F\x98\x81", 1) == "\xF0\x9F\x98\x81");
  CHECK(utf8_tail("\x80\x80\x80\x80\x80", 2) == "\x80\x80");
  CHECK(utf8_tail("\xFF\xFE\xFD", 2) == "\xFE\xFD");
  CHECK(utf8_tail("\xE2\x82z", 2) == "\x82z");            // a sequence cut short: its bytes count one by one
  CHECK(utf8_tail("\xC3\xA9\xA9", 2) == "\xC3\xA9\xA9");  // a sequence and a stray continuation
  CHECK(ledger::utf8_head("a\xC3\xA9z", 2) == "a");
  CHECK(ledger::utf8_head("a\xC3\xA9z", 3) == "a\xC3\xA9");
  CHECK(ledger::utf8_head("\xF0\x9F\x98\x80", 3).empty());
  CHECK(ledger::utf8_head("\xF0\x9F\x98", 2) == "\xF0\x9F");  // no whole sequence: nothing to protect
  CHECK(ledger::utf8_head("\x80\x80\x80\x80", 2) == "\x80\x80");
  CHECK(ledger::utf8_head("ab", 0).empty());

  // Whatever the bytes: the tail is a suffix, never longer than asked, and cutting again changes nothing.
  RandomRecords random(3);
  for (int i = 0; i < 20'000; ++i) {
    std::string text;
    for (std::uint64_t n = random.below(12); n > 0; --n) {
      constexpr std::string_view kPieces[] = {"a",    "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80",
                                              "\x80", "\xE2",     "\xFF"};
      text += kPieces[random.below(7)];
    }
    const std::size_t n = random.below(8);
    const std::string_view tail = utf8_tail(text, n);
    REQUIRE(text.ends_with(tail));
    REQUIRE(tail.size() <= 4 * n);
    REQUIRE(utf8_tail(tail, n) == tail);
    if (tail.size() < text.size()) REQUIRE(tail.size() >= n);
    const std::string_view head = ledger::utf8_head(text, n);
    REQUIRE(text.starts_with(head));
    REQUIRE(head.size() <= n);
    REQUIRE((head.size() == text.size() || head.size() + 3 >= n));
  }
}
