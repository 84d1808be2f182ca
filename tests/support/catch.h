// SPDX-License-Identifier: MIT
// Catch2 2.13 (Debian 12) or 3 (Debian 13), whichever is there. Tests use what both have, and the matcher for parts of
// a text by its name in 3, Catch::Matchers::ContainsSubstring (in 3 `Contains` is about ranges).
#pragma once

#ifdef ALLOT_CATCH2_V3
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>

namespace Catch::Matchers {

inline StdString::ContainsMatcher ContainsSubstring(  // NOLINT(readability-identifier-naming): as in Catch2 3
    const std::string& part, CaseSensitive::Choice case_sensitive = CaseSensitive::Yes) {
  return Contains(part, case_sensitive);
}

}  // namespace Catch::Matchers
#endif
