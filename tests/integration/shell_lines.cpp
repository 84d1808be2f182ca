// SPDX-License-Identifier: MIT
#include "tests/integration/shell_lines.h"

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <stdexcept>
#include <string_view>

namespace allot::test {
namespace {
namespace fs = std::filesystem;

class LineMaker {
 public:
  explicit LineMaker(std::uint32_t seed) : engine_(seed) {}

  std::string line() {
    // Half of the lines hold nothing that is special, so that many are run directly; the others go astray somewhere.
    special_percent_ = chance(50) ? 0 : 12;
    std::string text = blanks(0);
    text += chance(80) ? std::string(pick(kCommands)) : word();
    const std::size_t words = below(6);
    for (std::size_t i = 0; i < words; ++i) text += blanks(1) + word();
    return text + blanks(0);
  }

 private:
  static constexpr std::string_view kCommands[] = {
      "pa",
      "pa",
      "pa",
      "pa",
      "pa --env",
      "./print",
      "/bin/true",
      "/bin/false",
      "/usr/bin/printf",
      "/bin/echo",
      "cat",
      "ls",
      "ls -d",
      "wc -c",
      "head -n 1",
      "grep -c",
      "grep -F",
      "basename",
      "dirname",
      "expr",
      "md5sum",
      "sh -c",
      "env A=1 pa --env",
      "'pa'",
      "\"pa\"",
      "p'a'",
      "echo",
      "printf",
      "test",
      "true",
      "nosuchprogram",
      "./noexec",
      "./noshebang",
      "./script",
      "'with space'",
      "printenv",
      "stat -c %n",
      "id -u",
  };
  static constexpr std::string_view kPlain[] = {
      "a",   "b", "foo", "x1", "x2",    "file.txt", "sub", "sub/x", "-n", "-l", "-c", "--",   "-",
      "a=b", "=", "x=",  "{}", "{a,b}", "{",        "}",   "!",     "%s", "%d", "1",  "0",    "42",
      "a:b", ":", "@",   "^",  "+",     ",",        ".",   "a#b",   "a~", "_",  "if", "exit", "A.b",
  };
  static constexpr std::string_view kQuotable[] = {
      "",           " ",     "a b", "*",     "?",   "[x]", ";",     "&",   "|",   "<",   ">",      "(",
      ")",          "#",     "# x", "~",     "~/x", "!",   "{a,b}", "=",   "a=b", "\t",  "exit 3", "echo x",
      "kill -9 0x", "x1 x2", "  ",  "%s\\n", "^a",  "a$",  "$HOME", "`x`", "\\",  "\\n",
  };
  static constexpr std::string_view kSpecial[] = {
      "$",        "$HOME",      "$x",       "${x}", "$(echo y)", "`echo y`", "\\",          "\\ ",        "\\'",
      "*",        "?",          "[",        "]",    "x*",        "~",        "~/x",         ":~",         "=~",
      "#",        ";",          " ; ",      "&&",   "||",        "|",        "(",           ")",          "\"",
      "'",        "\"$HOME\"",  "\"\\\"\"", "''",   "\"\"",      "\r",       "\n",          "\x01",       "\x7f",
      "\xc3\xa9", "'\xc3\xa9'", "A=1",      "{",    "}",         "!",        "2>/dev/null", "</dev/null",
  };

  std::size_t below(std::size_t bound) { return engine_() % bound; }
  bool chance(unsigned percent) { return engine_() % 100 < percent; }
  template <std::size_t N>
  std::string_view pick(const std::string_view (&list)[N]) {
    return list[below(N)];
  }
  std::string blanks(std::size_t at_least) {
    std::string text(at_least, ' ');
    while (chance(10)) text += chance(50) ? ' ' : '\t';
    return text;
  }
  std::string quoted() {
    const std::string_view text = pick(kQuotable);
    const bool needs_single = special_percent_ == 0 && text.find_first_of("$`\\\"") != std::string_view::npos;
    const char quote = needs_single || chance(50) ? '\'' : '"';
    return quote + std::string(text) + quote;
  }
  std::string word() {
    std::string text;
    const std::size_t parts = 1 + (chance(40) ? 1 + below(2) : 0);
    for (std::size_t i = 0; i < parts; ++i) {
      if (chance(special_percent_)) {
        text += pick(kSpecial);
      } else {
        text += chance(65) ? std::string(pick(kPlain)) : quoted();
      }
    }
    return text;
  }

