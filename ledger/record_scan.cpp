// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "ledger/record_codec.h"
#include "ledger/record_file.h"
#include "process/fd.h"

namespace allot {
namespace {

constexpr std::size_t kFileHeaderBytes = sizeof kRecordFileHeader - 1;
constexpr std::size_t kMaxListedDamage = 1024;
// Small, because the guard scans, too, and its peak of memory is where its tasks' figures begin.
constexpr std::size_t kBlockBytes = 64 * 1024;
constexpr std::size_t kReadBlockBytes = 4096;

// Takes the bytes of a record file in pieces and passes on what is whole and good.
class FrameScanner {
 public:
  FrameScanner(std::uint64_t from, const PayloadVisitor& visit) : visit_(visit), position_(from) {
    report_.valid_end = from;
    header_due_ = from == 0;
  }

  /// Consumes what it can of `bytes`, which follow the bytes consumed before; returns how much. What it leaves is
  /// wanted again with more bytes behind it; at the end of the file it is the torn tail.
  std::size_t feed(std::string_view bytes);

  bool stopped() const { return stopped_; }
  ScanReport finish(std::uint64_t file_end) {
    if (!stopped_) report_.torn_bytes = file_end > report_.valid_end ? file_end - report_.valid_end : 0;
    report_.tail_is_damaged = report_.torn_bytes > 0 && in_damage_;
    return std::move(report_);
  }

 private:
  void begin_damage(std::uint64_t offset) {
    if (!in_damage_) damage_from_ = offset;
    in_damage_ = true;
  }
  void end_damage(std::uint64_t offset) {
    if (!in_damage_) return;
    in_damage_ = false;
    if (report_.damaged.size() < kMaxListedDamage) {
      report_.damaged.push_back({damage_from_, offset - damage_from_});
    } else {
      ++report_.more_damaged;
    }
  }
  void take_frame(std::string_view payload, std::uint32_t sum, std::uint64_t offset);

