// SPDX-License-Identifier: MIT
// `allot list`.
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/integration/cli_fixture.h"
#include "tests/support/catch.h"

namespace allot::test {

namespace {

std::vector<nlohmann::json> listed(const Cli& cli, std::vector<std::string> more = {}) {
  more.insert(more.begin(), {"list", "--json"});
  std::istringstream lines(cli.must(0, more).out);
  std::vector<nlohmann::json> batches;
  for (std::string line; std::getline(lines, line);) batches.push_back(nlohmann::json::parse(line));
  return batches;
}

std::string home(const Cli& cli) {
  return cli.state_home() + "/allot/batches";
}

}  // namespace

TEST_CASE("list: nothing where there are no batches") {
  const Cli cli;
  const auto outcome = cli.must(0, {"list"});
  CHECK(std::count(outcome.out.begin(), outcome.out.end(), '\n') == 1);
  CHECK(outcome.err.find("there are no batches in " + home(cli)) != std::string::npos);
  CHECK(cli.must(0, {"list", "--json"}).out.empty());
}

TEST_CASE("list: what ran and what was cut short, newest first") {
  const Cli cli;
  cli.must(0, {"run", "--name", "first one", "--array", "3", "--", "true"});
  cli.must(1, {"run", "-c", "sequential", "-"},
           "{\"command\": \"exit 3\"}\n{\"command\": \"true\", \"after\": 0}\n{\"command\": \"true\"}\n");
  cli.make_gate("ready");
  cli.make_gate("gate");
  ProgramOptions options = cli.options({"run", "-j", "1", "-"});
  options.input = "echo x > ready; cat gate\ntrue\n";
  {
    RunningProgram run(options);
    CHECK(read_file(cli.path("ready")).value() == "x\n");
    const auto alive = listed(cli, {"--state", "alive"});
    REQUIRE(alive.size() == 1);
    CHECK(alive[0]["driver"]["pid"] == run.pid());
    CHECK(alive[0]["unfinished"] == 2);
    run.send_signal(SIGKILL);
    CHECK(run.finish().signal == SIGKILL);
  }
  const auto batches = listed(cli);
  REQUIRE(batches.size() == 3);
  CHECK(batches[0]["driver"]["state"] == "gone");
  CHECK(batches[0]["unfinished"] == 2);
  CHECK(batches[1]["cluster"] == "sequential");
  CHECK(batches[1]["driver"]["state"] == "left");
  CHECK(batches[1]["tasks"] == 3);
  CHECK(batches[1]["done"] == 1);
  CHECK(batches[1]["failed"] == 1);
  CHECK(batches[1]["abandoned"] == 1);
  CHECK(batches[1]["unfinished"] == 0);
  CHECK(batches[2]["name"] == "first one");
  CHECK(batches[2]["done"] == 3);
  CHECK(batches[2]["error"].is_null());
  CHECK(batches[2]["batch"] == home(cli) + "/" + batches[2]["id"].get<std::string>());
  const auto text = cli.must(0, {"list"}).out;
  CHECK(std::count(text.begin(), text.end(), '\n') == 4);
  CHECK(text.find("first one") != std::string::npos);
  CHECK(text.find(batches[0]["id"].get<std::string>()) < text.find(batches[1]["id"].get<std::string>()));
  CHECK(listed(cli, {"--state", "gone", "--state", "alive"}).size() == 1);
  cli.must(2, {"list", "--state", "running"});
  cli.release("gate");
}

TEST_CASE("list: a damaged batch has its reason and stops nothing") {
  const Cli cli;
  const std::string path = batch_of(cli.must(0, {"run", "--", "true"}));
  const std::string torn = batch_of(cli.must(0, {"run", "--array", "4", "--", "true"}));
  cli.must(0, {"run", "--", "true"});
  std::ofstream(path + "/batch.json", std::ios::trunc) << "{";
  std::filesystem::resize_file(torn + "/tasks.index", 8);
  std::filesystem::create_directory(home(cli) + "/no batch");
  std::ofstream(home(cli) + "/a file") << "x";
  const auto batches = listed(cli);
  REQUIRE(batches.size() == 3);
  CHECK(batches[0]["error"].is_null());
  CHECK(batches[1]["error"].get<std::string>().find("3 of the batch's 4 tasks are missing") != std::string::npos);
  CHECK(batches[2]["error"].get<std::string>().find("batch.json") != std::string::npos);
  CHECK(batches[2]["done"].is_null());
  CHECK(batches[2]["driver"].is_null());
  const auto text = cli.must(0, {"list"}).out;
  CHECK(text.find(path.substr(path.rfind('/') + 1) + "  " + path + "/batch.json") != std::string::npos);
}

TEST_CASE("list: the newest 20 and how many more there are") {
  const Cli cli;
  const std::string path = batch_of(cli.must(0, {"run", "--", "true"}));
  const std::string id = path.substr(path.rfind('/') + 1);
  for (char c = 'a'; c <= 'v'; ++c) {
    if (c == 'i' || c == 'l' || c == 'o' || c == 'u') continue;  // not in ids
    std::string other = "000000000000";
    other[0] = c;  // in time far from now, and from each other
    std::filesystem::copy(path, home(cli) + "/" + other, std::filesystem::copy_options::recursive);
  }
  for (const char* old : {"000000000001", "000000000002", "000000000003"}) {
    std::filesystem::copy(path, home(cli) + "/" + old, std::filesystem::copy_options::recursive);
  }
  const auto all = listed(cli, {"--all"});
  REQUIRE(all.size() == 22);
  CHECK(all[0]["batch"] == home(cli) + "/v00000000000");
  CHECK(std::is_sorted(all.rbegin(), all.rend(), [](const auto& a, const auto& b) { return a["batch"] < b["batch"]; }));
  const auto outcome = cli.must(0, {"list"});
  CHECK(std::count(outcome.out.begin(), outcome.out.end(), '\n') == 21);
  CHECK(outcome.err == "allot: 2 more batches; allot list --all lists all\n");
  CHECK(outcome.out.find("000000000003") != std::string::npos);
  CHECK(outcome.out.find("000000000002") == std::string::npos);
}

}  // namespace allot::test
