// SPDX-License-Identifier: MIT
// `allot run` in all its forms.
#include <sys/stat.h>

#include <algorithm>

#include "tests/integration/cli_fixture.h"
#include "tests/support/catch.h"

namespace allot::test {

TEST_CASE("shell lines from a file and from standard input") {
  const Cli cli;
  const std::string lines = "echo a; echo b >&2\n# comment\n\nexit 3\nprintf '%s' $ALLOT_ARRAY_STEP_ID\n";
  const auto file = cli.write("lines", lines);
  for (const bool from_file : {true, false}) {
    const std::string batch = cli.path(from_file ? "one" : "two");
    const auto outcome = from_file ? cli.must(1, {"run", "--batch-dir", batch, file})
                                   : cli.must(1, {"run", "--batch-dir", batch, "-"}, lines);
    CHECK(outcome.err.find("2 blank or comment lines skipped") != std::string::npos);
    CHECK(outcome.out.find("3 tasks: 2 done, 1 failed") == 0);
    CHECK(outcome.out.find("step 1: error (3): exit 3") != std::string::npos);
    CHECK(batch_of(outcome) == batch);
    CHECK(cli.output(batch, "0") == "a\n");
    CHECK(cli.must(0, {"output", batch, "0", "--stderr"}).out == "b\n");
    CHECK(cli.output(batch, "2") == "2");
    const auto tasks = cli.tasks(batch);
    REQUIRE(tasks.size() == 3);
    CHECK(tasks[1]["source_line"] == 4);
  }
}

TEST_CASE("arguments reach the command as they are") {
  const Cli cli;
  const std::vector<std::string> names = {"a b", "it's", "\"quoted\"", "$(touch injected)", "new\nline",
                                          "*",   "-n",   "",           "\xff\xfe",          "{}",
                                          "{#}", ";",    "tab\there"};
  std::string input;
  for (const auto& name : names) input += name + '\0';
  cli.must(0, {"run", "-0", "--each", "-", "--batch-dir", "each", "--", "printf", "<%s|%s>", "{#}", "{}"}, input);
  std::vector<std::string> by_list = {"run", "--batch-dir", "list", "--", "printf", "<%s|%s>", "{#}", "{}", ":::"};
  by_list.insert(by_list.end(), names.begin(), names.end());
  cli.must(0, by_list);
  for (std::size_t step = 0; step < names.size(); ++step) {
    const std::string expected = "<" + std::to_string(step) + "|" + names[step] + ">";
    CHECK(cli.output("./each", std::to_string(step)) == expected);
    CHECK(cli.output("./list", std::to_string(step)) == expected);
  }
  struct stat status {};
  CHECK(::stat(cli.path("injected").c_str(), &status) != 0);
}

TEST_CASE("a template without {} gets the argument at its end, and lists are multiplied") {
  const Cli cli;
  cli.must(0, {"run", "--batch-dir", "b", "--", "echo", ":::", "x", "y", ":::", "1", "2"});
  CHECK(cli.must(0, {"output", "./b"}).out == "x 1\nx 2\ny 1\ny 2\n");
}

TEST_CASE("an array runs one command with its index, and a plain command is no array") {
  const Cli cli;
  cli.must(0, {"run", "--array", "4", "--batch-dir", "array", "--", "sh", "-c", "echo $ALLOT_ARRAY_STEP_ID {#}"});
  CHECK(cli.must(0, {"output", "./array"}).out == "0 0\n1 1\n2 2\n3 3\n");
  cli.must(0, {"run", "--batch-dir", "plain", "--", "sh", "-c", "echo ${ALLOT_ARRAY_STEP_ID-unset} ${#} {}"});
  CHECK(cli.must(0, {"output", "./plain"}).out == "unset 0 {}\n");
  CHECK(cli.tasks("./plain")[0]["distributor_id"].get<std::string>().size() == 12);
}

TEST_CASE("JSON lines: every key has its effect") {
  const Cli cli;
  cli.write("in.txt", "from stdin\n");
  ::mkdir(cli.path("sub").c_str(), 0700);
  const std::string input =
      R"({"command": ["printf", "%s", "a b"], "name": "first"})"
      "\n\n"
      R"({"command": "cat; echo $X; pwd", "env": {"X": "y z"}, "cwd": "sub", "stdin": "../in.txt", "after": "first"})"
      "\n"
      R"({"command": "echo out; echo err >&2", "stdout": "out.txt", "stderr": "err.txt"})"
      "\n"
      R"({"command": "sleep 100", "timeout": 0.2})"
      "\n"
      R"({"command": "echo handled", "after": {"task": 3, "when": "not_ok"}})"
      "\n"
      R"({"command": "echo never", "after": 3})"
      "\n";
  const auto outcome = cli.must(1, {"run", "--batch-dir", "b", "-"}, input);
  CHECK(outcome.out.find("6 tasks: 4 done, 1 failed, 1 abandoned") == 0);
  CHECK(cli.output("./b", "0") == "a b");
  CHECK(cli.output("./b", "1") == "from stdin\ny z\n" + cli.path("sub") + "\n");
  CHECK(read_file(cli.path("out.txt")).value() == "out\n");
  CHECK(read_file(cli.path("err.txt")).value() == "err\n");
  const auto tasks = cli.tasks("./b");
  CHECK(tasks[0]["name"] == "first");
  CHECK(tasks[3]["exit_class"] == "timed_out");
  CHECK(tasks[4]["state"] == "done");
  CHECK(tasks[5]["state"] == "abandoned");
  CHECK(tasks[5]["exit_class"].is_null());
  CHECK(tasks[5]["text"].get<std::string>().find("step 3") != std::string::npos);
}

TEST_CASE("option --json prints one object and nothing else") {
  const Cli cli;
  const auto outcome = cli.must(1, {"run", "--json", "--batch-dir", "b", "-"}, "true\nfalse\n/no/such/command\n");
  CHECK(std::count(outcome.out.begin(), outcome.out.end(), '\n') == 1);
  const auto json = nlohmann::json::parse(outcome.out);
  CHECK(json["batch"] == cli.path("b"));
  CHECK(json["tasks"] == 3);
  CHECK(json["done"] == 1);
  CHECK(json["failed"] == 2);
  CHECK(json["abandoned"] == 0);
  CHECK(json["unfinished"] == 0);
  CHECK(json["by_class"]["done"] == 1);
  CHECK(json["by_class"]["error"] == 1);
  CHECK(json["by_class"]["launch_failed"] == 1);
  CHECK(json["by_class"]["lost"] == 0);
  CHECK(json["by_class"].size() == 11);
  CHECK(json["wall_seconds"].get<double>() > 0);
  CHECK(outcome.err.find("3 tasks: 1 done, 2 failed") != std::string::npos);
  const auto quiet = cli.must(0, {"run", "--json", "--quiet", "--", "true"});
  CHECK(quiet.err.empty());
}

TEST_CASE("batches lie below XDG_STATE_HOME unless it is said where") {
  const Cli cli;
  const auto outcome = cli.must(0, {"run", "--name", "my batch", "--", "echo", "hi"});
  const std::string batch = batch_of(outcome);
  CHECK(batch.starts_with(cli.state_home() + "/allot/batches/"));
  const std::string id = batch.substr(batch.rfind('/') + 1);
  CHECK(outcome.out.find("allot output " + id) != std::string::npos);
  CHECK(cli.output(id, "0") == "hi\n");
  CHECK(cli.output(id.substr(0, 8), "0") == "hi\n");
  CHECK(cli.status(id)["name"] == "my batch");
  struct stat status {};
  REQUIRE(::stat(batch.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0700);
}

TEST_CASE("the summary names the slowest, the biggest and the first failures with the end of their stderr") {
  const Cli cli;
  const auto outcome = cli.must(
      1, {"run", "--batch-dir", "b", "-"},
      "sleep 0.3\ntrue\nfor i in 1 2 3 4 5 6 7; do echo line $i >&2; done; printf 'red \\033[31m' >&2; exit 9\n");
  CHECK(outcome.out.find("slowest:") != std::string::npos);
  CHECK(outcome.out.find("step 0: sleep 0.3") != std::string::npos);
  CHECK(outcome.out.find("biggest:") != std::string::npos);
  CHECK(outcome.out.find("    | line 7\n    | red \\x1b[31m\n") !=
        std::string::npos);  // no control reaches the terminal
  CHECK(outcome.out.find("line 2") == std::string::npos);
  CHECK(outcome.out.find("next:  allot status " + cli.path("b") + " --tasks") != std::string::npos);
  CHECK(outcome.err.find("allot: step 2: error (9)") != std::string::npos);
}

TEST_CASE("option -j says how many run at once and -c which cluster") {
  const Cli cli;
  // Each waits for the other: only two at once can end.
  cli.make_gate("a");
  cli.make_gate("b");
  cli.must(0, {"run", "-j", "2", "-"}, "echo x > a; cat b\ncat a; echo y > b\n");
  cli.must(0, {"run", "-c", "sequential", "--batch-dir", "s", "-"},
           "echo 1 >> order\necho 2 >> order\necho 3 >> order\n");
  CHECK(read_file(cli.path("order")).value() == "1\n2\n3\n");
  CHECK(cli.status("./s")["cluster"] == "sequential");
  const auto refused = cli.must(2, {"run", "-c", "sequential", "-j", "2", "--", "true"});
  CHECK(refused.err.find("has no slots that -j could set") != std::string::npos);
}

TEST_CASE("default resources hold for tasks that state none") {
  const Cli cli;
  cli.must(1, {"run", "--batch-dir", "b", "--timeout", "200ms", "-"},
           "{\"command\": \"sleep 100\"}\n{\"command\": \"sleep 0.5\", \"timeout\": 50}\n");
  const auto tasks = cli.tasks("./b");
  CHECK(tasks[0]["exit_class"] == "timed_out");
  CHECK(tasks[1]["exit_class"] == "done");
  const auto outcome = cli.must(1, {"run", "--cores", "4000", "--", "true"});
  CHECK(outcome.out.find("queueing_error") != std::string::npos);
}

TEST_CASE("many lines go through, in bounded time") {
  const Cli cli;
  std::string lines;
  for (int i = 0; i < 3000; ++i) lines += "echo " + std::to_string(i) + "\n";
  const auto outcome = cli.must(0, {"run", "--json", "--batch-dir", "b", "-"}, lines);
  CHECK(nlohmann::json::parse(outcome.out)["done"] == 3000);
  std::string expected;
  for (int i = 0; i < 3000; ++i) expected += std::to_string(i) + "\n";
  CHECK(cli.must(0, {"output", "./b"}).out == expected);
}

TEST_CASE("a line longer than the kernel takes is launch_failed with the reason") {
  const Cli cli;
  const std::string long_line = "true " + std::string(10'000'000, 'x');
  const auto outcome = cli.must(1, {"run", "--batch-dir", "b", "-"}, long_line + "\necho after\n");
  CHECK(outcome.out.size() < 5000);
  const auto tasks = cli.tasks("./b");
  CHECK(tasks[0]["exit_class"] == "launch_failed");
  CHECK(tasks[0]["exit_code"].is_null());
  CHECK(tasks[0]["text"].get<std::string>().find("E2BIG") != std::string::npos);
  CHECK(tasks[0]["command"].get<std::string>().size() == long_line.size());
  CHECK(cli.output("./b", "1") == "after\n");
}

TEST_CASE("what cannot be started is told as such") {
  const Cli cli;
  cli.write("not_executable", "#!/bin/sh\n");
  cli.must(1, {"run", "--batch-dir", "b", "--jsonl", "-"},
           "{\"command\": [\"no-such-command-at-all\"]}\n{\"command\": [\"./not_executable\"]}\n"
           "{\"command\": \"true\", \"cwd\": \"/no/such/dir\"}\n{\"command\": \"true\", \"stdin\": \"/no/such/file\"}\n"
           "{\"command\": \"true\", \"stdout\": \"/no/such/dir/out\"}\n");
  const auto tasks = cli.tasks("./b");
  const char* const reasons[] = {"no such program in PATH", "EACCES", "/no/such/dir", "/no/such/file",
                                 "/no/such/dir/out"};
  for (std::size_t step = 0; step < 5; ++step) {
    INFO(tasks[step].dump());
    CHECK(tasks[step]["exit_class"] == "launch_failed");
    CHECK(tasks[step]["exit_code"].is_null());
    CHECK(tasks[step]["text"].get<std::string>().find(reasons[step]) != std::string::npos);
    CHECK(tasks[step]["evidence"].dump().find(reasons[step]) != std::string::npos);
  }
}

TEST_CASE("a closed stdin, stdout or stderr is survived") {
  const Cli cli;
  ProgramOptions options = cli.options({});
  const std::string allot = options.argv[0];
  options.argv = {"sh", "-c", allot + " run --json -- echo a 0<&- 2>&-; " + allot + " run -- echo b >&- 2>&-; echo $?"};
  const auto outcome = run_program(options);
  CHECK(outcome.exit_status == 0);
  CHECK(outcome.out.find("\"done\":1") != std::string::npos);
}

TEST_CASE("standard output that cannot be written is told, and the tasks run all the same") {
  const Cli cli;
  ProgramOptions options = cli.options({});
  options.argv = {"sh", "-c", options.argv[0] + " run --batch-dir b -- touch ran > /dev/full"};
  const auto outcome = run_program(options);
  CHECK(outcome.exit_status == 3);
  CHECK(outcome.err.find("standard output: ") != std::string::npos);
  CHECK(cli.status("./b")["states"]["done"] == 1);
}

TEST_CASE("a closed standard output is told, whatever was to be written to it") {
  const Cli cli;
  cli.must(0, {"run", "--batch-dir", "b", "--", "echo", "a"});
  const std::string allot = cli.options({}).argv[0];
  for (const char* command : {"output ./b", "status ./b", "status ./b --tasks", "run --json -- true", "clusters"}) {
    INFO(command);
    ProgramOptions options = cli.options({});
    options.argv = {"sh", "-c", allot + " " + command + " >&-"};
    const auto outcome = run_program(options);
    CHECK(outcome.exit_status == 3);
    CHECK(outcome.err.find("standard output: Bad file descriptor (EBADF)") != std::string::npos);
  }
}

TEST_CASE("output that could not be kept is told, also to who wants to hear nothing") {
  const Cli cli;
  const char* script = "rmdir \"$ALLOT_BATCH_DIR/output\"; echo lost";
  const auto quiet = cli.must(0, {"run", "-q", "--batch-dir", "b", "--", "sh", "-c", script});
  CHECK(quiet.out.empty());
  CHECK(quiet.err.find("the output of 1 task could not be kept whole") != std::string::npos);
  CHECK(cli.status("./b")["incomplete_outputs"] == 1);
  const auto text = cli.must(0, {"status", "./b"}).out;
  CHECK(text.find("1 task: 1 done\n") != std::string::npos);
  CHECK(text.find("the output of 1 task could not be kept whole") != std::string::npos);
  CHECK(cli.must(0, {"status", "./b", "--tasks"}).out.find("[output incomplete] sh -c") != std::string::npos);
  const auto json = cli.must(0, {"run", "--json", "--batch-dir", "c", "--", "sh", "-c", script});
  CHECK(nlohmann::json::parse(json.out)["incomplete_outputs"] == 1);
  // What was lost before is not forgotten by the next driver.
  CHECK(nlohmann::json::parse(cli.must(0, {"resume", "--json", "./c"}).out)["incomplete_outputs"] == 1);
}

TEST_CASE("a batch that is removed while it runs is not told to be done") {
  const Cli cli;
  const auto outcome =
      cli.run({"run", "-q", "--batch-dir", "b", "--", "sh", "-c", "rm -rf \"$ALLOT_BATCH_DIR/records\""});
  CHECK(outcome.exit_status == 1);
  CHECK(outcome.err.find("was removed while tasks ran") != std::string::npos);
}

TEST_CASE("tasks run again by the rules of the cluster, the batch and the task") {
  const Cli cli;
  cli.write("c.toml", "plugin = \"multiprocess\"\n[retry]\nerror = 1\n[exit_codes]\n9 = \"fatal\"\n");
  const std::string tasks =
      "{\"command\": \"echo $ALLOT_ATTEMPT; exit 1\"}\n"
      "{\"command\": \"echo $ALLOT_ATTEMPT; exit 1\", \"retry\": {\"error\": \"3:10ms:2\"}}\n"
      "{\"command\": \"echo $ALLOT_ATTEMPT; exit 9\"}\n"
      "{\"command\": \"echo $ALLOT_ATTEMPT; exit 4\", \"exit_codes\": {\"4\": \"success\"}}\n"
      "{\"command\": \"echo $ALLOT_ATTEMPT; exit 5\"}\n"
      "{\"command\": \"echo $ALLOT_ATTEMPT; test $ALLOT_ATTEMPT = 2\"}\n"
      "{\"command\": \"echo $ALLOT_ATTEMPT; test $ALLOT_ATTEMPT = 3 || kill -STOP $$\", \"timeout\": \"400ms\"}\n";
  const auto outcome = cli.must(
      1, {"run", "-c", "./c.toml", "--retry", "timed_out=2", "--retry", "5=success", "--batch-dir", "b", "--json", "-"},
      tasks);
  CHECK(nlohmann::json::parse(outcome.out)["done"] == 4);
  const char* const runs[] = {"2\n", "4\n", "1\n", "1\n", "1\n", "2\n", "3\n"};
  const auto details = cli.tasks("./b");
  for (std::size_t step = 0; step < details.size(); ++step) {
    INFO(step << " " << details[step].dump());
    CHECK(cli.output("./b", std::to_string(step)) == runs[step]);
  }
  CHECK(details[3]["exit_class"] == "done");
  CHECK(details[3]["exit_code"] == 4);
  CHECK(details[6]["evidence"].dump().find("runtime 400ms → 600ms") != std::string::npos);
  cli.must(0, {"run", "--batch-dir", "file", "--retry", "error=1", "-"}, "true\n");  // the file is no second rule
  CHECK(cli.must(2, {"run", "--retry", "", "--", "true"}).err.find("--retry: the rule is empty") != std::string::npos);
  CHECK(cli.must(2, {"run", "--retry", "eror=1", "--", "true"}).err.find("no such exit class") != std::string::npos);
}

TEST_CASE("what ran out of memory runs again with the memory that it was seen to use") {
  const Cli cli;
  // 40 MiB, where 16 are allowed at first. Where it is ended at the first byte too much: 16, 24, 36, 54.
  const auto outcome = cli.must(0, {"run", "--memory", "16M", "--retry", "out_of_memory=3", "--batch-dir", "b", "--",
                                    "sh", "-c", "head -c 40000000 /dev/zero | tail -c 40000000 | wc -c"});
  const auto task = cli.tasks("./b").at(0);
  CHECK(task["exit_class"] == "done");
  CHECK(task["attempt"] >= 2);
  CHECK(task["evidence"].dump().find("memory 16.0 MiB →") != std::string::npos);
}

}  // namespace allot::test
