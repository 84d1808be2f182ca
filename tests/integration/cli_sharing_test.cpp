// SPDX-License-Identifier: MIT
// Many batches in one background driver: what they share, and what may be removed meanwhile.
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <sstream>

#include "tests/integration/background_cli.h"
#include "tests/support/catch.h"

namespace allot::test {

namespace {

using Catch::Matchers::ContainsSubstring;
namespace fs = std::filesystem;

std::vector<std::string> lines_of(const std::string& path) {
  std::istringstream in(read_file(path).value());
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

std::string repeated(const std::string& line, int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += line + "\n";
  return text;
}

// Until the driver has the batch and answers for it; each look waits for a program.
std::string explained(const Cli& cli, const std::string& id) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (cli.status(id)["driver"]["state"] != "alive") {
    if (std::chrono::steady_clock::now() > until) FAIL("batch " << id << " is not driven");
  }
  return cli.must(0, {"explain", id}).out;
}

// Until the driver has written it into its log; each look waits for a program.
void await_log(const BackgroundCli& cli, const std::string& text) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (cli.log().find(text) == std::string::npos) {
    if (std::chrono::steady_clock::now() > until) FAIL("the log says nothing of it:\n" << cli.log());
    cli.must(0, {"list"});
  }
}

// How many of the tasks ran at once, by what the ledgers say; ends come before starts of the same microsecond.
int most_at_once(const Cli& cli, const std::vector<std::string>& ids) {
  std::map<std::pair<std::string, int>, int> changes;
  for (const auto& id : ids) {
    for (const auto& task : cli.tasks(id)) {
      REQUIRE(task["state"] == "done");
      ++changes[{task["started"].get<std::string>(), 1}];
      --changes[{task["ended"].get<std::string>(), 0}];
    }
  }
  int now = 0, most = 0;
  for (const auto& [when, change] : changes) most = std::max(most, now += change);
  return most;
}

// `allot submit` and the driver that it starts with so many descriptors.
std::string submit_with_descriptors(const Cli& cli, const std::string& count, std::vector<std::string> words) {
  ProgramOptions options = cli.options({"submit", "--parsable", "--driver-idle", "300ms"});
  options.argv.insert(options.argv.begin(), {"prlimit", "--nofile=" + count + ":" + count, "--"});
  options.argv.insert(options.argv.end(), words.begin(), words.end());
  const auto outcome = run_program(options);
  INFO(outcome.err);
  REQUIRE(outcome.exit_status == 0);
  return outcome.out.substr(0, outcome.out.size() - 1);
}

}  // namespace

TEST_CASE("of all batches of a cluster no more than its max_running tasks run at once and none of them starves") {
  BackgroundCli cli;
  cli.write("few.toml", "plugin = \"multiprocess\"\nmax_running = 3\n[parameters]\nslots = 8\n");
  const auto submit = [&](const std::string& tasks) { return cli.submit({"-c", "./few.toml", "--lines", "-"}, tasks); };
  const std::string mark = "echo + >> marks; true; echo - >> marks";
  cli.make_gate("ready");
  cli.make_gate("gate");
  const std::string first = submit("echo + >> marks; echo x > ready; cat gate; echo - >> marks\n" + repeated(mark, 5));
  CHECK(read_file(cli.path("ready")).value() == "x\n");
  std::vector<std::string> ids;
  for (int batch = 0; batch < 6; ++batch) ids.push_back(submit(repeated(mark, 10)));
  // All of them end though the first one still holds a part of what there is.
  for (const auto& id : ids) cli.must(0, {"wait", id});
  CHECK(cli.tasks(first).at(0)["state"] == "running");
  cli.release("gate");
  cli.must(0, {"wait", first});
  ids.push_back(first);
  int now = 0, most = 0;
  for (const auto& line : lines_of(cli.path("marks"))) most = std::max(most, now += line == "+" ? 1 : -1);
  CHECK(now == 0);
  CHECK(most <= 3);
  CHECK(most >= 2);  // one that is held, and one beside it
  CHECK(most_at_once(cli, ids) <= 3);
}

