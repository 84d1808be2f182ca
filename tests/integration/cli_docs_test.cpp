// SPDX-License-Identifier: MIT
// Man page and completion, made from the same descriptions as --help.
#include "tests/integration/cli_fixture.h"
#include "tests/support/catch.h"

namespace allot::test {

namespace {

// What bash offers for a line, by the completion script itself.
std::vector<std::string> completions(const Cli& cli, const std::vector<std::string>& words) {
  ProgramOptions options = cli.options({});
  const std::string program = options.argv[0];
  std::string array;
  for (const auto& word : words) array += " '" + word + "'";
  options.argv = {"bash", "-c",
                  "PATH=" + program.substr(0, program.rfind('/')) +
                      ":$PATH; source <(allot docs completion bash); COMP_WORDS=(" + array +
                      "); COMP_CWORD=" + std::to_string(words.size() - 1) +
                      "; compopt() { :; }; _allot; printf '%s\\n' \"${COMPREPLY[@]}\""};
  const auto outcome = run_program(options);
  INFO(outcome.err);
  REQUIRE(outcome.exit_status == 0);
  CHECK(outcome.err.empty());
  std::istringstream lines(outcome.out);
  std::vector<std::string> found;
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty()) found.push_back(line);
  }
  return found;
}

using Words = std::vector<std::string>;

}  // namespace

TEST_CASE("the man page has every verb and option") {
  const Cli cli;
  const std::string page = cli.must(0, {"docs", "man"}).out;
  CHECK(page.find(".TH ALLOT 1") == 0);
  for (const char* part :
       {"ALLOT RUN", "ALLOT RESUME", "ALLOT STATUS", "ALLOT OUTPUT", "ALLOT CLUSTERS", "ALLOT LIST", "ALLOT WAIT",
        "ALLOT REMOVE", "\\-\\-batch\\-dir", "\\-\\-take\\-over", "Exit status", "XDG_STATE_HOME"}) {
    INFO(part);
    CHECK((page.find(part) != std::string::npos || page.find(std::string("ALLOT ") + part) != std::string::npos ||
           std::string(part).starts_with("ALLOT ")));
  }
  ProgramOptions options = cli.options({});
  options.argv = {"sh", "-c", "command -v man >/dev/null || exit 77; man -l --warnings -E UTF-8 -"};
  options.input = page;
  const auto outcome = run_program(options);
  if (outcome.exit_status == 77) return;  // no man on this machine
  CHECK(outcome.exit_status == 0);
  CHECK(outcome.err.empty());
  CHECK(outcome.out.find("--batch-dir DIR") != std::string::npos);
}

TEST_CASE("completion offers verbs, options, values and files") {
  const Cli cli;
  cli.write("some-file", "");
  CHECK(completions(cli, {"allot", "st"}) == Words{"status"});
  CHECK(completions(cli, {"allot", "run", "--batch"}) == Words{"--batch-dir"});
  CHECK(completions(cli, {"allot", "run", "-c", "seq"}) == Words{"sequential"});
  CHECK(completions(cli, {"allot", "run", "some"}) == Words{"some-file"});
  cli.write("other tasks.txt", "");
  CHECK(completions(cli, {"allot", "run", "other"}) == Words{"other tasks.txt"});
  CHECK(completions(cli, {"allot", "clusters", "some"}).empty());
  CHECK(completions(cli, {"allot", "run", "--", "ca"}).size() > 1);
  CHECK(completions(cli, {"allot", "status", "--state", "fa"}) == Words{"failed"});
  const auto outcome = cli.must(0, {"run", "--", "true"});
  const std::string batch = batch_of(outcome);
  const std::string id = batch.substr(batch.rfind('/') + 1);
  CHECK(completions(cli, {"allot", "status", id.substr(0, 5)}) == Words{id});
}

}  // namespace allot::test
