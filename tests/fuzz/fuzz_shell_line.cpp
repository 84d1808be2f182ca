// SPDX-License-Identifier: MIT
// Lines that are said to need no shell: their words are there, and hold nothing that a shell would have changed.
#include <vector>

#include "tests/fuzz/fuzz.h"
#include "worker_node/shell_line.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view line = allot::fuzz::as_text(data, size);
  std::vector<std::string> words;
  if (!allot::split_plain_line(line, words)) return 0;
  allot::fuzz::require(!words.empty() && !words.front().empty(), "a plain line has a command");
  std::size_t length = 0;
  for (const std::string& word : words) {
    length += word.size();
    allot::fuzz::require(word.find('\0') == std::string::npos, "no word holds a NUL");
  }
  allot::fuzz::require(length <= line.size(), "words come from the line alone");
  return 0;
}
