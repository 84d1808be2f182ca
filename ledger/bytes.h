// SPDX-License-Identifier: MIT
// Little-endian fields in and out of byte strings. Internal to the ledger.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

static_assert(std::endian::native == std::endian::little, "the ledger's files are little-endian; swap bytes here");

namespace allot::ledger {

template <class T>
T load(const char* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

template <class T>
void store(char* at, T value) {
  std::memcpy(at, &value, sizeof value);
}

/// Writes fields into room that the caller has made large enough.
class Encoder {
 public:
  explicit Encoder(char* at) : at_(at) {}

  template <class T>
  void put(T value) {
    store(at_, value);
    at_ += sizeof value;
  }
  void put_bytes(std::string_view bytes) {
    if (!bytes.empty()) std::memcpy(at_, bytes.data(), bytes.size());
    at_ += bytes.size();
  }
  void put_text(std::string_view text) {
    put(static_cast<std::uint32_t>(text.size()));
    put_bytes(text);
  }
  /// LEB128: seven bits a byte, lowest first; the high bit says that more follow. At most 10 bytes.
  void put_varint(std::uint64_t value) {
    while (value >= 0x80) {
      *at_++ = static_cast<char>(value | 0x80);
      value >>= 7;
    }
    *at_++ = static_cast<char>(value);
  }
  char* at() const { return at_; }

 private:
  char* at_;
};

/// Reads fields; past the end, or after a malformed one, good() is false and every value is 0 or empty.
class Decoder {
 public:
  explicit Decoder(std::string_view bytes) : bytes_(bytes) {}

  template <class T>
  T get() {
    std::string_view raw = get_bytes(sizeof(T));
    return good_ ? load<T>(raw.data()) : T{};
  }
  std::string_view get_bytes(std::size_t size) {
    if (!good_ || size > bytes_.size()) {
      good_ = false;
      return {};
    }
    std::string_view taken = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return taken;
  }
  std::string_view get_text() { return get_bytes(get<std::uint32_t>()); }
  std::uint64_t get_varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const auto byte = get<std::uint8_t>();
      if (shift == 63 && byte > 1) break;
      value |= std::uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return good_ ? value : 0;
    }
    good_ = false;
    return 0;
  }

  bool good() const { return good_; }
  void spoil() { good_ = false; }
  std::size_t left() const { return bytes_.size(); }

 private:
  std::string_view bytes_;
  bool good_ = true;
};

}  // namespace allot::ledger