TEST_CASE("where one task may run at a time batches take turns however long the first one is") {
  BackgroundCli cli;
  cli.write("one.toml", "plugin = \"multiprocess\"\nmax_running = 1\n[parameters]\nslots = 2\n");
  const auto submit = [&](const std::string& tasks) { return cli.submit({"-c", "./one.toml", "--lines", "-"}, tasks); };
  cli.make_gate("ready");
  cli.make_gate("gate");
  const std::string lengthy = submit("echo x > ready; cat gate\n" + repeated("echo a >> order", 30));
  CHECK(read_file(cli.path("ready")).value() == "x\n");
  const std::string second = submit(repeated("echo b >> order", 3));
  const std::string third = submit(repeated("echo c >> order", 3));
  CHECK_THAT(explained(cli, second), ContainsSubstring("max_running of the cluster is reached"));
  CHECK_THAT(explained(cli, third), ContainsSubstring("max_running of the cluster is reached"));
  cli.release("gate");
  for (const auto& id : {second, third, lengthy}) cli.must(0, {"wait", id});
  const auto order = lines_of(cli.path("order"));
  REQUIRE(order.size() == 36);
  const auto last_other = std::find_if(order.rbegin(), order.rend(), [](const auto& line) { return line != "a"; });
  INFO(read_file(cli.path("order")).value());
  // Three rounds of three, and what was on its way when they came.
  CHECK(std::distance(last_other, order.rend()) <= 12);
}

TEST_CASE("what the background driver has or is about to have is not removed and it is said who has it") {
  BackgroundCli cli;
  const std::vector<std::string> later = {"--begin", "1h", "--", "true"};
  std::vector<std::string> ids;
  // 16 descriptors for each batch: four are driven, the fifth waits for its turn.
  for (int batch = 0; batch < 5; ++batch) ids.push_back(submit_with_descriptors(cli, "64", later));
  const auto pid = cli.driver();
  REQUIRE(pid);
  for (int batch = 0; batch < 4; ++batch) CHECK_THAT(explained(cli, ids[batch]), ContainsSubstring("is to begin at"));
  const std::string home = cli.state_home() + "/allot/batches/";
  const std::string driven = "is driven by process " + std::to_string(*pid);
  const std::string awaited =
      "is about to be driven by the background driver (process " + std::to_string(*pid) + "); allot cancel ends it";
  for (const auto& more : {std::vector<std::string>{}, std::vector<std::string>{"--dry-run"}}) {
    std::vector<std::string> words = {"remove", ids[0], ids[4]};
    words.insert(words.end(), more.begin(), more.end());
    const auto refused = cli.must(1, words);
    CHECK(refused.out.empty());
    CHECK_THAT(refused.err, ContainsSubstring(ids[0] + ": " + driven) && ContainsSubstring(ids[4] + ": " + awaited));
  }
  cli.must(0, {"remove", "--older-than", "0s"});
  for (const auto& id : ids) CHECK(fs::exists(home + id + "/batch.json"));
  CHECK(cli.queue().size() == 5);

  // The next driver has them, too, also those that it has not come to yet.
  REQUIRE(::kill(*pid, SIGKILL) == 0);
  CHECK(BackgroundCli::wait_for_end(*pid));
  ids.push_back(submit_with_descriptors(cli, "48", later));
  const auto next = cli.driver();
  REQUIRE(next);
  for (int batch = 0; batch < 3; ++batch) CHECK_THAT(explained(cli, ids[batch]), ContainsSubstring("is to begin at"));
  for (int batch = 3; batch < 6; ++batch) {
    CHECK_THAT(cli.must(1, {"remove", ids[batch]}).err,
               ContainsSubstring("is about to be driven by the background driver (process " + std::to_string(*next)));
  }

  // Without one nobody uses them, and what is removed waits for nobody.
  REQUIRE(::kill(*next, SIGKILL) == 0);
  CHECK(BackgroundCli::wait_for_end(*next));
  std::vector<std::string> words = {"remove"};
  words.insert(words.end(), ids.begin(), ids.end());
  cli.must(0, words);
  CHECK(fs::is_empty(home));
  CHECK(cli.queue().empty());
}

TEST_CASE("a batch that the background driver runs is removed once that has left it") {
  BackgroundCli cli;
  cli.make_gate("ready");
  cli.make_gate("gate");
  const std::string id = cli.submit({"--lines", "-"}, "echo x > ready; cat gate\n");
  CHECK(read_file(cli.path("ready")).value() == "x\n");
  const auto pid = cli.driver();
  REQUIRE(pid);
  CHECK_THAT(cli.must(1, {"remove", id}).err, ContainsSubstring("is driven by process " + std::to_string(*pid)));
  cli.release("gate");
  cli.must(0, {"wait", id});
  cli.must(0, {"remove", id});
  CHECK_FALSE(fs::exists(cli.state_home() + "/allot/batches/" + id));
}

