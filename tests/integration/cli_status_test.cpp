// SPDX-License-Identifier: MIT
// `allot status`, `allot output`, `allot clusters`.
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <regex>
#include <set>

#include "tests/integration/cli_fixture.h"
#include "tests/support/catch.h"

namespace allot::test {

TEST_CASE("status --tasks --json has the members that others build on") {
  const Cli cli;
  cli.must(1, {"run", "--batch-dir", "b", "--lines", "-"}, std::string("echo hi\nkill -SEGV $$\nprintf '") + "\xff'\n");
  const auto tasks = cli.tasks("./b");
  REQUIRE(tasks.size() == 3);
  for (const auto& task : tasks) {
    for (const char* member :
         {"step", "name", "command", "state", "exit_class", "exit_code", "signal", "attempt", "distributor_id", "node",
          "started", "ended", "wall_seconds", "user_seconds", "system_seconds", "max_rss_bytes", "evidence"}) {
      INFO(member);
      CHECK(task.contains(member));
    }
    CHECK(task["attempt"] == 1);
    CHECK(task["evidence"].is_array());
    CHECK(task["name"].is_null());
    static const std::regex time("\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{6}Z");
    CHECK(std::regex_match(task["started"].get<std::string>(), time));
    CHECK(std::regex_match(task["ended"].get<std::string>(), time));
    CHECK(task["started"].get<std::string>() <= task["ended"].get<std::string>());
    CHECK(task["wall_seconds"].get<double>() > 0);
    CHECK(task["max_rss_bytes"].get<std::uint64_t>() > 0);
  }
  CHECK(tasks[0]["exit_class"] == "done");
  CHECK(tasks[0]["exit_code"] == 0);
  CHECK(tasks[0]["signal"].is_null());
  CHECK_FALSE(tasks[0].contains("command_base64"));
  CHECK(tasks[1]["exit_class"] == "signaled");
  CHECK(tasks[1]["signal"] == 11);
  CHECK(tasks[1]["exit_code"].is_null());
  // Bytes that are no UTF-8 are replaced, and kept beside.
  CHECK(tasks[2]["command"] == "printf '\xef\xbf\xbd'");
  CHECK(tasks[2]["command_base64"] == "cHJpbnRmICf/Jw==");
}

TEST_CASE("what is not known is null") {
  const Cli cli;
  cli.must(1, {"run", "--batch-dir", "b", "-"},
           "{\"command\": [\"/no/such/program\"]}\n{\"command\": \"true\", \"after\": 0}\n");
  const auto tasks = cli.tasks("./b");
  CHECK(tasks[0]["exit_code"].is_null());
  CHECK(tasks[0]["user_seconds"].is_null());
  for (const char* member : {"exit_class", "distributor_id", "node", "started", "wall_seconds", "max_rss_bytes"}) {
    INFO(member);
    CHECK(tasks[1][member].is_null());
  }
  CHECK(tasks[1]["attempt"] == 0);
}

TEST_CASE("status shows counts, states and failures") {
  const Cli cli;
  cli.must(1, {"run", "--batch-dir", "b", "-"}, "true\necho why it failed >&2; exit 4\ntrue\n");
  const auto text = cli.must(0, {"status", "./b"}).out;
  CHECK(text.find("3 tasks: 2 done 1 failed") != std::string::npos);
  CHECK(text.find("its driver has left in order") != std::string::npos);
  CHECK(text.find("step 1: error (4): ") != std::string::npos);
  CHECK(text.find("    | why it failed") != std::string::npos);
  const auto json = cli.status("./b");
  CHECK(json["batch"] == cli.path("b"));
  CHECK(json["tasks"] == 3);
  CHECK(json["states"]["done"] == 2);
  CHECK(json["states"]["failed"] == 1);
  CHECK(json["states"]["running"] == 0);
  CHECK(json["by_class"]["error"] == 1);
  CHECK(json["driver"]["state"] == "left");
  CHECK(json["damage"].empty());
  const auto failed = cli.must(0, {"status", "./b", "--tasks", "--state", "failed"}).out;
  CHECK(std::count(failed.begin(), failed.end(), '\n') == 2);
  CHECK(failed.find("error (4)") != std::string::npos);
  const auto all = cli.must(0, {"status", "./b", "--tasks"}).out;
  CHECK(std::count(all.begin(), all.end(), '\n') == 4);
}

TEST_CASE("a batch that is running can be looked at") {
  const Cli cli;
  cli.make_gate("gate");
  ProgramOptions options = cli.options({"run", "-j", "1", "--batch-dir", "b", "-"});
  options.input = "echo begun > begun; cat gate\ntrue\n";
  cli.make_gate("begun");
  RunningProgram run(options);
  CHECK(read_file(cli.path("begun")).value() == "begun\n");
  const auto json = cli.status("./b");
  CHECK(json["states"]["running"] == 1);
  CHECK(json["states"]["queued"] == 1);
  CHECK(json["driver"]["state"] == "alive");
  CHECK(json["driver"]["pid"] == run.pid());
  const auto tasks = cli.tasks("./b");
  CHECK(tasks[0]["state"] == "running");
  CHECK(tasks[0]["ended"].is_null());
  CHECK(tasks[0]["wall_seconds"].is_null());
  CHECK(tasks[1]["state"] == "queued");
  CHECK(cli.must(0, {"status", "./b"}).out.find("running (the first ones):\n  step 0: since ") != std::string::npos);
  const auto missing = cli.must(1, {"output", "./b"});
  CHECK(missing.err.find("step 0: ") != std::string::npos);
  cli.release("gate");
  CHECK(run.finish().exit_status == 0);
}

TEST_CASE("outputs come byte for byte, in the order asked for") {
  const Cli cli;
  std::string all_bytes;
  for (int i = 0; i < 256; ++i) all_bytes += static_cast<char>(i);
  cli.write("bytes", all_bytes);
  cli.must(0, {"run", "--batch-dir", "b", "-"},
           "cat bytes\nprintf 'no newline'\ntrue\nhead -c 3000000 /dev/zero\necho to stderr >&2\n");
  CHECK(cli.output("./b", "0") == all_bytes);
  CHECK(cli.must(0, {"output", "./b"}).out == all_bytes + "no newline" + std::string(3'000'000, '\0'));
  CHECK(cli.must(0, {"output", "./b", "2", "1", "0-1"}).out == "no newline" + all_bytes + "no newline");
  CHECK(cli.must(0, {"output", "./b", "4", "--stderr"}).out == "to stderr\n");
  const auto json = nlohmann::json::parse(cli.must(0, {"output", "./b", "1", "--json"}).out);
  CHECK(json["output"] == "no newline");
  CHECK(json["step"] == 1);
  CHECK(json["stream"] == "stdout");
  CHECK(json["error"].is_null());
  CHECK(nlohmann::json::parse(cli.must(0, {"output", "./b", "0", "--json"}).out).contains("output_base64"));
  CHECK(cli.must(2, {"output", "./b", "5"}).err.find("there is no step 5; the steps are 0 to 4") != std::string::npos);
  CHECK(cli.must(2, {"output", "./b", "two"}).err.find("\"two\" is no step") != std::string::npos);
  CHECK(cli.must(2, {"output", "./b", "3-1"}).err.find("is no step") != std::string::npos);
}

TEST_CASE("output that is missing is said so, and the rest is printed") {
  const Cli cli;
  cli.must(
      0, {"run", "--batch-dir", "b", "-"},
      "{\"command\": \"echo a\"}\n{\"command\": \"echo b\", \"stdout\": \"own.txt\"}\n{\"command\": \"echo c\"}\n");
  const auto outcome = cli.must(1, {"output", "./b"});
  CHECK(outcome.out == "a\nc\n");
  CHECK(outcome.err.find("step 1: ") != std::string::npos);
  CHECK(outcome.err.find("own.txt") != std::string::npos);
}

TEST_CASE("of what never started, output says why there is none") {
  const Cli cli;
  cli.must(1, {"run", "--batch-dir", "b", "-"}, "{\"command\": \"false\"}\n{\"command\": \"true\", \"after\": 0}\n");
  const auto outcome = cli.must(1, {"output", "./b"});
  CHECK(outcome.err.find("it never started (step 0, which it waits for, is not done)") != std::string::npos);
}

TEST_CASE("processes that outlived the command and were ended are told") {
  const Cli cli;
  cli.must(0, {"run", "--batch-dir", "b", "-"}, "sleep 1000 & :\ntrue\n");
  const auto tasks = cli.tasks("./b");
  CHECK(tasks[0]["leftover_processes"] == 1);
  CHECK(tasks[0]["evidence"].dump().find("1 process that outlived the command was ended") != std::string::npos);
  CHECK(tasks[1]["leftover_processes"] == 0);
}

TEST_CASE("a batch's path that is no UTF-8 is kept beside") {
  const Cli cli;
  const auto run = nlohmann::json::parse(cli.must(0, {"run", "--json", "--batch-dir", "b\xff", "--", "true"}).out);
  const auto status = cli.status("./b\xff");
  for (const auto& json : {run, status}) {
    CHECK(json["batch"] == cli.path("b\xef\xbf\xbd"));
    CHECK(json["batch_base64"].is_string());
  }
}

TEST_CASE("a reader that goes away early is no error") {
  const Cli cli;
  cli.must(0, {"run", "--array", "3", "--batch-dir", "b", "--", "head", "-c", "2000000", "/dev/zero"});
  ProgramOptions options = cli.options({});
  options.argv = {"bash", "-c", "set -o pipefail; " + options.argv[0] + " output ./b | head -c 10 | wc -c"};
  const auto outcome = run_program(options);
  CHECK(outcome.exit_status == 0);
  CHECK(outcome.out == "10\n");
  CHECK(outcome.err.empty());
}

TEST_CASE("clusters lists what is there, usable or not") {
  const Cli cli;
  const std::string config = cli.state_home() + "/config/allot/clusters";
  std::filesystem::create_directories(config);
  cli.write("../state/config/allot/clusters/away.toml", "plugin = \"no_such_plugin\"\n");
  cli.write("../state/config/allot/clusters/typo.toml", "plugin = \"multiprocess\"\n[parameters]\nslosts = 3\n");
  const auto text = cli.must(0, {"clusters"}).out;
  CHECK(text.find("multiprocess") != std::string::npos);
  CHECK(text.find("(default)") != std::string::npos);
  const auto json = nlohmann::json::parse(cli.must(0, {"clusters", "--json"}).out);
  std::map<std::string, nlohmann::json> clusters, plugins;
  for (const auto& cluster : json["clusters"]) clusters[cluster["name"]] = cluster;
  for (const auto& plugin : json["plugins"]) plugins[plugin["name"]] = plugin;
  CHECK(clusters.at("multiprocess")["usable"] == true);
  CHECK(clusters.at("multiprocess")["default"] == true);
  CHECK_FALSE(clusters.at("multiprocess")["queues"].empty());
  CHECK(clusters.at("sequential")["usable"] == true);
  CHECK(clusters.at("away")["state"] == "plugin absent");
  CHECK(clusters.at("typo")["state"] == "bad file");
  CHECK(clusters.at("typo")["text"].get<std::string>().find("typo.toml:3") != std::string::npos);
  CHECK(plugins.at("multiprocess")["state"] == "loaded");
  CHECK(plugins.at("no_such_plugin")["state"] == "absent");
}

TEST_CASE("a damaged row of the task table hides that task's command and nothing else") {
  const Cli cli;
  cli.must(1, {"run", "--batch-dir", "b", "-"}, "echo a\nfalse\necho c\n");
  std::string index = read_file(cli.path("b/tasks.index")).value();
  index[8 + 3] = '\x7f';
  cli.write("b/tasks.index", index);
  for (const std::vector<std::string>& options : {std::vector<std::string>{}, {"--tasks"}, {"--tasks", "--json"}}) {
    std::vector<std::string> arguments = {"status", "./b"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    const auto outcome = cli.must(3, arguments);
    INFO(outcome.err);
    CHECK(outcome.err.find("/b/tasks.") != std::string::npos);
    if (options.empty()) CHECK(outcome.out.find("3 tasks: 2 done 1 failed") != std::string::npos);
    if (options.size() != 2) continue;
    std::istringstream lines(outcome.out);
    std::vector<nlohmann::json> tasks;
    for (std::string line; std::getline(lines, line);) tasks.push_back(nlohmann::json::parse(line));
    REQUIRE(tasks.size() == 3);
    CHECK(tasks[1]["command"].is_null());
    CHECK(tasks[1]["exit_code"] == 1);
    CHECK(tasks[2]["command"] == "echo c");
  }
}

TEST_CASE("FIFOs and devices where files of a batch should be are damage, not a wait") {
  const Cli cli;
  cli.must(0, {"run", "--batch-dir", "b", "--", "echo", "x"});
  const char* const name =
      GENERATE("batch.json", "epochs/1", "tasks.index", "tasks.data", "environment", "records/zz-9");
  const std::string path = cli.path("b/" + std::string(name));
  std::filesystem::remove(path);
  REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
  for (const char* verb : {"status", "output", "resume"}) {
    const auto outcome = cli.run({verb, "./b"});
    INFO(name << " " << verb << "\n" << outcome.out << outcome.err);
    if (std::string(verb) != "status" || std::string(name) == "environment") continue;  // that it comes back is enough
    const std::string told = outcome.out + outcome.err;
    CHECK((told.find("no regular file") != std::string::npos || told.find("damaged") != std::string::npos));
  }
}

}  // namespace allot::test
