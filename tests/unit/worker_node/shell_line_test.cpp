// SPDX-License-Identifier: MIT
#include "worker_node/shell_line.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/support/catch.h"
#include "tests/support/temp_directory.h"

using allot::append_death_message;
using allot::DashOrder;
using allot::find_executable;
using allot::kUseShell;
using allot::shell_is_dash_like;
using allot::shell_pwd;
using allot::split_plain_line;
using allot::test::TempDirectory;
namespace fs = std::filesystem;
using Words = std::vector<std::string>;

namespace {

void write_file(const std::string& path, const std::string& text, mode_t mode) {
  fs::create_directories(fs::path(path).parent_path());
  std::ofstream(path) << text;
  REQUIRE(chmod(path.c_str(), mode) == 0);
}

Words arranged(const Words& environment) {
  Words storage = environment;
  std::vector<char*> pointers;
  for (std::string& entry : storage) pointers.push_back(entry.data());
  DashOrder order;
  if (!order.arrange(pointers)) return {"refused"};
  return {pointers.begin(), pointers.end()};
}

}  // namespace

TEST_CASE("plain lines are split into the words that sh would pass on") {
  struct Row {
    const char* line;
    Words argv;
  };
  const Row rows[] = {
      {"/bin/true", {"/bin/true"}},
      {"sleep 0", {"sleep", "0"}},
      {"  \t sleep \t 0\t ", {"sleep", "0"}},
      {"grep -c foo file.txt", {"grep", "-c", "foo", "file.txt"}},
      {"sha256sum 'a b'", {"sha256sum", "a b"}},
      {"sha256sum \"a b\"", {"sha256sum", "a b"}},
      {"cmd ''", {"cmd", ""}},
      {"cmd \"\" ''", {"cmd", "", ""}},
      {"cmd ''\"\"", {"cmd", ""}},
      {"cmd a'b'c", {"cmd", "abc"}},
      {"cmd 'a'\"b\"c", {"cmd", "abc"}},
      {"cmd '$HOME `x` \\n \"q\" * ? [a] ; & | < > ( ) # ! ~'",
       {"cmd", "$HOME `x` \\n \"q\" * ? [a] ; & | < > ( ) # ! ~"}},
      {"cmd \"it's * ? [a] ; & | < > ( ) # ! ~\"", {"cmd", "it's * ? [a] ; & | < > ( ) # ! ~"}},
      {"cmd {} + {a,b} {1..3} } {", {"cmd", "{}", "+", "{a,b}", "{1..3}", "}", "{"}},
      {"find . ! -name x", {"find", ".", "!", "-name", "x"}},
      {"cmd - -- -x --long=3", {"cmd", "-", "--", "-x", "--long=3"}},
      {"cmd a=b =foo x=", {"cmd", "a=b", "=foo", "x="}},
      {"cmd a#b a# x'#'", {"cmd", "a#b", "a#", "x#"}},
      {"cmd '#x' \"#\"", {"cmd", "#x", "#"}},
      {"cmd a~ file.txt~ a/~ a~b", {"cmd", "a~", "file.txt~", "a/~", "a~b"}},
      {"cmd '~' \"~/x\" '~root'", {"cmd", "~", "~/x", "~root"}},
      {"cmd ^ a^b %1 % @ , . .. / + _", {"cmd", "^", "a^b", "%1", "%", "@", ",", ".", "..", "/", "+", "_"}},
      {"cmd host:/path s3://b/k user@host", {"cmd", "host:/path", "s3://b/k", "user@host"}},
      {"cmd if then done while case time exit true",
       {"cmd", "if", "then", "done", "while", "case", "time", "exit", "true"}},
      {"'my program' x", {"my program", "x"}},
      {"\"my program\" x", {"my program", "x"}},
      {"'/bin/true'", {"/bin/true"}},
      {"/bin/echo x", {"/bin/echo", "x"}},
      {"./true", {"./true"}},
      {"bin/kill 1", {"bin/kill", "1"}},
      {"trues", {"trues"}},
      {"ech o", {"ech", "o"}},
      {" - x", {"-", "x"}},
      {" --", {"--"}},
      {"'-'x", {"-x"}},
      {"%1", {"%1"}},
      {"^a", {"^a"}},
      {"ls'-l'", {"ls-l"}},
      {"cmd 'tab\there'", {"cmd", "tab\there"}},
      {"cmd \"tab\there\"", {"cmd", "tab\there"}},
      {"cmd 'line one\nline two'", {"cmd", "line one\nline two"}},
      {"cmd 'back\\slash' '\\'", {"cmd", "back\\slash", "\\"}},
      {"sh -c 'echo $0; exit 3'", {"sh", "-c", "echo $0; exit 3"}},
      {"env -i A=1 env", {"env", "-i", "A=1", "env"}},
  };
  Words argv;
  for (const Row& row : rows) {
    CAPTURE(row.line);
    CHECK(split_plain_line(row.line, argv));
    CHECK(argv == row.argv);
  }
}

