// SPDX-License-Identifier: MIT
#include "ledger/record.h"

#include <algorithm>
#include <span>

#include "ledger/bytes.h"
#include "ledger/record_codec.h"
#include "ledger/record_fields.h"
#include "ledger/utf8.h"

namespace allot {
namespace {

using ledger::Decoder;
using ledger::Encoder;
using ledger::get_masked;
using ledger::get_ranges;
using ledger::get_resources;
using ledger::kHasExitCode;
using ledger::kHasSignal;
using ledger::kMaxNameBytes;
using ledger::kMaxPassThroughBytes;
using ledger::kPassThroughHead;
using ledger::kStderrExternal;
using ledger::kStdoutExternal;
using ledger::name_of;
using ledger::put_masked;
using ledger::put_ranges;
using ledger::put_resources;
using ledger::RecordType;
using Ranges = std::span<const StepRange>;

// Bounds that together keep every payload below kMaxPayloadBytes; each text is cut to its own.
constexpr std::size_t kMaxEvidenceCharacters = 10'000;
constexpr std::size_t kMaxEvidenceBytes = 4 * kMaxEvidenceCharacters;
constexpr std::size_t kMaxReasonBytes = 64 * 1024;
constexpr std::size_t kMaxNodesBytes = 64 * 1024;
constexpr std::size_t kMaxRangesPerFrame = 37'500;
constexpr std::size_t kMaxRangeBytes = 20;  // two varints
constexpr std::size_t kFixedBytes = 512;    // numbers and lengths of any one record
static_assert(kFixedBytes + 6 * kMaxNameBytes + kMaxPassThroughBytes + kMaxNodesBytes +
                  kMaxRangesPerFrame * kMaxRangeBytes <=
              kMaxPayloadBytes);
static_assert(kFixedBytes + kMaxEvidenceBytes + kFrameHeaderBytes <= kMaxFinishedBytes);

std::string_view reason_of(std::string_view text) {
  return ledger::utf8_head(text, kMaxReasonBytes);
}
std::string_view evidence_of(std::string_view text) {
  return utf8_tail(text, kMaxEvidenceCharacters);
}

// --- how large a payload may become

std::size_t room(const OpenedRecord& r) {
  return r.host.size() + r.boot_id.size() + r.cgroup.size() + r.node.size();
}
std::size_t room(const StartedRecord&) {
  return 0;
}
std::size_t room(const FinishedRecord& r) {
  return std::min(r.exit_info.text.size(), kMaxEvidenceBytes);
}
std::size_t room(const RequestedResources& r) {
  std::size_t pass_through = 0;
  for (const auto& [key, value] : r.pass_through) pass_through += kPassThroughHead + key.size() + value.size();
  return r.queue.size() + r.account.size() + r.constraint.size() + std::min(pass_through, kMaxPassThroughBytes);
}
std::size_t room(const IntentRecord& r) {
  return r.token.size() + r.id_base.size() + r.name.size() + room(r.resources) + kMaxNodesBytes;
}
std::size_t room(const RetryRecord& r) {
  return r.reason.size() + room(r.resources);
}
std::size_t room(const SubmittedRecord& r) {
  return r.native_id.size() + r.error.size();
}
std::size_t room(const VerdictRecord& r) {
  return std::min(r.exit_info.text.size(), kMaxEvidenceBytes);
}
std::size_t room(const WithdrawnRecord& r) {
  return r.reason.size();
}
std::size_t room(const AbandonedRecord& r) {
  return r.reason.size();
}
std::size_t room(const EndedRecord& r) {
  return r.reason.size();
}
std::size_t room(const HeldRecord&) {
  return 0;
}
std::size_t room(const ThrottleRecord&) {
  return 0;
}
std::size_t room(const CancelledRecord&) {
  return 0;
}
std::size_t room(const AddedRecord& r) {
  return r.token.size() + r.name.size();
}
std::size_t room(const ClosedRecord&) {
  return 0;
}

// --- fields that several records have

void put_key(Encoder& out, const RunKey& key) {
  out.put(key.step);
  out.put(key.submission);
  out.put(key.restart);
}

RunKey get_key(Decoder& in) {
  RunKey key;
  key.step = in.get<std::uint32_t>();
  key.submission = in.get<std::uint32_t>();
  key.restart = in.get<std::uint16_t>();
  return key;
}

void put_outcome(Encoder& out, const ExitInfo& info, std::uint8_t flags) {
  if (info.exit_code) flags |= kHasExitCode;
  if (info.signal) flags |= kHasSignal;
  out.put(static_cast<std::uint8_t>(info.exit_class));
  out.put(flags);
  out.put(static_cast<std::int32_t>(info.exit_code.value_or(0)));
  out.put(static_cast<std::int32_t>(info.signal.value_or(0)));
}

std::uint8_t get_outcome(Decoder& in, ExitInfo& info) {
  const auto exit_class = in.get<std::uint8_t>();
  if (exit_class >= kExitClassCount) in.spoil();
  info.exit_class = static_cast<ExitClass>(exit_class);
  const auto flags = in.get<std::uint8_t>();
  const auto code = in.get<std::int32_t>();
  const auto signal = in.get<std::int32_t>();
  if (flags & kHasExitCode) info.exit_code = code;
  if (flags & kHasSignal) info.signal = signal;
  return flags;
}

void put_extent(Encoder& out, const OutputExtent& extent) {
  out.put(extent.offset);
  out.put(extent.length);
  out.put(extent.lost_bytes);
}

OutputExtent get_extent(Decoder& in, bool external) {
  OutputExtent extent;
  extent.offset = in.get<std::uint64_t>();
  extent.length = in.get<std::uint64_t>();
  extent.lost_bytes = in.get<std::uint64_t>();
  extent.external = external;
  return extent;
}

// A mask says which of the fields follow. The order is the format.
template <class Usage, class F>
void for_each_usage_field(Usage& usage, F&& f) {
  unsigned bit = 0;
  f(usage.wall_seconds, bit++);
  f(usage.user_seconds, bit++);
  f(usage.system_seconds, bit++);
  f(usage.max_rss_bytes, bit++);
  f(usage.tree_peak_bytes, bit++);
  f(usage.read_bytes, bit++);
  f(usage.write_bytes, bit++);
  f(usage.minor_faults, bit++);
  f(usage.major_faults, bit++);
  f(usage.voluntary_switches, bit++);
  f(usage.involuntary_switches, bit++);
  f(usage.cores, bit++);
  f(usage.energy_joules, bit++);
  f(usage.source, bit++);
}

constexpr auto kUsage = [](auto& usage, auto&& f) { for_each_usage_field(usage, f); };
void put_nodes(Encoder& out, const std::vector<std::string>& nodes) {
  std::size_t bytes = 0;
  std::uint32_t count = 0;
  for (const std::string& node : nodes) {
    bytes += sizeof(std::uint32_t) + node.size();
    if (bytes > kMaxNodesBytes) break;
    ++count;
  }
  out.put(count);
  for (std::uint32_t i = 0; i < count; ++i) out.put_text(nodes[i]);
}

// --- one pair of functions per record; the order of the fields is the format, new ones go to the end

void encode(Encoder& out, const OpenedRecord& r, Ranges) {
  out.put_text(name_of(r.host));
  out.put_text(name_of(r.boot_id));
  out.put(r.pid);
  out.put(r.start_ticks);
  out.put(r.worker_pid);
  out.put(r.worker_start_ticks);
  out.put_text(name_of(r.cgroup));
  out.put(r.at_ns);
  out.put_text(name_of(r.node));
}

void decode(Decoder& in, OpenedRecord& r) {
  r.host = in.get_text();
  r.boot_id = in.get_text();
  r.pid = in.get<std::int64_t>();
  r.start_ticks = in.get<std::uint64_t>();
  r.worker_pid = in.get<std::int64_t>();
  r.worker_start_ticks = in.get<std::uint64_t>();
  r.cgroup = in.get_text();
  r.at_ns = in.get<std::int64_t>();
  if (in.left() == 0) return;  // written before schedulers had names for nodes
  r.node = in.get_text();
}

void encode(Encoder& out, const StartedRecord& r, Ranges) {
  put_key(out, r.key);
  out.put(r.attempt);
  out.put(r.at_ns);
}

void decode(Decoder& in, StartedRecord& r) {
  r.key = get_key(in);
  r.attempt = in.get<std::uint32_t>();
  r.at_ns = in.get<std::int64_t>();
}

// glance_at_finished reads the first fields by their offsets.
void encode(Encoder& out, const FinishedRecord& r, Ranges) {
  put_key(out, r.key);
  put_outcome(out, r.exit_info,
              static_cast<std::uint8_t>((r.standard_output.external ? kStdoutExternal : 0) |
                                        (r.standard_error.external ? kStderrExternal : 0)));
  put_extent(out, r.standard_output);
  put_extent(out, r.standard_error);
  out.put(r.attempt);
  out.put(r.started_ns);
  out.put(r.ended_ns);
  out.put(r.leftover_processes);
  put_masked(out, r.usage, kUsage);
  out.put_text(evidence_of(r.exit_info.text));
}

void decode(Decoder& in, FinishedRecord& r) {
  r.key = get_key(in);
  const std::uint8_t flags = get_outcome(in, r.exit_info);
  r.standard_output = get_extent(in, flags & kStdoutExternal);
  r.standard_error = get_extent(in, flags & kStderrExternal);
  r.attempt = in.get<std::uint32_t>();
  r.started_ns = in.get<std::int64_t>();
  r.ended_ns = in.get<std::int64_t>();
  r.leftover_processes = in.get<std::uint32_t>();
  get_masked(in, r.usage, kUsage);
  r.exit_info.text = in.get_text();
}

void encode(Encoder& out, const IntentRecord& r, Ranges ranges) {
  out.put(r.submission);
  out.put_text(name_of(r.token));
  out.put_text(name_of(r.id_base));
  out.put(static_cast<std::uint8_t>(r.is_array));
  out.put(r.step_origin);
  out.put(r.attempt);
  out.put_text(name_of(r.name));
  out.put(r.at_ns);
  put_resources(out, r.resources);
  put_ranges(out, ranges);
  out.put(r.priority);
  put_nodes(out, r.excluded_nodes);
  out.put(r.round);
}

void decode(Decoder& in, IntentRecord& r) {
  r.submission = in.get<std::uint32_t>();
  r.token = in.get_text();
  r.id_base = in.get_text();
  r.is_array = in.get<std::uint8_t>() != 0;
  r.step_origin = in.get<std::uint64_t>();
  r.attempt = in.get<std::uint32_t>();
  r.name = in.get_text();
  r.at_ns = in.get<std::int64_t>();
  r.resources = get_resources(in);
  r.steps = get_ranges(in);
  if (in.left() == 0) return;  // written before there were priorities
  r.priority = in.get<std::int32_t>();
  const auto nodes = in.get<std::uint32_t>();
  for (std::uint32_t i = 0; i < nodes && in.good(); ++i) r.excluded_nodes.emplace_back(in.get_text());
  if (in.left() == 0) return;  // written before tasks could be added
  r.round = in.get<std::uint32_t>();
}

void encode(Encoder& out, const SubmittedRecord& r, Ranges) {
  out.put(r.submission);
  out.put_text(name_of(r.native_id));
  out.put_text(reason_of(r.error));
  out.put(r.at_ns);
}

void decode(Decoder& in, SubmittedRecord& r) {
  r.submission = in.get<std::uint32_t>();
  r.native_id = in.get_text();
  r.error = in.get_text();
  r.at_ns = in.get<std::int64_t>();
}

void encode(Encoder& out, const VerdictRecord& r, Ranges) {
  put_key(out, r.key);
  put_outcome(out, r.exit_info, 0);
  out.put(static_cast<std::uint8_t>(r.started));
  out.put(r.at_ns);
  out.put_text(evidence_of(r.exit_info.text));
}

void decode(Decoder& in, VerdictRecord& r) {
  r.key = get_key(in);
  get_outcome(in, r.exit_info);
  r.started = in.get<std::uint8_t>() != 0;
  r.at_ns = in.get<std::int64_t>();
  r.exit_info.text = in.get_text();
}

void encode(Encoder& out, const WithdrawnRecord& r, Ranges ranges) {
  out.put(r.submission);
  out.put_text(reason_of(r.reason));
  out.put(r.at_ns);
  put_ranges(out, ranges);
}

void decode(Decoder& in, WithdrawnRecord& r) {
  r.submission = in.get<std::uint32_t>();
  r.reason = in.get_text();
  r.at_ns = in.get<std::int64_t>();
  r.steps = get_ranges(in);
}

void encode(Encoder& out, const AbandonedRecord& r, Ranges) {
  out.put(r.step);
  out.put(r.cause_step);
  out.put_text(reason_of(r.reason));
  out.put(r.at_ns);
}

void decode(Decoder& in, AbandonedRecord& r) {
  r.step = in.get<std::uint32_t>();
  r.cause_step = in.get<std::uint32_t>();
  r.reason = in.get_text();
  r.at_ns = in.get<std::int64_t>();
}

void encode(Encoder& out, const EndedRecord& r, Ranges) {
  out.put_text(reason_of(r.reason));
  out.put(r.at_ns);
}

void decode(Decoder& in, EndedRecord& r) {
  r.reason = in.get_text();
  r.at_ns = in.get<std::int64_t>();
}

void encode(Encoder& out, const RetryRecord& r, Ranges) {
  put_key(out, r.key);
  out.put(static_cast<std::uint8_t>(r.because));
  out.put(r.retry);
  out.put(r.not_before_ns);
  out.put(r.at_ns);
  out.put_text(reason_of(r.reason));
  put_resources(out, r.resources);
}

void decode(Decoder& in, RetryRecord& r) {
  r.key = get_key(in);
  const auto because = in.get<std::uint8_t>();
  if (because >= kExitClassCount) in.spoil();
  r.because = static_cast<ExitClass>(because);
  r.retry = in.get<std::uint16_t>();
  r.not_before_ns = in.get<std::int64_t>();
  r.at_ns = in.get<std::int64_t>();
  r.reason = in.get_text();
  r.resources = get_resources(in);
}

void encode(Encoder& out, const HeldRecord& r, Ranges ranges) {
  out.put(static_cast<std::uint8_t>(r.held));
  out.put(r.at_ns);
  put_ranges(out, ranges);
}

void decode(Decoder& in, HeldRecord& r) {
  r.held = in.get<std::uint8_t>() != 0;
  r.at_ns = in.get<std::int64_t>();
  r.steps = get_ranges(in);
}

void encode(Encoder& out, const ThrottleRecord& r, Ranges) {
  out.put(r.max_running);
  out.put(r.at_ns);
}

void decode(Decoder& in, ThrottleRecord& r) {
  r.max_running = in.get<std::uint32_t>();
  r.at_ns = in.get<std::int64_t>();
}

void encode(Encoder& out, const CancelledRecord& r, Ranges ranges) {
  out.put(r.at_ns);
  put_ranges(out, ranges);
  out.put(static_cast<std::uint8_t>(r.cancelled));
}

void decode(Decoder& in, CancelledRecord& r) {
  r.at_ns = in.get<std::int64_t>();
  r.steps = get_ranges(in);
  if (in.left() == 0) return;  // written before it could be taken back
  r.cancelled = in.get<std::uint8_t>() != 0;
}

void encode(Encoder& out, const AddedRecord& r, Ranges) {
  put_key(out, r.parent);
  out.put_text(name_of(r.token));
  out.put_text(name_of(r.name));
  out.put(r.first_step);
  out.put(r.count);
  out.put(static_cast<std::uint8_t>(r.again));
  out.put(static_cast<std::uint8_t>(r.when));
  out.put(r.at_ns);
}

void decode(Decoder& in, AddedRecord& r) {
  r.parent = get_key(in);
  r.token = in.get_text();
  r.name = in.get_text();
  r.first_step = in.get<std::uint32_t>();
  r.count = in.get<std::uint32_t>();
  r.again = in.get<std::uint8_t>() != 0;
  const auto when = in.get<std::uint8_t>();
  if (when > static_cast<std::uint8_t>(DependencyKind::after_not_ok)) in.spoil();
  r.when = static_cast<DependencyKind>(when);
  r.at_ns = in.get<std::int64_t>();
}

void encode(Encoder& out, const ClosedRecord& r, Ranges) {
  out.put(r.output_bytes[0]);
  out.put(r.output_bytes[1]);
  out.put(r.at_ns);
}

void decode(Decoder& in, ClosedRecord& r) {
  r.output_bytes[0] = in.get<std::uint64_t>();
  r.output_bytes[1] = in.get<std::uint64_t>();
  r.at_ns = in.get<std::int64_t>();
}

// The alternatives of Record stand in the order of RecordType.
std::uint8_t type_of(const Record& record) {
  return static_cast<std::uint8_t>(record.index() + 1);
}
static_assert(std::is_same_v<std::variant_alternative_t<0, Record>, OpenedRecord>);
static_assert(std::is_same_v<std::variant_alternative_t<14, Record>, ClosedRecord>);
static_assert(std::variant_size_v<Record> == ledger::kLastRecordType);

template <class R>
void append_one(std::string& bytes, const R& record, std::uint8_t type, Ranges ranges, std::uint64_t sequence,
                std::uint64_t offset) {
  const std::size_t begin = bytes.size();
  bytes.resize(begin + kFrameHeaderBytes + kFixedBytes + room(record) + ranges.size() * kMaxRangeBytes);
  char* frame = bytes.data() + begin;
  char* payload = frame + kFrameHeaderBytes;
  Encoder out(payload);
  out.put(type);
  out.put(sequence);
  encode(out, record, ranges);
  const auto length = static_cast<std::size_t>(out.at() - payload);
  ledger::store(frame, kFrameMagic);
  ledger::store(frame + 4, static_cast<std::uint32_t>(length));
  ledger::store(frame + 8, ledger::checksum({payload, length}));
  ledger::store(frame + 12, ledger::checksum({frame, 12}, offset));
  bytes.resize(begin + kFrameHeaderBytes + length);
}

template <class R>
DecodedRecord decode_as(Decoder& in, std::uint64_t sequence) {
  R record;
  decode(in, record);
  return {std::move(record), sequence};
}

DecodedRecord decode_type(RecordType type, Decoder& in, std::uint64_t sequence) {
  switch (type) {
    case RecordType::opened:
      return decode_as<OpenedRecord>(in, sequence);
    case RecordType::started:
      return decode_as<StartedRecord>(in, sequence);
    case RecordType::finished:
      return decode_as<FinishedRecord>(in, sequence);
    case RecordType::intent:
      return decode_as<IntentRecord>(in, sequence);
    case RecordType::submitted:
      return decode_as<SubmittedRecord>(in, sequence);
    case RecordType::verdict:
      return decode_as<VerdictRecord>(in, sequence);
    case RecordType::withdrawn:
      return decode_as<WithdrawnRecord>(in, sequence);
    case RecordType::abandoned:
      return decode_as<AbandonedRecord>(in, sequence);
    case RecordType::ended:
      return decode_as<EndedRecord>(in, sequence);
    case RecordType::retry:
      return decode_as<RetryRecord>(in, sequence);
    case RecordType::held:
      return decode_as<HeldRecord>(in, sequence);
    case RecordType::throttle:
      return decode_as<ThrottleRecord>(in, sequence);
    case RecordType::cancelled:
      return decode_as<CancelledRecord>(in, sequence);
    case RecordType::added:
      return decode_as<AddedRecord>(in, sequence);
    case RecordType::closed:
      return decode_as<ClosedRecord>(in, sequence);
  }
  in.spoil();
  return {};
}

}  // namespace

std::uint64_t append_frame(std::string& bytes, const Record& record, std::uint64_t sequence, std::uint64_t offset) {
  return std::visit(
      [&](const auto& r) -> std::uint64_t {
        Ranges ranges;
        if constexpr (requires { r.steps; }) ranges = r.steps.ranges();
        const std::size_t begin = bytes.size();
        std::uint64_t frames = 0;
        do {
          const Ranges part = ranges.first(std::min(ranges.size(), kMaxRangesPerFrame));
          append_one(bytes, r, type_of(record), part, sequence + frames, offset + (bytes.size() - begin));
          ++frames;
          ranges = ranges.subspan(part.size());
        } while (!ranges.empty());
        return frames;
      },
      record);
}

Result<std::optional<DecodedRecord>> decode_payload(std::string_view payload) {
  if (payload.size() < ledger::kPayloadHeadBytes) {
    return fail(ErrorCode::gave_up, "a record of " + std::to_string(payload.size()) + " bytes is too short to be one");
  }
  const std::uint8_t type = ledger::payload_type(payload);
  if (type == 0 || type > ledger::kLastRecordType) return std::optional<DecodedRecord>();
  Decoder in(payload.substr(ledger::kPayloadHeadBytes));
  DecodedRecord decoded = decode_type(static_cast<RecordType>(type), in, ledger::payload_sequence(payload));
  if (!in.good()) {
    return fail(ErrorCode::gave_up, "the fields of a record of type " + std::to_string(type) +
                                        " do not add up to its " + std::to_string(payload.size()) + " bytes");
  }
  return std::optional(std::move(decoded));
}

}  // namespace allot
