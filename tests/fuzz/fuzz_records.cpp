// SPDX-License-Identifier: MIT
// Record files and single payloads: damage is stepped over, and what is read can be written and read again.
#include "ledger/record.h"
#include "ledger/record_file.h"
#include "tests/fuzz/fuzz.h"

namespace {

constexpr std::uint64_t kBehindHeader = 64;  // frames know their offset; at 0 a file's header would be expected

// Byte for byte the same after one more round: cut texts and split ranges are settled by the first one.
void check_round_trip(const allot::Record& record) {
  std::string first;
  const std::uint64_t frames = allot::append_frame(first, record, 1, kBehindHeader);
  std::string second;
  std::uint64_t read = 0;
  const allot::ScanReport report =
      allot::scan_frames(first, kBehindHeader, [&](const allot::DecodedRecord& again, std::uint64_t) {
        allot::append_frame(second, again.record, again.sequence, kBehindHeader + second.size());
        ++read;
        return true;
      });
  allot::fuzz::require(read == frames && report.damaged.empty() && report.torn_bytes == 0, "what is written is read");
  allot::fuzz::require(first == second, "reading loses nothing");
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes = allot::fuzz::as_text(data, size);
  std::uint64_t last_offset = 0;
  const allot::ScanReport report = allot::scan_frames(bytes, 0, [&](const allot::DecodedRecord&, std::uint64_t offset) {
    allot::fuzz::require(offset >= last_offset && offset < bytes.size(), "frames come in order, within the file");
    last_offset = offset;
    return true;
  });
  allot::fuzz::require(report.valid_end + report.torn_bytes <= bytes.size(), "a report stays within the file");

  // A checksum keeps almost every input from the decoder, so it gets the bytes directly as well.
  if (auto decoded = allot::decode_payload(bytes); decoded && *decoded) check_round_trip((*decoded)->record);
  return 0;
}