TEST_CASE("lines that mean something to a shell are left to it") {
  const char* const lines[] = {
      "",
      " ",
      "\t",
      " \t ",
      "#",
      "# comment",
      "cmd # comment",
      "cmd #",
      "cmd \t#x",
      "#cmd",
      "cmd ''#x",
      "cmd \"\"#",
      // `sh -c` takes these for options
      "-x",
      "-",
      "--",
      "-c",
      "+x a",
      "+",
      // operators and redirections
      "a; b",
      "a;",
      ";",
      "a & b",
      "a &",
      "a && b",
      "a || b",
      "a | b",
      "a|b",
      "a>b",
      "a > b",
      "a < b",
      "a 2>&1",
      "a >& b",
      "a <<E",
      "a >>b",
      "a <> b",
      "a >| b",
      "(a)",
      "a (b)",
      "a()",
      "a () { b; }",
      "a&",
      "&",
      "|",
      "<x",
      ">x",
      "2>x a",
      // expansions
      "$x",
      "cmd $x",
      "cmd ${x}",
      "cmd $(x)",
      "cmd `x`",
      "cmd $((1+1))",
      "cmd \"$x\"",
      "cmd \"`x`\"",
      "cmd a$",
      "cmd $",
      "cmd $'x'",
      "cmd \"a\"$x",
      "cmd \"\\n\"",
      "cmd \"a\\\"b\"",
      "cmd \"$\"",
      // globs
      "ls *",
      "ls a?",
      "ls [ab]",
      "ls a*b",
      "ls '*'*",
      "ls ]",
      "ls [",
      "*",
      "?",
      "cmd a[",
      "cmd a]b",
      // tilde
      "cmd ~",
      "cmd ~/x",
      "cmd ~root",
      "cmd a:~",
      "cmd a=~",
      "cmd a=~/x",
      "cmd x=a:~",
      "cmd ''~",
      "cmd \"\"~/",
      "~",
      "~/bin/x",
      "cmd --dir=~",
      "cmd a=''~",
      // backslashes
      "cmd a\\ b",
      "cmd \\",
      "\\cmd",
      "cmd \\n",
      "cmd a\\'b",
      // assignments, and words like them
      "a=b",
      "a=b cmd",
      "a= cmd",
      "a+=b",
      "=foo",
      "=",
      "'a=b'",
      "a'='b",
      "a='b' cmd",
      "a=b c=d cmd",
      "1=2",
      "a[0]=b",
      // braces and the exclamation mark in the command word
      "{ cmd; }",
      "{ cmd",
      "}",
      "{}",
      "{a,b}",
      "! cmd",
      "!",
      "!x",
      "a{b",
      "a!b",
      // quotes that do not end
      "cmd 'a",
      "cmd \"a",
      "cmd 'a' 'b",
      "'",
      "\"",
      "cmd a'",
      "cmd \"a'",
      // empty command words
      "''",
      "\"\"",
      "'' x",
      "''\"\" x",
      // newlines, control bytes, bytes that are no ASCII
      "cmd\n",
      "cmd a\nb",
      "\ncmd",
      "cmd \"a\nb\"",
      "cmd a\r",
      "cmd\r",
      "cmd 'a\r'",
      "cmd \v",
      "cmd \f",
      "cmd \x01",
      "cmd 'a\x1b[0m'",
      "cmd \x7f",
      "cmd '\x7f'",
      "cmd \xc3\xa9",
      "cmd '\xc3\xa9'",
      "cmd \"\xff\"",
      "cmd \x81",
      "cmd '\x81\x88'",
      // the parent's id
      "sh -c 'kill -9 $PPID'",
      "perl -e 'kill 9, $ENV{PPID}'",
  };
  Words argv;
  for (const char* line : lines) {
    CAPTURE(line);
    CHECK_FALSE(split_plain_line(line, argv));
  }
  CHECK_FALSE(split_plain_line(std::string_view("cmd a\0b", 7), argv));
  CHECK_FALSE(split_plain_line(std::string_view("cmd 'a\0b'", 9), argv));
}