TEST_CASE("a batch that is removed while it runs stops no other one, and its path may be used again") {
  for (const std::string plugin : {"multiprocess", "sequential"}) {
    CAPTURE(plugin);
    BackgroundCli cli;
    cli.write("c.toml", "plugin = \"" + plugin + "\"\n");
    for (const char* gate : {"ready", "end", "gate"}) cli.make_gate(gate);
    const auto submit = [&cli](std::vector<std::string> words, const std::string& input = {}) {
      words.insert(words.begin(), {"--cluster", "./c.toml"});
      cli.submit(words, input);
    };
    submit({"--batch-dir", "removed", "--lines", "-"}, "echo x > ready; cat end\ntrue\n");
    CHECK(read_file(cli.path("ready")).value() == "x\n");
    submit({"--batch-dir", "stays", "--lines", "-"}, "cat gate; echo 0 >> effects\necho 1 >> effects\n");
    const auto pid = cli.driver();
    REQUIRE(pid);
    fs::remove_all(cli.path("removed"));
    cli.release("end");
    await_log(cli, "was removed while tasks ran");
    // Another one at its path is driven beside the one that stays.
    submit({"--batch-dir", "removed", "--", "true"});
    cli.release("gate");
    cli.must(0, {"wait", "./removed"});
    cli.must(0, {"wait", "./stays"});
    CHECK(lines_of(cli.path("effects")).size() == 2);
    for (const char* batch : {"./removed", "./stays"}) CHECK(cli.status(batch)["driver"]["pid"] == *pid);
    CHECK(BackgroundCli::wait_for_end(*pid));
    CHECK(cli.queue().empty());
  }
}

TEST_CASE("a batch whose worker nodes cannot go on, because it removes itself, stops no other one") {
  BackgroundCli cli;
  cli.make_gate("ready");
  cli.make_gate("gate");
  cli.submit({"--batch-dir", "stays", "--lines", "-"}, "echo x > ready; cat gate\ntrue\n");
  CHECK(read_file(cli.path("ready")).value() == "x\n");
  const auto pid = cli.driver();
  REQUIRE(pid);
  cli.submit({"--batch-dir", "removed", "--array", "50", "--", "sh", "-c", "rm -rf \"$ALLOT_BATCH_DIR\""});
  await_log(cli, "was removed while tasks ran");
  for (int i = 0; i < 3; ++i) {
    const std::string fresh = cli.submit({"--", "true"});
    cli.must(0, {"wait", fresh});
    CHECK(cli.status(fresh)["driver"]["pid"] == *pid);
  }
  cli.release("gate");
  cli.must(0, {"wait", "./stays"});
  CHECK(cli.status("./stays")["driver"]["pid"] == *pid);
}

TEST_CASE("a path is used by one batch after the other while one driver has them all") {
  BackgroundCli cli;
  cli.make_gate("ready");
  cli.make_gate("gate");
  const std::string keeps = cli.submit({"--lines", "-"}, "echo x > ready; cat gate\n");
  CHECK(read_file(cli.path("ready")).value() == "x\n");
  for (int i = 0; i < 8; ++i) {
    CAPTURE(i);
    cli.submit({"--batch-dir", "again", "--", "true"});
    cli.must(0, {"wait", "./again"});
    fs::remove_all(cli.path("again"));
    cli.submit({"--batch-dir", "again", "--", "sleep", "60"});
    cli.must(0, {"cancel", "./again"});
    fs::remove_all(cli.path("again"));
  }
  cli.release("gate");
  cli.must(0, {"wait", keeps});
}

TEST_CASE("an entry of the queue whose batch was removed is not taken for the batch at its path") {
  BackgroundCli cli;
  cli.must(0, {"run", "-q", "--batch-dir", "b", "--", "true"});
  const std::string removed = cli.status("./b")["id"];
  fs::remove_all(cli.path("b"));
  cli.make_gate("ready");
  cli.make_gate("gate");
  cli.put_into_queue(removed, cli.path("b"));
  cli.submit({"--batch-dir", "b", "--lines", "-"}, "echo x > ready; cat gate\n");
  CHECK(read_file(cli.path("ready")).value() == "x\n");
  await_log(cli, removed + ": " + cli.path("b") + ": the batch was removed, and another one is there");
  cli.release("gate");
  cli.must(0, {"wait", "./b"});
  CHECK(cli.tasks("./b").at(0)["attempt"] == 1);
}

}  // namespace allot::test
