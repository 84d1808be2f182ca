// SPDX-License-Identifier: MIT
// Everything that is wrong with an input, told at once, up to a bound.
#pragma once

#include <string>

#include "protocol/result.h"

namespace allot {

class InputFaults {
 public:
  void add(std::string line) {
    if (++count_ > kMostShown) return;
    if (line.size() > kLongest) line = line.substr(0, kLongest) + " ...";
    if (!text_.empty()) text_ += '\n';
    text_ += line;
  }
  bool empty() const { return count_ == 0; }

  /// One line for each fault, and how many more there were. Only if not empty().
  Error error() const {
    const std::size_t more = count_ > kMostShown ? count_ - kMostShown : 0;
    return {ErrorCode::fix_request, more == 0 ? text_ : text_ + "\nand " + std::to_string(more) + " more"};
  }

 private:
  static constexpr std::size_t kMostShown = 20;
  static constexpr std::size_t kLongest = 1000;  // bytes of one fault: a key may be as long as a file
  std::string text_;
  std::size_t count_ = 0;
};

}  // namespace allot