  std::mt19937 engine_;  // its sequence is fixed by the standard; distributions are not, so none is used
  unsigned special_percent_ = 0;
};

void write_file(const std::string& path, const std::string& text, mode_t mode = 0644) {
  std::ofstream(path, std::ios::binary) << text;
  if (::chmod(path.c_str(), mode) != 0) throw std::runtime_error("cannot write " + path);
}

}  // namespace

std::vector<std::string> handwritten_lines() {
  std::vector<std::string> lines = {
      "",
      " ",
      "\t",
      "pa 'a\nb'",
      "pa \"a\nb\"",
      "pa a\npa b",
      "pa a\n",
      "\npa a",
      "pa a\r",
      "pa 'a\r'",
      "pa\r",
      "pa '\x01\x02\x1b[0m'",
      "pa \x01",
      "pa \x7f '\x7f' \"\x7f\"",
      "pa \x80\x81\x82\x83\x84\x85\x86\x87\x88\x89",
      "pa '\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89'",
      "pa \"\x81\x82\x83\" \xff",
      "pa a\v b\f",
      "pa 'x\\\ny'",
      "pa x\\\ny",
      "pa " + std::string(20000, 'x'),
      "pa '" + std::string(20000, ' ') + "'",
  };
  std::string many = "pa";
  for (int i = 0; i < 3000; ++i) many += " w" + std::to_string(i);
  lines.push_back(many);
  // Each byte that a shell might treat in a way of its own: bare, quoted either way, at the start, inside and at the
  // end.
  for (int byte = 1; byte < 256; ++byte) {
    const std::string c(1, static_cast<char>(byte));
    if (std::string_view("&<>").find(c) != std::string_view::npos)
      continue;  // would write files or leave processes behind
    lines.insert(lines.end(),
                 {"pa " + c + "x", "pa x" + c + "y", "pa x" + c, "pa '" + c + "'", "pa \"" + c + "\"", c + "x"});
  }
  std::ifstream file(ALLOT_SOURCE_DIR "/tests/integration/shell_lines.txt");
  if (!file) throw std::runtime_error("tests/integration/shell_lines.txt cannot be read");
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

std::vector<std::string> random_lines(std::uint32_t seed, std::size_t count) {
  LineMaker maker(seed);
  std::vector<std::string> lines;
  lines.reserve(count);
  while (lines.size() < count) lines.push_back(maker.line());
  return lines;
}

std::vector<std::string> lines_that_need_no_shell() {
  return {
      "/bin/true",
      "sleep 0",
      "grep -c foo file.txt",
      "sha256sum 'a b'",
      "sha256sum \"a b\" file.txt",
      "gzip -9 --keep sub/x",
      "python3 script.py --input=data/a.csv --threshold 0.5 'two words'",
      "./script a b",
      "sh -c 'echo $0; exit 3'",
      "find . ! -name x1 -exec cat {} +",
      "env A=1 pa --env",
      "awk '{print $1}' file.txt",
      "sed -e 's/foo/bar/' file.txt",
      "rsync -a host:/data/x-1.2_3%4,5@6+7 user@host:/y",
      "cmd ''",
      "  cmd  a\t'b'\"c\"d  ",
  };
}

ShellPlayground::ShellPlayground() : root_(fs::canonical(directory_.path()).string()) {
  for (const char* name : {"/bin", "/area/sub", "/home"}) fs::create_directories(root_ + name);
  const std::string work_directory = work();
  const std::string script = "#!/bin/sh\nprintf '%s|' script \"$0\" \"$@\"\n";
  const std::string no_shebang = "printf '%s|' noshebang \"$0\" \"$@\"\nexit 6\n";
  fs::create_symlink("area", root_ + "/link");
  fs::create_symlink(ALLOT_PRINT_ARGS, root_ + "/bin/pa");
  fs::create_symlink(ALLOT_PRINT_ARGS, work_directory + "/print");
  fs::create_symlink("loop", work_directory + "/loop");
  write_file(root_ + "/bin/noexec", script);
  write_file(root_ + "/bin/noshebang", no_shebang, 0755);
  write_file(root_ + "/bin/badinterpreter", "#!/nonexistent/interpreter\n", 0755);
  write_file(root_ + "/bin/empty", "", 0755);
  write_file(root_ + "/bin/with space", script, 0755);
  write_file(work_directory + "/file.txt", "foo bar\na.c abc\n-x\nfoo\n*\n");
  for (const char* name : {"a b", "x1", "x2", "#x", "-n", "~", "sub/x", "foo"}) {
    write_file(work_directory + "/" + name, std::string(name) + "\n");
  }
  write_file(work_directory + "/dotfile", "pa sourced\n");
  write_file(work_directory + "/noexec", script);
  write_file(work_directory + "/script", script, 0755);
  write_file(work_directory + "/with space", script, 0755);
  write_file(work_directory + "/noshebang", no_shebang, 0755);
  write_file(work_directory + "/badinterpreter", "#!/nonexistent/interpreter\n", 0755);
  write_file(work_directory + "/empty", "", 0755);
}

std::vector<std::string> ShellPlayground::environment() const {
  return {"HOME=" + root_ + "/home",
          "PATH=" + path_value(),
          "LC_ALL=C.UTF-8",
          "EMPTY=",
          "PWD=" + work(),
          "SPACES=a  b",
          "_=previous",
          "OLDPWD=/nowhere",
          "A=0",
          "TERM=dumb"};
}

}  // namespace allot::test
