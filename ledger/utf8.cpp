// SPDX-License-Identifier: MIT
#include "ledger/utf8.h"

#include <algorithm>
#include <cstdint>

#include "ledger/record.h"

namespace allot {
namespace {

bool is_continuation(char c) {
  return (static_cast<std::uint8_t>(c) & 0xC0) == 0x80;
}

// Bytes of the sequence that `lead` announces; 1 for what announces none.
std::size_t announced_length(char lead) {
  const auto byte = static_cast<std::uint8_t>(lead);
  if (byte >= 0xC2 && byte <= 0xDF) return 2;
  if (byte >= 0xE0 && byte <= 0xEF) return 3;
  if (byte >= 0xF0 && byte <= 0xF4) return 4;
  return 1;
}

// Bytes of the character that ends at `end` (> 0). UTF-8 synchronises itself: a sequence found backwards is the one
// that is found forwards. Overlong forms and surrogates count as sequences; nothing here depends on their being
// refused.
std::size_t length_of_last(std::string_view text, std::size_t end) {
  if (!is_continuation(text[end - 1])) return 1;
  for (std::size_t length = 2; length <= 4 && length <= end; ++length) {
    const char byte = text[end - length];
    if (is_continuation(byte)) continue;
    return announced_length(byte) == length ? length : 1;
  }
  return 1;
}

}  // namespace

std::string_view utf8_tail(std::string_view text, std::size_t max_characters) {
  if (text.size() <= max_characters) return text;
  std::size_t begin = text.size();
  for (std::size_t n = 0; n < max_characters && begin > 0; ++n) begin -= length_of_last(text, begin);
  return text.substr(begin);
}

std::string_view ledger::utf8_head(std::string_view text, std::size_t max_bytes) {
  if (text.size() <= max_bytes) return text;
  for (std::size_t back = 1; back <= 3 && back <= max_bytes; ++back) {
    const char byte = text[max_bytes - back];
    if (is_continuation(byte)) continue;
    const std::size_t length = announced_length(byte);
    const std::size_t begin = max_bytes - back;
    if (length <= back || begin + length > text.size()) break;
    // Only a sequence that is whole in the text can be cut; a stray lead byte is a character of its own.
    if (std::all_of(text.begin() + static_cast<std::ptrdiff_t>(begin + 1),
                    text.begin() + static_cast<std::ptrdiff_t>(begin + length), is_continuation)) {
      return text.substr(0, begin);
    }
    break;
  }
  return text.substr(0, max_bytes);
}

}  // namespace allot
