// SPDX-License-Identifier: MIT
#include "cli/command_line.h"

#include <algorithm>
#include <set>

#include "tests/support/catch.h"

namespace allot::cli {

TEST_CASE("texts are wrapped at words, paragraphs stay apart") {
  CHECK(wrap("a b c", 0, 3) == "a b\nc\n");
  CHECK(wrap("a b", 2, 10) == "  a b\n");
  CHECK(wrap("one\n\ntwo", 0) == "one\n\ntwo\n");
  CHECK(wrap("averylongword x", 0, 5) == "averylongword\nx\n");
  CHECK(wrap("", 0).empty());
}

TEST_CASE("every verb has help with usage, options, examples that name it, and its exit status") {
  const CommandLine line;
  std::set<std::string> names;
  for (const auto& verb : line.verbs()) {
    names.insert(verb->name());
    const std::string help = line.help_of(*verb);
    CHECK(help.find("usage: allot " + verb->name()) == 0);
    CHECK(help.find("--help") != std::string::npos);
    if (verb->is_hidden()) continue;
    INFO(verb->name());
    CHECK(line.help().find("  " + verb->name()) != std::string::npos);
    CHECK(help.find("Exit status: ") != std::string::npos);
    CHECK_FALSE(verb->text().examples.empty());
    for (const auto& [command, purpose] : verb->text().examples) {
      CHECK(command.find("allot " + verb->name()) != std::string::npos);
      CHECK_FALSE(purpose.empty());
    }
    for (const auto& option : CommandLine::options_of(line.app_of(*verb))) {
      CHECK_FALSE(option.description.empty());
      CHECK(option.is_positional == option.flags.empty());
    }
  }
  CHECK(names == std::set<std::string>{"run", "submit", "resume", "status", "output", "cancel", "retry", "hold",
                                       "release", "throttle", "explain", "list", "wait", "remove", "add", "worker",
                                       "clusters", "driver", "docs"});
}

TEST_CASE("options tell whether they take a value") {
  const CommandLine line;
  const auto run =
      std::find_if(line.verbs().begin(), line.verbs().end(), [](const auto& verb) { return verb->name() == "run"; });
  std::map<std::string, OptionText> options;
  for (const auto& option : CommandLine::options_of(line.app_of(**run))) {
    for (const auto& flag : option.flags) options[flag] = option;
  }
  CHECK(options.at("-j").value == "N");
  CHECK(options.at("--slots").value == "N");
  CHECK(options.at("--json").value.empty());
  CHECK(options.at("-0").flags == std::vector<std::string>{"-0", "--null"});
  CHECK(options.at("--batch-dir").value == "DIR");
}

}  // namespace allot::cli
