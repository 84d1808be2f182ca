// SPDX-License-Identifier: MIT
#include "worker_node/shell_line.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdlib>

namespace allot {
namespace {

enum CharClass : std::uint8_t {
  kShell,     // means something to a shell somewhere, or might
  kWord,      // stands for itself everywhere in a word
  kArgument,  // stands for itself in an argument, but not in the command word
  kTilde,     // stands for itself behind a letter, digit or the like
  kHash,      // stands for itself inside a word
  kBlank,
  kSingle,
  kDouble,
};

constexpr std::array<CharClass, 256> make_classes() {
  std::array<CharClass, 256> table{};  // all kShell
  for (int c = 'a'; c <= 'z'; ++c) table[static_cast<std::size_t>(c)] = kWord;
  for (int c = 'A'; c <= 'Z'; ++c) table[static_cast<std::size_t>(c)] = kWord;
  for (int c = '0'; c <= '9'; ++c) table[static_cast<std::size_t>(c)] = kWord;
  for (const unsigned char c : {'%', '+', ',', '-', '.', '/', ':', '@', '_', '^'}) table[c] = kWord;
  for (const unsigned char c : {'=', '{', '}', '!'}) table[c] = kArgument;
  table['~'] = kTilde;
  table['#'] = kHash;
  table[' '] = kBlank;
  table['\t'] = kBlank;
  table['\''] = kSingle;
  table['"'] = kDouble;
  return table;
}
constexpr std::array<CharClass, 256> kClasses = make_classes();

// Sorted. Reserved words and builtins of dash and of bash: what is none of them in either is a command of its own.
constexpr std::string_view kShellNames[] = {
    "!",        ".",       ":",      "[",       "[[",      "]]",      "alias",   "bg",       "bind",    "break",
    "builtin",  "caller",  "case",   "cd",      "chdir",   "command", "compgen", "complete", "compopt", "continue",
    "coproc",   "declare", "dirs",   "disown",  "do",      "done",    "echo",    "elif",     "else",    "enable",
    "esac",     "eval",    "exec",   "exit",    "export",  "false",   "fc",      "fg",       "fi",      "for",
    "function", "getopts", "hash",   "help",    "histcmd", "history", "if",      "in",       "jobs",    "kill",
    "let",      "local",   "logout", "mapfile", "popd",    "printf",  "pushd",   "pwd",      "read",    "readarray",
    "readonly", "return",  "select", "set",     "setvar",  "shift",   "shopt",   "source",   "suspend", "test",
    "then",     "time",    "times",  "trap",    "true",    "type",    "typeset", "ulimit",   "umask",   "unalias",
    "unset",    "until",   "wait",   "while",   "{",       "}",
};
constexpr bool is_sorted_table() {
  for (std::size_t i = 1; i < std::size(kShellNames); ++i) {
    if (!(kShellNames[i - 1] < kShellNames[i])) return false;
  }
  return true;
}
static_assert(is_sorted_table());

bool is_shell_name(std::string_view word) {
  return std::binary_search(std::begin(kShellNames), std::end(kShellNames), word);
}

bool is_text_byte(unsigned char c) {
  return (c >= 0x20 && c < 0x7f) || c == '\t';
}

// The rest of a quoted part from `at` to its closing quote, whose index is returned; npos if the shell must read it.
std::size_t quoted_end(std::string_view line, std::size_t at, char quote) {
  for (; at < line.size(); ++at) {
    const char c = line[at];
    if (c == quote) return at;
    if (quote == '"' && (c == '$' || c == '`' || c == '\\')) break;
    if (!is_text_byte(static_cast<unsigned char>(c)) && !(quote == '\'' && c == '\n')) break;
  }
  return std::string_view::npos;
}

// One word from `at`, which is no blank. Returns the index behind it; npos if it is the shell's.
std::size_t take_word(std::string_view line, std::size_t at, bool is_command, std::string& word) {
  word.clear();
  bool tilde_is_plain = false;
  bool hash_is_plain = false;
  while (at < line.size()) {
    const std::size_t from = at;
    const auto plain_run = [&] {
      while (at < line.size() && kClasses[static_cast<unsigned char>(line[at])] == kWord) ++at;
      word.append(line, from, at - from);
      tilde_is_plain = hash_is_plain = true;
      if (line[at - 1] == ':') tilde_is_plain = false;
    };
    switch (kClasses[static_cast<unsigned char>(line[at])]) {
      case kWord:
        plain_run();
        continue;
      case kBlank:
        return at;
      case kSingle:
      case kDouble: {
        const std::size_t end = quoted_end(line, at + 1, line[at]);
        if (end == std::string_view::npos) return end;
        word.append(line, at + 1, end - at - 1);
        at = end + 1;
        tilde_is_plain = hash_is_plain = false;
        continue;
      }
      case kTilde:
        if (!tilde_is_plain) return std::string_view::npos;
        break;
      case kHash:
        if (!hash_is_plain) return std::string_view::npos;
        break;
      case kArgument:
        if (is_command) return std::string_view::npos;
        tilde_is_plain = line[at] != '=';
        hash_is_plain = true;
        break;
      case kShell:
        return std::string_view::npos;
    }
    word.push_back(line[at++]);
  }
  return at;
}

std::string& string_at(std::vector<std::string>& strings, std::size_t index) {
  if (index == strings.size()) strings.emplace_back();
  return strings[index];
}

constexpr unsigned kDashBuckets = 39;  // VTABSIZE of dash's var.c

std::size_t valid_name_length(const char* entry) {
  std::size_t length = 0;
  for (const char* p = entry; *p != '='; ++p, ++length) {
    const bool letter = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || *p == '_';
    if (!letter && (p == entry || *p < '0' || *p > '9')) return 0;  // the end of the text is here, too
  }
  return length;
}

unsigned dash_bucket(std::string_view name) {
  unsigned sum = static_cast<unsigned>(static_cast<unsigned char>(name[0])) << 4;
  for (const char c : name) sum += static_cast<unsigned char>(c);
  return sum % kDashBuckets;
}

// Variables that dash has before it reads its environment: they come first in their buckets.
bool is_dash_builtin_variable(std::string_view name) {
  return name == "MAIL" || name == "MAILPATH" || name == "PATH" || name == "PS1" || name == "PS2" || name == "PS4";
}

bool is_changed_by_dash(std::string_view name) {
  return name == "IFS" || name == "OPTIND" || name == "LINENO" || name == "PPID";
}

bool same_file(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

}  // namespace

bool split_plain_line(std::string_view line, std::vector<std::string>& argv) {
  if (line.empty() || line.size() > kMaxShellLineBytes) return false;
  if (line[0] == '-' || line[0] == '+') return false;  // `sh -c` takes it for more options
  // A command that asks for its parent's id expects the shell, and may stop or kill it: that must not be the guard.
  if (line.find("PPID") != std::string_view::npos) return false;
  std::size_t count = 0;
  std::size_t at = 0;
  while (true) {
    while (at < line.size() && kClasses[static_cast<unsigned char>(line[at])] == kBlank) ++at;
    if (at == line.size()) break;
    std::string& word = string_at(argv, count);
    at = take_word(line, at, count == 0, word);
    if (at == std::string_view::npos) return false;
    if (count == 0 && (word.empty() || word.find('=') != std::string::npos || is_shell_name(word))) return false;
    ++count;
  }
  argv.resize(count);
  return count != 0;
}

bool shell_is_dash_like(const std::string& path) {
  char resolved[PATH_MAX];
  if (realpath(path.c_str(), resolved) == nullptr) return false;
  const char* slash = strrchr(resolved, '/');
  return slash != nullptr && strcmp(slash + 1, "dash") == 0;
}

int find_executable(const std::string& name, const std::string& path_value, const std::string& cwd,
                    std::string& found) {
  if (name.empty()) return kUseShell;
  if (name.find('/') != std::string::npos) {
    found = name;
    return 0;
  }
  if (path_value.find('%') != std::string::npos) return kUseShell;

  int base = AT_FDCWD;
  int error = ENOENT;
  for (const char* element = path_value.c_str();; ++element) {
    const char* end = strchrnul(element, ':');
    found.assign(element, static_cast<std::size_t>(end - element));
    if (!found.empty()) found += '/';
    found += name;
    if (found[0] != '/' && !cwd.empty() && base == AT_FDCWD) {
      base = open(cwd.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
      if (base < 0) return kUseShell;
    }
    struct stat status {};
    if (fstatat(base, found.c_str(), &status, 0) != 0) {
      if (errno != ENOENT && errno != ENOTDIR) error = errno;
    } else if (S_ISREG(status.st_mode) && faccessat(base, found.c_str(), X_OK, AT_EACCESS) == 0) {
      error = 0;
      break;
    } else {
      error = EACCES;
    }
    element = end;
    if (*element == '\0') break;
  }
  if (base != AT_FDCWD) close(base);
  return error;
}

std::string shell_pwd(const char* environment_pwd, const std::string& cwd) {
  struct stat here {};
  struct stat there {};
  if (stat(cwd.c_str(), &here) != 0) return {};
  if (environment_pwd != nullptr && environment_pwd[0] == '/' && stat(environment_pwd, &there) == 0 &&
      same_file(here, there)) {
    return environment_pwd;
  }
  char resolved[PATH_MAX];
  return realpath(cwd.c_str(), resolved) != nullptr ? resolved : std::string();
}

bool DashOrder::arrange(std::vector<char*>& environment) {
  int first[kDashBuckets];
  int last[kDashBuckets];
  std::fill(std::begin(first), std::end(first), -1);
  std::fill(std::begin(last), std::end(last), -1);
  entries_.clear();
  const auto entry = [this](int index) -> Entry& { return entries_[static_cast<std::size_t>(index)]; };
  for (char* text : environment) {
    const std::size_t length = valid_name_length(text);
    if (length == 0) continue;
    const std::string_view name(text, length);
    if (is_changed_by_dash(name)) return false;
    const unsigned bucket = dash_bucket(name);
    int same = first[bucket];
    while (same >= 0 && std::string_view(entry(same).text, entry(same).name_length) != name) {
      same = entry(same).next;
    }
    if (same >= 0) {
      entry(same).text = text;
      continue;
    }
    const int added = static_cast<int>(entries_.size());
    entries_.push_back({text, length, -1});
    if (first[bucket] < 0) {
      first[bucket] = last[bucket] = added;
    } else if (is_dash_builtin_variable(name)) {  // each bucket has at most one
      entry(added).next = first[bucket];
      first[bucket] = added;
    } else {
      entry(last[bucket]).next = added;
      last[bucket] = added;
    }
  }
  environment.clear();
  for (const int start : first) {
    for (int at = start; at >= 0; at = entry(at).next) environment.push_back(entry(at).text);
  }
  return true;
}

void append_death_message(int wait_status, std::string& text) {
  if (!WIFSIGNALED(wait_status)) return;
  const int number = WTERMSIG(wait_status);
  if (number == SIGINT || number == SIGPIPE) return;
  text += strsignal(number);
  if (WCOREDUMP(wait_status)) text += " (core dumped)";
  text += '\n';
}

}  // namespace allot