  const PayloadVisitor& visit_;
  ScanReport report_;
  std::uint64_t position_;
  std::uint64_t damage_from_ = 0;
  bool in_damage_ = false;
  bool header_due_ = false;
  bool stopped_ = false;
};

void FrameScanner::take_frame(std::string_view payload, std::uint32_t sum, std::uint64_t offset) {
  PayloadAnswer answer = PayloadAnswer::damaged;
  if (ledger::checksum(payload) == sum) answer = visit_(payload, offset);
  if (answer == PayloadAnswer::damaged) {
    // The header's own checksum was good, so its length holds: the next frame is right behind this one.
    begin_damage(offset);
    return;
  }
  end_damage(offset);
  const std::uint8_t type = ledger::payload_type(payload);
  if (type == 0 || type > ledger::kLastRecordType) ++report_.unknown_records;
  report_.last_sequence = std::max(report_.last_sequence, ledger::payload_sequence(payload));
  report_.valid_end = offset + kFrameHeaderBytes + payload.size();
  stopped_ = answer == PayloadAnswer::stop;
}

std::size_t FrameScanner::feed(std::string_view bytes) {
  std::size_t i = 0;
  if (header_due_) {
    if (bytes.size() < kFileHeaderBytes) return 0;
    header_due_ = false;
    if (bytes.starts_with(kRecordFileHeader)) {
      i = kFileHeaderBytes;
      report_.valid_end = kFileHeaderBytes;
    } else {
      begin_damage(0);
    }
  }
  while (!stopped_ && bytes.size() - i >= kFrameHeaderBytes) {
    const std::uint64_t offset = position_ + i;
    const auto header = ledger::parse_frame_header(bytes.substr(i), offset);
    if (header) {
      if (bytes.size() - i < kFrameHeaderBytes + header->length) break;  // torn, or more is to come
      take_frame(bytes.substr(i + kFrameHeaderBytes, header->length), header->payload_sum, offset);
      i += kFrameHeaderBytes + header->length;
      continue;
    }
    begin_damage(offset);
    char magic[sizeof kFrameMagic];
    std::memcpy(magic, &kFrameMagic, sizeof magic);
    const std::size_t found = bytes.find(std::string_view(magic, sizeof magic), i + 1);
    // Without one, the last bytes may be the beginning of a header.
    i = found != std::string_view::npos ? found : bytes.size() - (kFrameHeaderBytes - 1);
  }
  position_ += i;
  return i;
}

PayloadVisitor decoding_visitor(const RecordVisitor& visit) {
  return [&visit](std::string_view payload, std::uint64_t offset) {
    auto decoded = decode_payload(payload);
    if (!decoded) return PayloadAnswer::damaged;
    if (!*decoded) return PayloadAnswer::next;
    return visit(**decoded, offset) ? PayloadAnswer::next : PayloadAnswer::stop;
  };
}

Error read_error(const std::string& path) {
  return {ErrorCode::gave_up, path + ": " + (errno == EINVAL ? "is no regular file" : errno_text(errno))};
}

}  // namespace

ScanReport scan_frames(std::string_view bytes, std::uint64_t base_offset, const RecordVisitor& visit) {
  const PayloadVisitor visitor = decoding_visitor(visit);
  FrameScanner scanner(base_offset, visitor);
  scanner.feed(bytes);
  return scanner.finish(base_offset + bytes.size());
}

Result<ScanReport> scan_record_payloads(const std::string& path, std::uint64_t from, const PayloadVisitor& visit) {
  const Fd fd = open_regular(path, O_RDONLY);
  if (!fd) {
    if (errno == ENOENT) return ScanReport{};
    return fail(read_error(path));
  }
  FrameScanner scanner(from, visit);
  std::string block(kBlockBytes, '\0');
  std::size_t held = 0;  // bytes at the front of the block that were not consumed yet
  std::uint64_t read_to = from;
  while (!scanner.stopped()) {
    // A frame larger than the block: the scanner has seen its header, so kMaxPayloadBytes bounds the growth.
    if (held == block.size()) block.resize(std::min(2 * block.size(), kFrameHeaderBytes + kMaxPayloadBytes));
    const ssize_t n = pread_all(fd.get(), block.data() + held, block.size() - held, static_cast<off_t>(read_to));
    if (n < 0) return fail(read_error(path));
    if (n == 0) break;
    read_to += static_cast<std::uint64_t>(n);
    held += static_cast<std::size_t>(n);
    const std::size_t taken = scanner.feed({block.data(), held});
    held -= taken;
    if (taken > 0) std::memmove(block.data(), block.data() + taken, held);
  }
  return scanner.finish(read_to);
}

Result<ScanReport> scan_record_file(const std::string& path, std::uint64_t from, const RecordVisitor& visit) {
  return scan_record_payloads(path, from, decoding_visitor(visit));
}

Result<RecordReader> RecordReader::open(const std::string& path) {
  RecordReader reader;
  reader.path_ = path;
  reader.fd_ = open_regular(path, O_RDONLY);
  if (!reader.fd_) return fail(read_error(path));
  return reader;
}

// Reads `bytes` at `offset` into the block, fewer at the end of the file.
bool RecordReader::fill(std::uint64_t offset, std::size_t bytes) {
  block_.resize(bytes);
  const ssize_t n = pread_all(fd_.get(), block_.data(), bytes, static_cast<off_t>(offset));
  block_.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  block_begin_ = offset;
  return n >= 0;
}

// The payload of the frame, checked. An error's text is only the reason.
Result<std::string_view> RecordReader::frame_at(std::uint64_t offset) {
  auto damaged = [](const char* why) { return fail(ErrorCode::gave_up, why); };
  auto held = [&]() -> std::uint64_t {  // bytes of the block from `offset` on
    const std::uint64_t end = block_begin_ + block_.size();
    return offset < block_begin_ || offset > end ? 0 : end - offset;
  };
  if (held() < kFrameHeaderBytes && !fill(offset, kReadBlockBytes)) return fail(read_error(path_));
  if (held() < kFrameHeaderBytes) return damaged("the file ends there");
  const auto header = ledger::parse_frame_header(std::string_view(block_).substr(offset - block_begin_), offset);
  if (!header) return damaged("there is no frame");
  const std::size_t frame_bytes = kFrameHeaderBytes + header->length;
  if (held() < frame_bytes && !fill(offset, std::max(frame_bytes, kReadBlockBytes))) return fail(read_error(path_));
  if (held() < frame_bytes) return damaged("the frame is cut short");
  const std::string_view payload =
      std::string_view(block_).substr(offset - block_begin_ + kFrameHeaderBytes, header->length);
  if (ledger::checksum(payload) != header->payload_sum) return damaged("its checksum does not match");
  return payload;
}

Result<DecodedRecord> RecordReader::read(std::uint64_t offset) {
  auto damaged = [&](const std::string& why) {
    return fail(ErrorCode::gave_up, path_ + ": no record can be read at offset " + std::to_string(offset) + ": " + why);
  };
  auto payload = frame_at(offset);
  if (!payload) {
    // The block may hold a torn tail that has been cut and written over since.
    block_.clear();
    payload = frame_at(offset);
  }
  if (!payload) return damaged(payload.error().message);
  auto decoded = decode_payload(*payload);
  if (!decoded) return damaged(decoded.error().message);
  if (!*decoded) {
    return damaged("its type (" + std::to_string(ledger::payload_type(*payload)) +
                   ") is not known to this version of allot");
  }
  return std::move(**decoded);
}

std::optional<ClosedEnd> find_closed_end(int fd) {
  constexpr std::size_t kPayloadBytes = ledger::kPayloadHeadBytes + 3 * 8;
  char bytes[kFrameHeaderBytes + kPayloadBytes];
  struct stat info {};
  if (::fstat(fd, &info) != 0) return std::nullopt;
  const auto size = static_cast<std::uint64_t>(info.st_size);
  if (size < kFileHeaderBytes + sizeof bytes) return std::nullopt;
  const std::uint64_t offset = size - sizeof bytes;
  if (pread_all(fd, bytes, sizeof bytes, static_cast<off_t>(offset)) != static_cast<ssize_t>(sizeof bytes)) {
    return std::nullopt;
  }
  const auto header = ledger::parse_frame_header({bytes, sizeof bytes}, offset);
  const std::string_view payload(bytes + kFrameHeaderBytes, kPayloadBytes);
  if (!header || header->length != kPayloadBytes || ledger::checksum(payload) != header->payload_sum) {
    return std::nullopt;
  }
  const auto decoded = decode_payload(payload);
  if (!decoded || !*decoded) return std::nullopt;
  const auto* closed = std::get_if<ClosedRecord>(&(*decoded)->record);
  if (closed == nullptr) return std::nullopt;
  return ClosedEnd{*closed, size, (*decoded)->sequence};
}

Result<DecodedRecord> read_record_at(const std::string& path, std::uint64_t offset) {
  auto reader = RecordReader::open(path);
  if (!reader) return fail(std::move(reader.error()));
  return reader->read(offset);
}

}  // namespace allot
