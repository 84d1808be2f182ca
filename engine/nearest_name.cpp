// SPDX-License-Identifier: MIT
#include "engine/nearest_name.h"

#include <algorithm>
#include <limits>

namespace allot {
namespace {

// Beyond this a name is no misspelling, and the comparison's cost grows with the square of the length.
constexpr std::size_t kLongestName = 100;

std::string fold(std::string_view text) {
  std::string folded(text);
  for (char& c : folded) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (c == '-') c = '_';
  }
  return folded;
}

// Optimal string alignment: Levenshtein's distance with swaps of neighbours, in three rows.
std::size_t distance(const std::string& a, const std::string& b) {
  std::vector<std::size_t> before_last(b.size() + 1);
  std::vector<std::size_t> last(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    before_last.swap(last);
    last.swap(row);
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0U : 1U)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], before_last[j - 2] + 1);
    }
  }
  return row[b.size()];
}

}  // namespace

std::optional<std::string> nearest_name(std::string_view wrong, const std::vector<std::string>& known) {
  if (wrong.empty() || wrong.size() > kLongestName) return std::nullopt;
  const std::string folded = fold(wrong);
  std::optional<std::string> nearest;
  std::size_t fewest = std::numeric_limits<std::size_t>::max();
  for (const std::string& name : known) {
    if (name.size() > kLongestName) continue;
    const std::size_t longest = std::max(wrong.size(), name.size());
    const std::size_t edits = distance(folded, fold(name));
    if (edits < fewest && edits < longest && edits <= std::max<std::size_t>(1, longest / 3)) {
      fewest = edits;
      nearest = name;
    }
  }
  return nearest;
}

}  // namespace allot
