// SPDX-License-Identifier: MIT
// Who may read and write what, which secrets stay out of files, and what no shell may see.
#include <sys/stat.h>

#include <filesystem>

#include "tests/integration/cli_fixture.h"
#include "tests/support/catch.h"

namespace allot::test {

namespace {

using Catch::Matchers::ContainsSubstring;
namespace fs = std::filesystem;

// Runs a line of bash in which $ALLOT is the program.
ProgramOutcome shell(const Cli& cli, const std::string& line) {
  ProgramOptions options = cli.options({});
  options.environment.emplace_back("ALLOT", options.argv[0]);
  options.argv = {"bash", "-c", line};
  return run_program(options);
}

mode_t mode_of(const std::string& path) {
  struct stat status {};
  REQUIRE(::lstat(path.c_str(), &status) == 0);
  return status.st_mode & 07777;
}

}  // namespace

TEST_CASE("a batch is its owner's only whatever the umask and the tasks' files have the submitter's") {
  const std::pair<const char*, mode_t> masks[] = {{"0000", 0666}, {"0022", 0644}, {"0077", 0600}, {"0777", 0}};
  for (const auto& [mask, expected] : masks) {
    CAPTURE(mask);
    const Cli cli;
    cli.write("tasks", "{\"command\": \"umask; exit 3\"}\n{\"command\": \"echo x\", \"stdout\": \"mine\"}\n");
    const auto outcome = shell(cli, std::string("umask ") + mask + "; exec $ALLOT run --batch-dir above/deep/b tasks");
    INFO(outcome.err);
    // Nobody may look into what umask 0777 makes above the batch; root may.
    if (expected == 0 && ::geteuid() != 0) continue;
    CHECK(outcome.exit_status == 1);
    CHECK(cli.output("above/deep/b", "0") == std::string(mask) + "\n");
    CHECK(mode_of(cli.path("mine")) == expected);
    for (const char* parent : {"above", "above/deep"}) CHECK((mode_of(cli.path(parent)) & 022) == 0);
    CHECK(mode_of(cli.path("above/deep/b")) == 0700);
    for (const auto& entry : fs::recursive_directory_iterator(cli.path("above/deep/b"))) {
      CAPTURE(entry.path().string());
      CHECK(mode_of(entry.path()) == (entry.is_directory() ? 0700 : 0600));
    }
  }
}

TEST_CASE("a resumed task has the umask of its submitter") {
  const Cli cli;
  cli.write("small.toml", "plugin = \"multiprocess\"\n[[queue]]\nname = \"q\"\nmemory = [\"1M\", \"2M\"]\n");
  cli.write("large.toml", "plugin = \"multiprocess\"\n[[queue]]\nname = \"q\"\nmemory = [\"1M\", \"64M\"]\n");
  const auto run =
      shell(cli, "umask 0027; exec $ALLOT run -c ./small.toml --memory 60M --batch-dir b --lines - <<<'umask'");
  CHECK(run.exit_status == 1);
  CHECK(cli.tasks("./b").at(0)["exit_class"] == "queueing_error");
  const auto resumed = shell(cli, "umask 0; exec $ALLOT resume -c ./large.toml ./b");
  INFO(resumed.err);
  CHECK(resumed.exit_status == 0);
  CHECK(cli.output("./b", "0") == "0027\n");
}

TEST_CASE("a directory that others can write is no place for a batch") {
  const Cli cli;
  fs::create_directory(cli.path("open"));
  REQUIRE(::chmod(cli.path("open").c_str(), 0777) == 0);
  const auto refused = cli.must(2, {"run", "--batch-dir", "open", "--", "true"});
  CHECK_THAT(refused.err, ContainsSubstring("the directory is writable by everyone (mode 0777)"));
  CHECK(cli.must(2, {"run", "--dry-run", "--batch-dir", "open", "--", "true"}).err == refused.err);
  CHECK(fs::is_empty(cli.path("open")));
}

TEST_CASE("secrets of the environment reach the tasks and no file, log or command line") {
  const Cli cli;
  const std::string secret = "s3cr3t-4-n0-f1l3";
  cli.write("tasks",
            "{\"command\": \"test ${#MY_TOKEN} = 16 && test ${#DATABASE_URL} = 28 && test $PLAIN = kept\"}\n"
            "{\"command\": \"tr '\\\\000' ' ' </proc/$PPID/cmdline; ps -ww -o args; exit 1\"}\n"
            "{\"command\": \"echo complaint >&2; kill $$\"}\n"
            "{\"command\": [\"/nowhere/$MY_TOKEN\", \"$MY_TOKEN\"]}\n"
            "{\"command\": \"sleep 100\", \"timeout\": \"100ms\"}\n"
            "{\"command\": \"true\", \"resources\": {\"cores\": 4000}}\n");
  fs::create_directory(cli.path("runtime"));
  REQUIRE(::chmod(cli.path("runtime").c_str(), 0700) == 0);
  for (const char* verb : {"run", "resume"}) {
    ProgramOptions options = cli.options({"run", "--retry", "error=1", "--batch-dir", "b", "tasks"});
    if (verb == std::string("resume")) options.argv = {options.argv[0], "resume", "./b"};
    options.environment.insert(options.environment.end(), {{"MY_TOKEN", secret},
                                                           {"DB_PASSWORD", secret},
                                                           {"DATABASE_URL", "db://me:" + secret + "@h/x"},
                                                           {"PLAIN", "kept"},
                                                           {"XDG_RUNTIME_DIR", cli.path("runtime")},
                                                           {"ALLOT_LOG", "debug"}});
    const auto outcome = run_program(options);
    INFO(outcome.err);
    CHECK(outcome.exit_status == 1);
    CHECK((outcome.out + outcome.err).find(secret) == std::string::npos);
  }
  const auto tasks = cli.tasks("./b");
  CHECK(tasks.at(0)["state"] == "done");
  CHECK(tasks.at(3)["exit_class"] == "launch_failed");
  CHECK_THAT(cli.output("./b", "1"), ContainsSubstring("allot-guard"));
  for (const auto& root : {cli.work(), cli.state_home()}) {
    for (const auto& entry : fs::recursive_directory_iterator(root)) {
      if (!entry.is_regular_file()) continue;
      CAPTURE(entry.path().string());
      CHECK(read_file(entry.path()).value().find(secret) == std::string::npos);
    }
  }
}

TEST_CASE("an argument vector passes untouched and through no shell") {
  const Cli cli;
  const std::vector<std::string> words = {"$(touch injected)",
                                          "`touch injected`",
                                          ";touch injected",
                                          "a\nb",
                                          "",
                                          "*",
                                          "~",
                                          "\\",
                                          "'\"",
                                          "|",
                                          ">injected",
                                          "&& true",
                                          "-n",
                                          "$HOME",
                                          " ",
                                          "\x01"};
  std::vector<std::string> arguments = {"run", "--batch-dir", "words", "--", "printf", "<%s>"};
  arguments.insert(arguments.end(), words.begin(), words.end());
  cli.must(0, arguments);
  std::string expected;
  nlohmann::json command = {"printf", "<%s>"};
  for (const auto& word : words) {
    expected += "<" + word + ">";
    command.push_back(word);
  }
  CHECK(cli.output("./words", "0") == expected);
  cli.write("line", nlohmann::json{{"command", command}}.dump() + "\n");
  cli.must(0, {"run", "--batch-dir", "json", "line"});
  CHECK(cli.output("./json", "0") == expected);
  // A program whose name is no word of a shell's.
  cli.write("a program; touch injected", "#!/bin/sh\necho ran \"$1\"\n", 0755);
  cli.must(0, {"run", "--batch-dir", "name", "--", "./a program; touch injected", "$1"});
  CHECK(cli.output("./name", "0") == "ran $1\n");
  CHECK_FALSE(fs::exists(cli.path("injected")));
}

TEST_CASE("a cluster's file that others can write is not read") {
  const Cli cli;
  const std::string clusters = cli.state_home() + "/config/allot/clusters";
  fs::create_directories(clusters);
  for (const char* name : {"good", "open"}) {
    cli.write("../state/config/allot/clusters/" + std::string(name) + ".toml", "plugin = \"multiprocess\"\n");
  }
  REQUIRE(::chmod((clusters + "/open.toml").c_str(), 0666) == 0);
  const std::string why = clusters + "/open.toml is writable by everyone (mode 0666)";
  for (const std::string& name : {std::string("open"), clusters + "/open.toml"}) {
    CHECK_THAT(cli.must(2, {"run", "-c", name, "--", "true"}).err,
               ContainsSubstring(why) && ContainsSubstring("chmod"));
  }
  cli.must(0, {"run", "-c", "good", "--", "true"});
  const auto json = nlohmann::json::parse(cli.must(0, {"clusters", "--json"}).out);
  for (const auto& cluster : json["clusters"]) {
    if (cluster["name"] == "open") CHECK_THAT(cluster["text"].get<std::string>(), ContainsSubstring(why));
    if (cluster["name"] == "slurm") continue;  // whether there is one here is no matter of safety
    CHECK(cluster["usable"] == (cluster["name"] != "open"));
  }
  // A link counts as where it lies and where it leads; a sticky directory above is nobody's to change.
  fs::create_directory(cli.path("sticky"));
  fs::create_directory(cli.path("sticky/own"));
  fs::create_symlink(clusters + "/open.toml", cli.path("sticky/own/link.toml"));
  CHECK_THAT(cli.must(2, {"run", "-c", "sticky/own/link.toml", "--", "true"}).err, ContainsSubstring(why));
  cli.write("sticky/own/file.toml", "plugin = \"multiprocess\"\n");
  REQUIRE(::chmod(cli.path("sticky").c_str(), 01777) == 0);
  cli.must(0, {"run", "-c", "sticky/own/file.toml", "--", "true"});
  REQUIRE(::chmod(cli.path("sticky").c_str(), 0777) == 0);
  CHECK_THAT(cli.must(2, {"run", "-c", "sticky/own/file.toml", "--", "true"}).err,
             ContainsSubstring(cli.path("sticky") + " is writable by everyone (mode 0777)"));
}

}  // namespace allot::test
