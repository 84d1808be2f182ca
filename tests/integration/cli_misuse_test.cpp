// SPDX-License-Identifier: MIT
// What is refused before anything is started: exit status 2 (3 for what is missing on the machine) and a reason.
#include <sys/stat.h>

#include <filesystem>

#include "tests/integration/cli_fixture.h"
#include "tests/support/catch.h"

namespace allot::test {

namespace {

bool is_empty(const std::string& directory) {
  return !std::filesystem::exists(directory) || std::filesystem::is_empty(directory);
}

}  // namespace

TEST_CASE("wrong usage") {
  const Cli cli;
  cli.write("lines", "touch ran\n");
  struct Case {
    std::vector<std::string> arguments;
    const char* message;
  };
  const Case cases[] = {
      {{}, "usage: allot COMMAND"},
      {{"rnu"}, "no such command: rnu; did you mean run?"},
      {{"xyz"}, "no such command: xyz; known: run, submit, resume"},
      {{"--vresion"}, "no such option: --vresion; did you mean --version?"},
      {{"run", "--jsno", "lines"}, "no such option: --jsno; did you mean --json?"},
      {{"run", "-x", "lines"}, "no such option: -x"},
      {{"run", "lines", "more"}, "unexpected argument \"more\""},
      {{"run"}, "nothing to run"},
      {{"run", "lines", "--", "true"}, "both a FILE (lines) and a command"},
      {{"run", "--"}, "the command behind -- is missing"},
      {{"run", "--", ":::", "a"}, "the command behind -- is missing"},
      {{"run", "--", ""}, "the program's name behind -- is empty"},
      {{"run", "--array", "3"}, "--array needs a command"},
      {{"run", "--each", "lines"}, "--each needs a command"},
      {{"run", "--array", "3", "--", "true", ":::", "a"}, "exclude each other"},
      {{"run", "--array", "3", "--each", "lines", "--", "true"}, "exclude each other"},
      {{"run", "--array", "0", "--", "true"}, "--array 0: must be 1 to 10000000"},
      {{"run", "--array", "10000001", "--", "true"}, "must be 1 to 10000000"},
      {{"run", "--array", "1e3", "--", "true"}, "--array 1e3: must be a whole number"},
      {{"run", "-0", "--", "true"}, "-0 is about"},
      {{"run", "--", "true", "::::", "lines"}, "use --each FILE"},
      {{"run", "--lines", "--jsonl", "lines"}, "--jsonl"},
      {{"run", "-j", "0", "--", "true"}, "-j 0: must be 1 to"},
      {{"run", "-j", "two", "--", "true"}, "two: must be a whole number"},
      {{"run", "--memory", "10 potatoes", "--", "true"}, "--memory: "},
      {{"run", "--memory", "0", "--", "true"}, "--memory: must be more than 0"},
      {{"run", "--timeout", "-1", "--", "true"}, "--timeout: "},
      {{"run", "--cores", "0", "--", "true"}, "--cores: "},
      {{"run", "--grace", "soon", "--", "true"}, "--grace: "},
      {{"run", "-c", "nowhere", "--", "true"}, "nowhere"},
      {{"run", "--tasks", "--", "true"}, "--tasks requires --dry-run"},
      {{"run", "--batch-dir", "", "--", "true"}, "--batch-dir: the path is empty"},
      {{"status"}, "BATCH"},
      {{"status", "no-such-batch"}, "there is no batch \"no-such-batch\""},
      {{"status", "./no-such-batch"}, "there is no batch at ./no-such-batch"},
      {{"output", "./no-such-batch"}, "there is no batch at ./no-such-batch"},
      {{"resume", "./no-such-batch"}, "there is no batch at ./no-such-batch"},
      {{"status", ".", "--tasks", "--state", "asleep"}, "--state asleep: must be waiting"},
      {{"docs", "woman"}, "there is only: man"},
  };
  for (const auto& one : cases) {
    const auto outcome = cli.run(one.arguments);
    std::string text;
    for (const auto& argument : one.arguments) text += argument + " ";
    INFO(text << "\n" << outcome.err);
    CHECK(outcome.exit_status == 2);
    CHECK(outcome.out.empty());
    CHECK(outcome.err.find(one.message) != std::string::npos);
  }
  CHECK(is_empty(cli.state_home()));
  CHECK_FALSE(std::filesystem::exists(cli.path("ran")));
}

TEST_CASE("bad input: nothing is started and nothing is left") {
  const Cli cli;
  cli.write("unreadable", "touch ran\n", 0000);
  cli.write("empty", "");
  cli.write("comments", "# nothing\n\n");
  cli.write("nul", std::string("touch ran\nab\0c\n", 15));
  cli.write("bad.jsonl", "{\"command\": \"touch ran\"}\n{\"command\": \"x\",}\n");
  cli.write("unknown.jsonl", "{\"command\": \"touch ran\"}\n{\"command\": \"x\", \"timout\": 5}\n");
  cli.write("cycle.jsonl",
            "{\"command\": \"touch ran\"}\n{\"command\": \"x\", \"name\": \"a\", \"after\": \"b\"}\n"
            "{\"command\": \"y\", \"name\": \"b\", \"after\": \"a\"}\n");
  struct Case {
    std::vector<std::string> arguments;
    const char* message;
  };
  std::vector<Case> cases = {
      {{"missing"}, "missing: cannot be read: No such file or directory (ENOENT)"},
      {{"."}, ".: is a directory"},
      {{"empty"}, "empty: holds no tasks"},
      {{"comments"}, "comments: holds no tasks"},
      {{"nul"}, "nul:2:3: a NUL byte"},
      {{"bad.jsonl"}, "bad.jsonl:2:17: invalid JSON"},
      {{"unknown.jsonl"}, "unknown.jsonl:2: timout: no such key; did you mean \"timeout\"?"},
      {{"cycle.jsonl"}, "\"a\" (line 2) waits for \"b\" (line 3) waits for \"a\" (line 2)"},
      {{"--each", "missing", "--", "true"}, "missing: cannot be read"},
      {{"--each", "empty", "--", "true"}, "empty: holds no tasks"},
      {{"--", "echo", "{3}", ":::", "a", ":::", "b"}, "{3} in the command names no argument"},
      {{"--", "true", ":::"}, "the list behind \":::\": holds no tasks"},
      {{"-"}, "standard input: holds no tasks"},
  };
  if (::geteuid() != 0) cases.push_back({{"unreadable"}, "unreadable: cannot be read: Permission denied (EACCES)"});
  for (const auto& one : cases) {
    for (const bool has_directory : {false, true}) {
      std::vector<std::string> arguments = {"run", "--batch-dir", "batch"};
      if (has_directory) ::mkdir(cli.path("batch").c_str(), 0700);
      arguments.insert(arguments.end(), one.arguments.begin(), one.arguments.end());
      const auto outcome = cli.run(arguments);
      INFO(one.message << "\n" << outcome.err);
      CHECK(outcome.exit_status == 2);
      CHECK(outcome.out.empty());
      CHECK(outcome.err.find(one.message) != std::string::npos);
      // A directory that was there stays, empty; one that was not is not left.
      CHECK(std::filesystem::exists(cli.path("batch")) == has_directory);
      CHECK(is_empty(cli.path("batch")));
      // A dry run says the same and leaves the same.
      arguments.insert(arguments.begin() + 1, "--dry-run");
      const auto dry = cli.run(arguments);
      CHECK(dry.exit_status == outcome.exit_status);
      CHECK(dry.out.empty());
      CHECK(dry.err == outcome.err);
      CHECK(std::filesystem::exists(cli.path("batch")) == has_directory);
      CHECK(is_empty(cli.path("batch")));
      std::filesystem::remove_all(cli.path("batch"));
    }
  }
  CHECK_FALSE(std::filesystem::exists(cli.path("ran")));
}

TEST_CASE("no tasks may be declared fine") {
  const Cli cli;
  CHECK(cli.must(0, {"run", "--allow-empty", "--each", "-", "--", "true"}).out.empty());
  const auto told = cli.must(0, {"run", "--allow-empty", "--json", "--each", "-", "--", "true"});
  const auto json = nlohmann::json::parse(told.out);
  CHECK(json["batch"].is_null());
  CHECK(json["tasks"] == 0);
}

TEST_CASE("a directory for the batch that cannot be used") {
  const Cli cli;
  ::mkdir(cli.path("full").c_str(), 0700);
  cli.write("full/precious", "data");
  cli.must(0, {"run", "--batch-dir", "used", "--", "echo", "first"});
  const std::pair<const char*, const char*> places[] = {{"full", "the directory is not empty"},
                                                        {"used", "there is a batch already"},
                                                        {"full/precious", "it exists and is no directory"},
                                                        {"full/precious/b", "Not a directory"}};
  for (const auto& [place, message] : places) {
    const auto refused = cli.must(2, {"run", "--batch-dir", place, "--", "true"});
    INFO(refused.err);
    CHECK(refused.err.find(message) != std::string::npos);
    CHECK(cli.must(2, {"run", "--dry-run", "--batch-dir", place, "--", "true"}).err == refused.err);
  }
  CHECK(read_file(cli.path("full/precious")).value() == "data");
  CHECK(cli.output("./used", "0") == "first\n");
}

TEST_CASE("what is missing on the machine is another exit status") {
  const Cli cli;
  cli.write("broken.toml", "plugin = \"no_such_plugin\"\n");
  const auto absent = cli.must(3, {"run", "-c", "./broken.toml", "--", "true"});
  CHECK(absent.err.find("no_such_plugin") != std::string::npos);
  CHECK(absent.err.find("absent") != std::string::npos);
  cli.write("wrong.toml", "plugin = \"multiprocess\"\n[parameters]\nslots = \"many\"\n");
  const auto wrong = cli.must(2, {"run", "-c", "./wrong.toml", "--", "true"});
  CHECK(wrong.err.find("wrong.toml:3: ") != std::string::npos);
  CHECK(wrong.err.find("slots") != std::string::npos);
}

TEST_CASE("help and version go to standard output") {
  const Cli cli;
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{{"--help"},
                                                                                         {"-h"},
                                                                                         {"run", "--help"},
                                                                                         {"resume", "-h"},
                                                                                         {"status", "--help"},
                                                                                         {"output", "--help"},
                                                                                         {"clusters", "--help"},
                                                                                         {"run", "lines", "--help"}}) {
    const auto outcome = cli.must(0, arguments);
    CHECK(outcome.out.find("usage: allot ") == 0);
    CHECK(outcome.err.empty());
    std::istringstream lines(outcome.out);
    for (std::string line; std::getline(lines, line);) CHECK(line.size() <= 100);
  }
  CHECK(cli.must(0, {"--version"}).out == "allot " ALLOT_VERSION "\n");
}

TEST_CASE("limits of the machine are named, not died of") {
  const Cli cli;
#ifndef __SANITIZE_THREAD__  // whose run time writes a file itself before anything else
  auto options = cli.options({"run", "-q", "--batch-dir", "b", "--", "true"});
  options.argv.insert(options.argv.begin(), {"/bin/sh", "-c", "ulimit -f 0; exec \"$0\" \"$@\""});
  const auto no_file = run_program(options);
  CHECK(no_file.exit_status == 2);
  CHECK(no_file.err.find("EFBIG") != std::string::npos);
  CHECK_FALSE(std::filesystem::exists(cli.path("b")));
#endif
  // So long that no socket's path fits: another directory is taken.
  const std::string deep = cli.path(std::string(100, 'x'));
  ::mkdir(deep.c_str(), 0700);
  auto far = cli.options({"run", "-q", "--", "true"});
  far.environment.emplace_back("XDG_RUNTIME_DIR", deep);
  CHECK(run_program(far).exit_status == 0);
}

}  // namespace allot::test