TEST_CASE("builtins and reserved words of dash and bash are the shell's, however they are quoted") {
  const char* const names[] = {
      ".",         ":",        "[",        "[[",      "]]",      "{",      "}",       "!",       "alias",   "bg",
      "bind",      "break",    "builtin",  "caller",  "case",    "cd",     "chdir",   "command", "compgen", "complete",
      "compopt",   "continue", "coproc",   "declare", "dirs",    "disown", "do",      "done",    "echo",    "elif",
      "else",      "enable",   "esac",     "eval",    "exec",    "exit",   "export",  "false",   "fc",      "fg",
      "fi",        "for",      "function", "getopts", "hash",    "help",   "history", "if",      "in",      "jobs",
      "kill",      "let",      "local",    "logout",  "mapfile", "popd",   "printf",  "pushd",   "pwd",     "read",
      "readarray", "readonly", "return",   "select",  "set",     "shift",  "shopt",   "source",  "suspend", "test",
      "then",      "time",     "times",    "trap",    "true",    "type",   "typeset", "ulimit",  "umask",   "unalias",
      "unset",     "until",    "wait",     "while",
  };
  Words argv;
  for (const std::string name : names) {
    CAPTURE(name);
    CHECK_FALSE(split_plain_line(name, argv));
    CHECK_FALSE(split_plain_line(name + " x", argv));
    CHECK_FALSE(split_plain_line(" \t" + name + "\t", argv));
    CHECK_FALSE(split_plain_line("'" + name + "' x", argv));
    CHECK_FALSE(split_plain_line("\"" + name + "\" x", argv));
    CHECK_FALSE(split_plain_line(name.substr(0, 1) + "''" + name.substr(1), argv));
    CHECK_FALSE(split_plain_line(name.substr(0, 1) + "'" + name.substr(1) + "'", argv));
    CHECK(split_plain_line("/bin/true " + (name.find_first_of("[]") == std::string::npos ? name : "x"), argv));
  }
}

TEST_CASE("every single byte in every place is either passed on unchanged or left to the shell") {
  Words argv;
  for (int byte = 0; byte < 256; ++byte) {
    CAPTURE(byte);
    const std::string c(1, static_cast<char>(byte));
    const bool text = (byte >= 0x20 && byte < 0x7f) || byte == '\t';
    if (split_plain_line("cmd a" + c + "b", argv)) {
      CHECK(text);
      CHECK((argv == Words{"cmd", "a" + c + "b"} || (c.find_first_of(" \t") == 0 && argv == Words{"cmd", "a", "b"})));
    }
    if (split_plain_line("cmd '" + c + "'", argv)) CHECK((argv == Words{"cmd", c} && (text || byte == '\n')));
    if (split_plain_line("cmd \"" + c + "\"", argv)) CHECK((argv == Words{"cmd", c} && text));
    if (split_plain_line(c + "x", argv)) CHECK((argv == Words{c + "x"} || argv == Words{"x"}));
  }
}

TEST_CASE("a line as long as sh can be given is split, a longer one is not") {
  Words argv;
  std::string line = "cmd ";
  line.append(allot::kMaxShellLineBytes - line.size(), 'x');
  REQUIRE(split_plain_line(line, argv));
  CHECK(argv[1].size() == line.size() - 4);
  CHECK_FALSE(split_plain_line(line + "x", argv));
}

