// SPDX-License-Identifier: MIT
// "Did you mean …?" for misspelt keys and names.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace allot {

/// The one of `known` that `wrong` is most likely meant to be: fewest insertions, deletions, replacements and swaps of
/// neighbours, ignoring case and '-' against '_'; the first of equals. Nothing if all differ in more than a third of
/// their characters (at least one edit is always allowed, if something of the name remains).
std::optional<std::string> nearest_name(std::string_view wrong, const std::vector<std::string>& known);

}  // namespace allot
