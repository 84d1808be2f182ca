// SPDX-License-Identifier: MIT
// Looking for words in messages, the same way with Catch2 2 and 3.
#pragma once

#include <initializer_list>
#include <string_view>

namespace allot::test {

/// True if all `words` occur in `text`.
inline bool mentions(std::string_view text, std::initializer_list<std::string_view> words) {
  for (std::string_view word : words) {
    if (text.find(word) == std::string_view::npos) return false;
  }
  return true;
}

}  // namespace allot::test
