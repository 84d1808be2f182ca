// SPDX-License-Identifier: MIT
// What ended an attempt of a task: a class, the exit code or signal, and a text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace allot {

/// The classes into which every end of an attempt falls. The numbers are part of the record format: append only.
enum class ExitClass : std::uint8_t {
  done = 0,            ///< the command ran and exited with status 0, or with one that the task declares a success
  error = 1,           ///< the command ran and exited with another status (`exit_code`)
  signaled = 2,        ///< the command was ended by a signal (`signal`) that allot did not send
  out_of_memory = 3,   ///< ended because it used more memory than it may
  timed_out = 4,       ///< ended because its runtime limit passed
  killed = 5,          ///< ended, or taken out of the queue, because the user asked for it
  node_failed = 6,     ///< the node or its worker node failed under it
  preempted = 7,       ///< the scheduler took its resources away
  launch_failed = 8,   ///< the command could not be started (text: which step, which errno)
  queueing_error = 9,  ///< it can never start as requested
  lost = 10,           ///< it vanished; the text shows the evidence. Never a synonym for done
};
inline constexpr int kExitClassCount = 11;

/// Stable lower-case name ("out_of_memory"), used in records' JSON, summaries and the retry table.
std::string_view to_string(ExitClass exit_class);

/// The inverse of to_string; nothing for an unknown name.
std::optional<ExitClass> exit_class_from_string(std::string_view name);

struct ExitInfo {
  ExitClass exit_class = ExitClass::lost;
  std::optional<int> exit_code;  ///< 0…255; present exactly for done and error, and where a limit's kill let it exit.
                                 ///< Done: 0, or a code that the task declares a success
  std::optional<int> signal;     ///< the signal that ended the task's first process, where one did
  std::string text;  ///< evidence for a person; for a failed command the tail of its stderr, ≤ 10 000 characters

  bool is_done() const { return exit_class == ExitClass::done; }
};

/// "done", "error (3)", "signaled (11, SIGSEGV)": class with its number, for people.
std::string describe(const ExitInfo& info);

}  // namespace allot
