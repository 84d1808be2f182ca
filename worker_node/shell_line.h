// SPDX-License-Identifier: MIT
// Running a shell line without the shell: which lines allow it, and what the caller owes so that the command cannot
// tell the difference. Measured against dash 0.5.12; tests/integration/shell_differential_test.cpp compares.
//
// To run LINE directly in the directory CWD with the environment E, all of these must hold; else run `SHELL -c LINE`:
//   1. shell_is_dash_like(SHELL)                                     once per shell
//   2. E holds PWD as shell_pwd(E's PWD, CWD) gave it, and that was not empty. The shell gets the same E.
//   3. DashOrder::arrange(E)                                         what a child of the shell would get from it
//   4. split_plain_line(LINE, argv)
//   5. PATH is set in E, and find_executable(argv[0], PATH, CWD, file) != kUseShell
// Then find_executable's errno is the reason of a launch failure, and 0 means: exec `file` with argv as it is (argv[0]
// stays the word of the line). Where that exec fails:
//   * ENOEXEC: run `SHELL -c LINE` (a script without "#!": dash runs it itself);
//   * argv[0] has no slash: run `SHELL -c LINE` (dash would try the rest of PATH);
//   * else: a launch failure with that errno (ENOENT of a file that exists: its "#!" interpreter is missing).
// The child must have default signal dispositions and an empty signal mask (dash resets SIGCHLD), the same
// descriptors 0, 1, 2 and umask. When the command is ended by a signal, dash prints a line and exits with 128 + signal:
// append_death_message() gives the bytes for stderr; the record keeps the signal, which is the better evidence. (Not
// where allot itself ended the command: it would have ended the shell as well.)
//
// Linked into the guard: no locale, no streams, no memory but that of the strings handed in, which is reused.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace allot {

/// Longest line that `sh -c` can be given (the kernel's MAX_ARG_STRLEN, its NUL included, is 131072 bytes).
inline constexpr std::size_t kMaxShellLineBytes = 131071;

/// True if `line` is one simple command whose words dash passes on unchanged; `argv` then holds them (at least one;
/// existing strings are reused). False: `argv` is unspecified and the line is the shell's. False for everything that
/// means something to sh or bash: operators, redirections, expansions, globs, assignments, comments, backslashes,
/// reserved words and builtins of either (also when quoted), newlines outside single quotes, NUL and control bytes,
/// bytes above 126, lines longer than kMaxShellLineBytes, empty or blank lines (the shell reports 0 for those), lines
/// that begin with '-' or '+' (which `sh -c` takes for options), and lines that hold "PPID", also within quotes.
bool split_plain_line(std::string_view line, std::vector<std::string>& argv);

/// True if the program at `path` is dash, following symbolic links. False for any other shell: bash as sh, for one,
/// sets SHLVL, OLDPWD and _, so that a command could tell. False when it cannot be resolved.
bool shell_is_dash_like(const std::string& path);

/// Returned by find_executable when only the shell knows what would happen.
inline constexpr int kUseShell = -1;

/// Looks `name` up as dash does and puts the path to exec into `found`. Returns 0, an errno, or kUseShell.
///   * A name with a slash is taken as it is (0, nothing is looked at: exec tells).
///   * Otherwise the first element of `path_value` with a regular file of that name that this user may execute. An
///     empty element is the current directory and yields just the name; relative elements are looked up in `cwd`
///     (empty: this process's) and `found` stays relative, for a child that starts in `cwd`.
///   * errno: EACCES if the last candidate that existed was a directory, a device or not executable (the shell says
///     "Permission denied", status 127), ELOOP, ENAMETOOLONG and so on if that stopped the look, else ENOENT.
///   * kUseShell: `path_value` holds a '%' (dash reads options there) or `name` is empty.
/// Where PATH is not set, dash has a default of its own: do not call this, use the shell.
int find_executable(const std::string& name, const std::string& path_value, const std::string& cwd, std::string& found);

/// The value of PWD that dash exports when it starts in the directory `cwd` (absolute) with `environment_pwd` (null:
/// unset) in its environment: that value if it starts with '/' and names the same directory (so a path through symbolic
/// links, or with "/." in it, survives), else the physical path. Empty where dash would complain (the directory is
/// gone) or it cannot be told: use the shell. Two stat(2) in the good case. OLDPWD is passed on as it is.
std::string shell_pwd(const char* environment_pwd, const std::string& cwd);

/// Puts environments into the state in which dash hands them to a command, so that even `env` prints the same bytes.
class DashOrder {
 public:
  /// `environment`: "NAME=VALUE" pointers without a null at the end, PWD among them. Entries without a valid name go,
  /// of duplicates the last value wins at the first one's place, and the order is that of dash's table. About 1 µs
  /// per 50. False where dash would change a value (IFS, OPTIND, LINENO or PPID is set) and nothing was changed: use
  /// the shell.
  bool arrange(std::vector<char*>& environment);

 private:
  struct Entry {
    char* text;
    std::size_t name_length;
    int next;  ///< in the same bucket; -1: last
  };
  std::vector<Entry> entries_;
};

/// Appends what dash writes to stderr when its command ends with `wait_status`: nothing for an exit, SIGINT and
/// SIGPIPE, else such as "Killed\n" or "Segmentation fault (core dumped)\n".
void append_death_message(int wait_status, std::string& text);

}  // namespace allot
