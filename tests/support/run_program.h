// SPDX-License-Identifier: MIT
// Runs a program as its users do and keeps what it prints. Tests only; every failure here is an exception that fails
// the test.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "process/fd.h"

namespace allot::test {

struct ProgramOptions {
  std::vector<std::string> argv;                                 ///< argv[0] is a path, or a name searched in PATH
  std::string input;                                             ///< its standard input, then end of file
  std::vector<std::pair<std::string, std::string>> environment;  ///< set on top of the test's own
  std::vector<std::string> unset;                                ///< variables taken out of it
  std::string cwd;                                               ///< empty: the test's
  std::chrono::milliseconds timeout = std::chrono::seconds(60);  ///< then it is killed and the test fails
  bool keep_input_open = false;                                  ///< no end of file after `input` until close_input()
  bool on_terminal = false;     ///< stdin and stderr are a pseudo terminal, in a session of its own; stdout is piped
  unsigned short columns = 80;  ///< width of that terminal
};

struct ProgramOutcome {
  int exit_status = -1;  ///< -1: ended by `signal`
  int signal = 0;
  std::string out;
  std::string err;  ///< with on_terminal: all that the terminal shows
};

/// Absolute path of a program of this build in its bin directory ("allot").
std::string built_program(const std::string& name);

/// A program that runs while the test does something. Ends by SIGKILL of its process group when this goes out of scope.
/// Thread rule: the test's thread only.
class RunningProgram {
 public:
  /// Throws std::runtime_error if it cannot be started.
  explicit RunningProgram(const ProgramOptions& options);
  ~RunningProgram();
  RunningProgram(const RunningProgram&) = delete;
  RunningProgram& operator=(const RunningProgram&) = delete;

  pid_t pid() const { return pid_; }
  void send_signal(int signal);
  /// More standard input; on a terminal this is what a person types ("\x03" is Ctrl-C).
  void write_input(std::string_view bytes);
  void close_input();

  /// Reads until stdout (stderr) holds `text` at or behind `from`; returns the offset behind it. Throws with all output
  /// when the program ends or its time is over before.
  std::size_t wait_for_out(std::string_view text, std::size_t from = 0) { return wait_for(out_, text, from); }
  std::size_t wait_for_err(std::string_view text, std::size_t from = 0) { return wait_for(err_, text, from); }
  const std::string& out() const { return out_; }
  const std::string& err() const { return err_; }

  /// Reads to the end. Throws when the time is over.
  ProgramOutcome finish();

 private:
  std::size_t wait_for(const std::string& stream, std::string_view text, std::size_t from);
  /// Writes as much input as the program takes now.
  void push_input();
  /// Moves bytes for one round of poll(2); false once both outputs have ended.
  bool pump();
  [[noreturn]] void give_up(const std::string& why);
  std::string describe() const;

  ProgramOptions options_;
  std::chrono::steady_clock::time_point deadline_;
  pid_t pid_ = -1;
  bool reaped_ = false;
  Fd in_, out_fd_, err_fd_;
  std::string input_;
  std::size_t written_ = 0;
  bool input_ends_ = true;
  std::string out_, err_;
};

/// Runs to the end.
ProgramOutcome run_program(const ProgramOptions& options);

}  // namespace allot::test
