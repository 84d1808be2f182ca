// SPDX-License-Identifier: MIT
// The lines of the differential test and the directory in which they run.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/support/temp_directory.h"

namespace allot::test {

/// Hand-written lines (shell_lines.txt and those that no text file can hold).
std::vector<std::string> handwritten_lines();

/// `count` lines composed at random of harmless commands, words, quotes and metacharacters; the same for the same seed.
std::vector<std::string> random_lines(std::uint32_t seed, std::size_t count);

/// Lines that must not need a shell, or the whole exercise is in vain.
std::vector<std::string> lines_that_need_no_shell();

/// A directory with files for the lines to find, and `bin` first in PATH.
class ShellPlayground {
 public:
  ShellPlayground();
  const std::string& root() const { return root_; }
  std::string work() const { return root_ + "/area"; }  ///< where the lines run
  std::string link() const { return root_ + "/link"; }  ///< a symbolic link to it
  std::string print_args() const { return root_ + "/bin/pa"; }
  std::string path_value() const { return root_ + "/bin:/usr/local/bin:/usr/bin:/bin"; }
  /// PATH, PWD and a few others.
  std::vector<std::string> environment() const;

 private:
  TempDirectory directory_;
  std::string root_;
};

}  // namespace allot::test
