// SPDX-License-Identifier: MIT
// Inputs for tests of what reads them: a text as a pipe, or as a file.
#pragma once

#include <unistd.h>

#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include "engine/delimited_reader.h"
#include "tests/support/temp_directory.h"

namespace allot::test {

/// A pipe that delivers `text` in portions of `portion` bytes, from a thread.
class PipeInput {
 public:
  explicit PipeInput(std::string text, std::size_t portion = 1 << 16) {
    int ends[2];
    if (::pipe(ends) != 0) throw std::runtime_error("pipe");
    read_end_.reset(ends[0]);
    writer_ = std::thread([fd = ends[1], text = std::move(text), portion] {
      for (std::size_t at = 0; at < text.size(); at += portion) {
        if (!write_all(fd, std::string_view(text).substr(at, portion))) break;
      }
      ::close(fd);
    });
  }
  ~PipeInput() { writer_.join(); }
  PipeInput(const PipeInput&) = delete;
  PipeInput& operator=(const PipeInput&) = delete;

  DelimitedReader reader(char delimiter = '\n') { return {std::move(read_end_), "input", delimiter}; }

 private:
  Fd read_end_;
  std::thread writer_;
};

inline DelimitedReader file_reader(const TempDirectory& directory, const std::string& text, char delimiter = '\n') {
  const std::string path = directory / "input";
  if (!write_file_durably(path, text)) throw std::runtime_error(path);
  return std::move(*DelimitedReader::open(path, delimiter));
}

}  // namespace allot::test