TEST_CASE("argv's strings are reused from line to line") {
  Words argv;
  const std::string word(200, 'w');
  REQUIRE(split_plain_line(word + " " + word, argv));
  const char* before = argv[1].data();
  REQUIRE(split_plain_line("/bin/x short", argv));
  CHECK(argv == Words{"/bin/x", "short"});
  CHECK(argv[1].data() == before);
}

TEST_CASE("dash is known by what its path leads to") {
  TempDirectory dir;
  write_file(dir / "dash", "", 0755);
  write_file(dir / "bash", "", 0755);
  fs::create_symlink("dash", dir / "sh");
  fs::create_symlink(dir / "bash", dir / "sh2");
  CHECK(shell_is_dash_like(dir / "dash"));
  CHECK(shell_is_dash_like(dir / "sh"));
  CHECK_FALSE(shell_is_dash_like(dir / "sh2"));
  CHECK_FALSE(shell_is_dash_like(dir / "bash"));
  CHECK_FALSE(shell_is_dash_like(dir / "missing"));
  CHECK_FALSE(shell_is_dash_like(""));
}

TEST_CASE("programs are found where dash finds them") {
  TempDirectory dir;
  write_file(dir / "good/tool", "#!/bin/sh\n", 0755);
  write_file(dir / "good2/tool", "#!/bin/sh\n", 0755);
  write_file(dir / "noexec/tool", "#!/bin/sh\n", 0644);
  write_file(dir / "plain_file", "", 0755);
  fs::create_directories(dir / "directory/tool");
  fs::create_directories(dir / "empty");
  fs::create_directories(dir / "loop");
  fs::create_symlink("tool", dir / "loop/tool");
  const auto look = [&](const std::string& path, const std::string& cwd = {}) {
    std::string found;
    const int error = find_executable("tool", path, cwd, found);
    return error == 0           ? found
           : error == kUseShell ? std::string("shell")
                                : std::string("errno ") + std::to_string(error);
  };
  const std::string enoent = "errno " + std::to_string(ENOENT);
  const std::string eacces = "errno " + std::to_string(EACCES);

  CHECK(look(dir / "good") == dir / "good/tool");
  CHECK(look((dir / "empty") + ":" + (dir / "good") + ":" + (dir / "good2")) == dir / "good/tool");
  CHECK(look((dir / "noexec") + ":" + (dir / "directory") + ":" + (dir / "good2")) == dir / "good2/tool");
  CHECK(look((dir / "missing") + ":" + (dir / "plain_file") + ":" + (dir / "good")) == dir / "good/tool");
  CHECK(look((dir / "good") + "//") == (dir / "good") + "///tool");
  CHECK(look(dir / "empty") == enoent);
  CHECK(look(dir / "plain_file") == enoent);
  CHECK(look("/nonexistent:" + (dir / "empty")) == enoent);
  CHECK(look(dir / "noexec") == eacces);
  CHECK(look(dir / "directory") == eacces);
  CHECK(look((dir / "noexec") + ":" + (dir / "empty")) == eacces);
  CHECK(look(dir / "loop") == "errno " + std::to_string(ELOOP));
  CHECK(look((dir / "good") + "%builtin") == "shell");

  SECTION("relative and empty elements belong to the directory in which the command starts") {
    CHECK(look("", dir / "good") == "tool");
    CHECK(look(":/nonexistent", dir / "good") == "tool");
    CHECK(look("/nonexistent:", dir / "good") == "tool");
    CHECK(look("/nonexistent::/x", dir / "good") == "tool");
    CHECK(look(".", dir / "good") == "./tool");
    CHECK(look("empty:good", dir.path()) == "good/tool");
    CHECK(look("good", dir / "empty") == enoent);
    CHECK(look("good", dir / "no_such_directory") == "shell");
    CHECK(look((dir / "good") + ":relative", dir / "no_such_directory") == dir / "good/tool");
  }
  SECTION("a name with a slash is taken as it is") {
    std::string found;
    CHECK(find_executable("./nothing", "/usr/bin", "/", found) == 0);
    CHECK(found == "./nothing");
    CHECK(find_executable("/a%b/c", "", "/", found) == 0);
    CHECK(found == "/a%b/c");
  }
  SECTION("an empty name is the shell's") {
    std::string found;
    CHECK(find_executable("", "/usr/bin", "/", found) == kUseShell);
  }
  SECTION("names longer than a file system takes") {
    std::string found;
    CHECK(find_executable(std::string(300, 'x'), dir / "good", "/", found) == ENAMETOOLONG);
  }
}

