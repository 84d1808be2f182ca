// SPDX-License-Identifier: MIT
// ClusterWorkerNode: what a task sees of itself, and the truth about wait statuses.
#include <csignal>
#include <cstdlib>
#include <map>
#include <sstream>

#include "tests/contract/session.h"
#include "tests/support/catch.h"

namespace allot::contract {

namespace {

std::unique_ptr<ClusterWorkerNode> make_worker_node() {
  auto node = must(harness().plugin->create_worker_node());
  REQUIRE(node != nullptr);
  return node;
}

std::map<std::string, std::string> parse(const std::string& output) {
  std::map<std::string, std::string> values;
  std::istringstream stream(output);
  for (std::string line; std::getline(stream, line);) {
    const auto equals = line.find('=');
    if (equals != std::string::npos) values[line.substr(0, equals)] = line.substr(equals + 1);
  }
  return values;
}

std::vector<std::string> probe_command(const std::string& log_directory) {
  return {ALLOT_CONTRACT_PROBE, "worker", ALLOT_CONTRACT_PLUGIN_DIR, harness().traits.name, log_directory};
}

int exited(int code) {
  return code << 8;
}
int ended_by(int signal) {
  return signal;
}

}  // namespace

TEST_CASE("a task sees its own id and step through the worker node", "[worker_node]") {
  TempDir logs;
  Batch batch;
  const auto single = batch.add_argv(probe_command(logs.path()));
  TaskSpec element;
  element.argv = probe_command(logs.path());
  const auto array = batch.add(element, 2);
  Session session;
  const auto single_id = session.run(batch.single(single)).at(0);
  const auto array_ids = session.run(batch.array(array, 2));

  const auto seen = parse(batch.output(single));
  INFO(batch.output(single) << batch.error_output(single));
  REQUIRE(seen.count("distributor_id") == 1);
  CHECK(seen.at("distributor_id") == single_id);
  CHECK(seen.at("array_step_id") == "nothing");
  CHECK(seen.at("stdout_log") == logs / ("probe.o" + single_id));
  CHECK(seen.at("stderr_log") == logs / ("probe.e" + single_id));
  CHECK(exists(logs / ("probe.o" + single_id)));
  CHECK(exists(logs / ("probe.e" + single_id)));
  CHECK(seen.at("no_log") == "/dev/null");
  CHECK(seen.at("bad_log").find("error: ") == 0);
  CHECK(seen.at("bad_log").find("/dev/null/nowhere") != std::string::npos);
  for (std::uint64_t step = 0; step < 2; ++step) {
    const auto of_element = parse(batch.output(array + step));
    CHECK(of_element.at("distributor_id") == array_ids[step]);
    CHECK(of_element.at("array_step_id") == std::to_string(step));
    CHECK(of_element.at("stdout_log") == logs / ("probe.o" + array_ids[step]));
  }
}

TEST_CASE("outside a task there is no id and no log file", "[worker_node]") {
  ::unsetenv("ALLOT_DISTRIBUTOR_ID");
  ::unsetenv("ALLOT_ARRAY_STEP_ID");
  TempDir logs;
  const auto node = make_worker_node();
  CHECK_FALSE(node->distributor_id().has_value());
  CHECK_FALSE(node->array_step_id().has_value());
  const auto path = node->initialize_logfile(LogType::standard_output, logs.path(), "x");
  CHECK(must_fail(path).code == ErrorCode::fix_request);
  ::setenv("ALLOT_ARRAY_STEP_ID", "None", 1);
  CHECK_FALSE(node->array_step_id().has_value());
  ::setenv("ALLOT_ARRAY_STEP_ID", "", 1);
  CHECK_FALSE(node->array_step_id().has_value());
  ::unsetenv("ALLOT_ARRAY_STEP_ID");
}

TEST_CASE("initialize_logfile empties a file that is there", "[worker_node]") {
  TempDir logs;
  ::setenv("ALLOT_DISTRIBUTOR_ID", "0123456789ab_4", 1);
  write_text(logs / "x.e0123456789ab_4", "old");
  const auto path = make_worker_node()->initialize_logfile(LogType::standard_error, logs.path(), "x");
  ::unsetenv("ALLOT_DISTRIBUTOR_ID");
  CHECK(must(path) == logs / "x.e0123456789ab_4");
  CHECK(read_text(must(path)).empty());
}

TEST_CASE("a wait status becomes its exit info", "[worker_node][exit]") {
  const auto node = make_worker_node();
  const ExitInfo done = node->get_exit_info(exited(0), "text");
  CHECK(done.exit_class == ExitClass::done);
  CHECK(done.exit_code == 0);
  for (int code : {1, 127, 137, 199, 255}) {
    const ExitInfo info = node->get_exit_info(exited(code), "the text");
    CHECK(info.exit_class == ExitClass::error);
    CHECK(info.exit_code == code);
    CHECK_FALSE(info.signal.has_value());
    CHECK(info.text.find("the text") != std::string::npos);
  }
  for (int signal : {SIGKILL, SIGSEGV, SIGTERM}) {
    for (int core : {0, 0x80}) {
      const ExitInfo info = node->get_exit_info(ended_by(signal) | core, "");
      CHECK(info.exit_class == ExitClass::signaled);
      CHECK(info.signal == signal);
      CHECK_FALSE(info.exit_code.has_value());
    }
  }
}

TEST_CASE("the error text is cut to its last ten thousand characters", "[worker_node][exit]") {
  const auto node = make_worker_node();
  std::string text = "first";
  for (int i = 0; i < 9999; ++i) text += "\xe2\x82\xac";  // the Euro sign: three bytes
  const std::string cut = node->get_exit_info(exited(1), text + "z").text;
  CHECK(cut.size() == 3 * 9999 + 1);
  CHECK(cut.substr(0, 3) == "\xe2\x82\xac");
  CHECK(cut.back() == 'z');
  CHECK(node->get_exit_info(exited(1), std::string(10'000, 'a')).text.size() == 10'000);
}

TEST_CASE("usage of this very process has no wall time and no made-up zeros", "[worker_node][usage]") {
  const UsageStats usage = must(make_worker_node()->get_usage_stats());
  CHECK_FALSE(usage.wall_seconds.has_value());
  CHECK(usage.max_rss_bytes.value_or(0) > 0);
  CHECK(usage.user_seconds.has_value());
  CHECK(usage.system_seconds.has_value());
}

}  // namespace allot::contract
