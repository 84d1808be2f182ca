// SPDX-License-Identifier: MIT
// What a task of the fault tests writes down about itself: the side effect by which a run is known to have happened.
//
// One file per step, "step-N", appended by single write(2) calls (O_APPEND), so that a line is whole or not there:
//   start STEP ATTEMPT ID PID TICKS UNIX_NS OVERLAP     OVERLAP: pid of an earlier run that still lives, 0: none
//   end   STEP ATTEMPT ID PID TICKS UNIX_NS EXIT_CODE   written last, before the exit with that code
#pragma once

#include <cstdint>
#include <optional>
#include <sstream>
#include <string>

namespace allot::faults {

struct EffectLine {
  bool is_end = false;
  std::uint64_t step = 0;
  std::uint32_t attempt = 0;
  std::string distributor_id;
  std::int64_t pid = 0;
  std::uint64_t start_ticks = 0;
  std::int64_t at_ns = 0;  ///< Unix time
  std::int64_t last = 0;   ///< OVERLAP or EXIT_CODE
};

inline std::string to_text(const EffectLine& line) {
  std::ostringstream text;
  text << (line.is_end ? "end " : "start ") << line.step << ' ' << line.attempt << ' ' << line.distributor_id << ' '
       << line.pid << ' ' << line.start_ticks << ' ' << line.at_ns << ' ' << line.last << '\n';
  return text.str();
}

/// `text` without its newline. Nothing for anything that is no such line.
inline std::optional<EffectLine> parse_effect_line(const std::string& text) {
  std::istringstream in(text);
  EffectLine line;
  std::string kind, rest;
  if (!(in >> kind >> line.step >> line.attempt >> line.distributor_id >> line.pid >> line.start_ticks >> line.at_ns >>
        line.last)) {
    return std::nullopt;
  }
  if ((kind != "start" && kind != "end") || in >> rest) return std::nullopt;
  line.is_end = kind == "end";
  return line;
}

}  // namespace allot::faults