TEST_CASE("PWD is kept where it is absolute and names the directory, and else is the physical path") {
  TempDirectory dir;
  const std::string root = fs::canonical(dir.path());
  fs::create_directories(dir / "real/sub");
  fs::create_directory_symlink("real", dir / "link");
  const std::string real = root + "/real";
  const std::string link = root + "/link";
  CHECK(shell_pwd(nullptr, real) == real);
  CHECK(shell_pwd(nullptr, link) == real);
  CHECK(shell_pwd("", link) == real);
  CHECK(shell_pwd(real.c_str(), real) == real);
  CHECK(shell_pwd(link.c_str(), link) == link);
  CHECK(shell_pwd(link.c_str(), real) == link);
  CHECK(shell_pwd(real.c_str(), link) == real);
  CHECK(shell_pwd((real + "/").c_str(), real) == real + "/");
  CHECK(shell_pwd((real + "/.").c_str(), real) == real + "/.");
  CHECK(shell_pwd((real + "/sub/..").c_str(), real) == real + "/sub/..");
  CHECK(shell_pwd("real", real) == real);
  CHECK(shell_pwd(".", real) == real);
  CHECK(shell_pwd("/", real) == real);
  CHECK(shell_pwd("/nonexistent", real) == real);
  CHECK(shell_pwd("/", "/") == "/");
  CHECK(shell_pwd(nullptr, dir / "missing").empty());
  CHECK(shell_pwd(real.c_str(), dir / "missing").empty());
}

TEST_CASE("environments come out as dash hands them on") {
  CHECK(arranged({}).empty());
  // Buckets as dash 0.5.12 showed them; the integration test compares with the shell itself.
  CHECK(arranged({"Z=1", "A=1", "PWD=/"}) == Words{"Z=1", "A=1", "PWD=/"});
  CHECK(arranged({"A=1", "Z=1", "PWD=/"}) == Words{"Z=1", "A=1", "PWD=/"});
  CHECK(arranged({"A=1", "B=2", "A=3"}) == Words{"A=3", "B=2"});
  CHECK(arranged({"A.b=2", "1x=3", "a b=3", "=x", "", "novalue", "A=1"}) == Words{"A=1"});
  CHECK(arranged({"A="}) == Words{"A="});
  CHECK(arranged({"AE_=1", "PATH=/x", "AqZ=2"}) == Words{"PATH=/x", "AE_=1", "AqZ=2"});
  CHECK(arranged({"AB=1", "A=2", "ABC=3", "A=4=5"}).size() == 3);
  for (const char* changed : {"IFS=x", "OPTIND=1", "LINENO=3", "PPID=1"}) {
    CHECK(arranged({"A=1", changed, "B=2"}) == Words{"refused"});
  }
  CHECK(arranged({"IFSX=1"}) == Words{"IFSX=1"});
}

TEST_CASE("dash's words for a death by signal") {
  const auto message = [](int status) {
    std::string text = "before|";
    append_death_message(status, text);
    return text.substr(7);
  };
  CHECK(message(0).empty());
  CHECK(message(3 << 8).empty());
  CHECK(message(137 << 8).empty());
  CHECK(message(SIGKILL) == "Killed\n");
  CHECK(message(SIGTERM) == "Terminated\n");
  CHECK(message(SIGSEGV) == "Segmentation fault\n");
  CHECK(message(SIGSEGV | 0x80) == "Segmentation fault (core dumped)\n");
  CHECK(message(SIGINT).empty());
  CHECK(message(SIGPIPE).empty());
}
