// SPDX-License-Identifier: MIT
#include "ledger/record_fields.h"

#include <utility>

#include "ledger/utf8.h"

namespace allot::ledger {
namespace {

// The order is the format.
template <class Resources, class F>
void for_each_resource_field(Resources& resources, F&& f) {
  unsigned bit = 0;
  f(resources.cores, bit++);
  f(resources.memory_bytes, bit++);
  f(resources.runtime_milliseconds, bit++);
  f(resources.gpus, bit++);
  f(resources.ranks, bit++);
  f(resources.nodes, bit++);
}

constexpr auto kResources = [](auto& resources, auto&& f) { for_each_resource_field(resources, f); };

}  // namespace

std::string_view name_of(std::string_view text) {
  return utf8_head(text, kMaxNameBytes);
}

void put_resources(Encoder& out, const RequestedResources& r) {
  put_masked(out, r, kResources);
  out.put_text(name_of(r.queue));
  out.put_text(name_of(r.account));
  out.put_text(name_of(r.constraint));
  std::size_t bytes = 0;
  std::uint32_t count = 0;
  for (const auto& [key, value] : r.pass_through) {
    bytes += kPassThroughHead + key.size() + value.size();
    if (bytes > kMaxPassThroughBytes) break;
    ++count;
  }
  out.put(count);
  for (auto it = r.pass_through.begin(); count > 0; ++it, --count) {
    out.put_text(it->first);
    out.put_text(it->second);
  }
}

RequestedResources get_resources(Decoder& in) {
  RequestedResources r;
  get_masked(in, r, kResources);
  r.queue = in.get_text();
  r.account = in.get_text();
  r.constraint = in.get_text();
  const auto count = in.get<std::uint32_t>();
  for (std::uint32_t i = 0; i < count && in.good(); ++i) {
    std::string key(in.get_text());
    r.pass_through[std::move(key)] = in.get_text();
  }
  return r;
}

void put_ranges(Encoder& out, std::span<const StepRange> ranges) {
  out.put(static_cast<std::uint32_t>(ranges.size()));
  std::uint64_t end = 0;
  for (const StepRange& range : ranges) {
    out.put_varint(range.first - end);
    out.put_varint(range.count);
    end = range.first + range.count;
  }
}

StepRanges get_ranges(Decoder& in) {
  constexpr std::uint64_t kMaxStep = std::uint64_t{1} << 62;  // no sum below overflows
  StepRanges steps;
  const auto count = in.get<std::uint32_t>();
  std::uint64_t end = 0;
  for (std::uint32_t i = 0; i < count && in.good(); ++i) {
    const std::uint64_t gap = in.get_varint();
    const std::uint64_t length = in.get_varint();
    if (gap > kMaxStep || length == 0 || length > kMaxStep || end + gap + length > kMaxStep) {
      in.spoil();
      break;
    }
    steps.append_range(end + gap, length);
    end += gap + length;
  }
  return steps;
}

}  // namespace allot::ledger
