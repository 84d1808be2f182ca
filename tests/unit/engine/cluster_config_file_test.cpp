// SPDX-License-Identifier: MIT
#include "engine/cluster_config_file.h"

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <random>

#include "tests/support/catch.h"
#include "tests/support/temp_directory.h"

using namespace allot;
using Catch::Matchers::ContainsSubstring;
namespace fs = std::filesystem;

namespace {

constexpr std::int64_t kMi = std::int64_t{1} << 20;

const std::vector<ParameterSpec>& specs() {
  static const std::vector<ParameterSpec> list = {
      {"slots", ParameterType::integer, "", 1, 4096, {}},
      {"memory", ParameterType::size, "", 1 * kMi, std::nullopt, {}},
      {"pin", ParameterType::text, "", std::nullopt, std::nullopt, {"auto", "always", "never"}},
      {"kill_grace", ParameterType::duration, "", 0, 3'600'000, {}},
      {"verbose", ParameterType::boolean, "", std::nullopt, std::nullopt, {}},
      {"shell", ParameterType::text, "", std::nullopt, std::nullopt, {}},
      {"big", ParameterType::integer, "", std::nullopt, std::nullopt, {}},
      {"wait", ParameterType::duration, "", std::nullopt, std::nullopt, {}},
  };
  return list;
}

// One file in a directory of its own.
class File {
 public:
  explicit File(const std::string& text, const std::string& name = "cluster.toml") : path_(temp_ / name) {
    std::ofstream(path_, std::ios::binary) << text;
  }
  const std::string& path() const { return path_; }
  Result<ClusterConfig> read() const { return read_cluster_config(path_, specs()); }

 private:
  test::TempDirectory temp_;
  std::string path_;
};

ClusterConfig read_good(const std::string& text) {
  const File file(text);
  auto config = file.read();
  if (!config) FAIL(config.error().message);
  return *config;
}

// The message with the file's path written as FILE.
std::string read_bad(const std::string& text) {
  const File file(text);
  const auto config = file.read();
  if (config) return "no error";
  CHECK(config.error().code == ErrorCode::fix_request);
  std::string message = config.error().message;
  for (std::size_t at = 0; (at = message.find(file.path())) != std::string::npos;)
    message.replace(at, file.path().size(), "FILE");
  return message;
}

const std::string kPlugin = "plugin = \"multiprocess\"\n";

}  // namespace

TEST_CASE("the least that a cluster's file can say") {
  const File file(kPlugin, "laptop.toml");
  const auto config = file.read();
  REQUIRE(config);
  CHECK(config->name == "laptop");
  CHECK(config->plugin == "multiprocess");
  CHECK(config->source == file.path());
  CHECK(config->description.empty());
  CHECK(config->parameters.empty());
  CHECK(config->default_queue.empty());
  CHECK(config->queues.empty());  // which there are is the plugin's to say
  CHECK(read_plugin_name(file.path()).value() == "multiprocess");
}

TEST_CASE("everything that a cluster's file can say") {
  const ClusterConfig config = read_good(R"(
plugin = "multiprocess"
description = "A machine – with umlauts: ä"
default_queue = "long"
[parameters]
slots = 4
memory = "1.5G"
pin = "never"
kill_grace = "1m30s"
verbose = true
shell = "/bin/bash"
[[queue]]
name = "short"
cores = [1, 64]
memory = ["1M", 1073741824]
runtime = [1, "1-12:00:00"]
gpus = [0, 4]
ranks = [2, 2]
nodes = [1, 4294967295]
required = ["runtime", "cores"]
[[queue]]
name = "long"
)");
  CHECK(config.description == "A machine – with umlauts: ä");
  CHECK(config.get<std::int64_t>("slots", 0) == 4);
  CHECK(config.get<std::int64_t>("memory", 0) == 1536 * kMi);
  CHECK(config.get<std::string>("pin", "") == "never");
  CHECK(config.get<std::int64_t>("kill_grace", 0) == 90'000);
  CHECK(config.get("verbose", false));
  CHECK(config.get<std::string>("shell", "") == "/bin/bash");
  CHECK(config.parameters.size() == 6);

  // The default queue comes first, and ids stay those of the file.
  CHECK(config.default_queue == "long");
  REQUIRE(config.queues.size() == 2);
  CHECK(config.queues[0].name == "long");
  CHECK(config.queues[0].queue_id == 1);
  const QueueConfig& queue = config.queues[1];
  CHECK(queue.name == "short");
  CHECK(queue.queue_id == 0);
  CHECK(queue.limits == QueueParameters{{"cores", {1, 64}},
                                        {"memory_bytes", {1 << 20, 1 << 30}},
                                        {"runtime_milliseconds", {1000, 129'600'000}},
                                        {"gpus", {0, 4}},
                                        {"ranks", {2, 2}},
                                        {"nodes", {1, 4294967295}}});
  CHECK(queue.required == std::vector<std::string>{"runtime_milliseconds", "cores"});
}

TEST_CASE("a file without queues may name one that the plugin finds") {
  const File file(kPlugin + "default_queue = 'main'\nfallback_queues = ['long']\n", "lab.toml");
  const auto config = file.read();
  REQUIRE(config);
  CHECK(config->default_queue == "main");
  CHECK(config->queues.empty());
}

TEST_CASE("without default_queue the first is it") {
  const ClusterConfig config = read_good(kPlugin + "[[queue]]\nname='b'\n[[queue]]\nname='a'\n");
  CHECK(config.default_queue == "b");
  CHECK(config.queues[0].name == "b");
}

TEST_CASE("integers are bytes for sizes and seconds for durations") {
  const ClusterConfig config = read_good(kPlugin + "[parameters]\nmemory = 2097152\nkill_grace = 90\n");
  CHECK(config.get<std::int64_t>("memory", 0) == 2 * kMi);
  CHECK(config.get<std::int64_t>("kill_grace", 0) == 90'000);
}

TEST_CASE("the largest values are values") {
  const ClusterConfig config = read_good(
      kPlugin + "[parameters]\nbig = 9223372036854775807\nmemory = 9223372036854775807\nwait = 9223372036854775\n");
  CHECK(config.get<std::int64_t>("big", 0) == std::numeric_limits<std::int64_t>::max());
  CHECK(config.get<std::int64_t>("memory", 0) == std::numeric_limits<std::int64_t>::max());
  CHECK(config.get<std::int64_t>("wait", 0) == 9'223'372'036'854'775'000);
}

TEST_CASE("faults name file, line and key, and what to do") {
  struct Case {
    std::string text;      // behind the plugin's line, so its first line is 2
    std::string expected;  // a part of the message
  };
  const std::vector<Case> cases = {
      // Unknown keys, at every level.
      {"descripton = 'x'", "FILE:2: descripton: unknown key; did you mean description?"},
      {"qeue = 1", "FILE:2: qeue: unknown key; did you mean queue?"},
      {"zzz = 1", "FILE:2: zzz: unknown key; known here: plugin, description, default_queue, parameters, queue, retry"},
      {"[parameter]\nslots = 4", "FILE:2: parameter: unknown key; did you mean parameters?"},
      {"[parameters]\nslost = 4", "FILE:3: [parameters] slost: unknown key; did you mean slots?"},
      {"[parameters]\nKill-Grace = 4", "FILE:3: [parameters] Kill-Grace: unknown key; did you mean kill_grace?"},
      {"[parameters]\nfrobnicate = 4", "known here: slots, memory, pin, kill_grace, verbose, shell"},
      {"[[queue]]\nname = 'q'\ncors = [1, 2]", "FILE:4: [[queue]] \"q\" cors: unknown key; did you mean cores?"},
      {"[[queue]]\nname = 'q'\n[queue.limits]\nx = 1", "FILE:4: [[queue]] \"q\" limits: unknown key"},
      {"[parameters.slots]\nx = 1", "FILE:2: [parameters] slots: expected an integer, found a table"},
      // Known keys in the wrong place.
      {"slots = 4", "FILE:2: slots: this key is a parameter of the plugin; put it below [parameters]"},
      {"cores = [1, 2]", "FILE:2: cores: this key belongs to a queue; put it below [[queue]]"},
      // Wrong types.
      {"description = 4", "FILE:2: description: expected a text in quotes, found the integer 4"},
      {"parameters = 4", "FILE:2: parameters: expected a table [parameters], found the integer 4"},
      {"[parameters]\nslots = 1.5",
       "FILE:3: [parameters] slots: expected an integer, found the floating-point number 1.5"},
      {"[parameters]\nslots = '4'", "FILE:3: [parameters] slots: expected an integer, found the text \"4\""},
      {"[parameters]\nslots = inf",
       "FILE:3: [parameters] slots: expected an integer, found the floating-point number inf"},
      {"[parameters]\nslots = [4]", "FILE:3: [parameters] slots: expected an integer, found an array"},
      {"[parameters]\nverbose = 'true'",
       "FILE:3: [parameters] verbose: expected true or false, found the text \"true\""},
      {"[parameters]\nverbose = 1", "FILE:3: [parameters] verbose: expected true or false, found the integer 1"},
      {"[parameters]\nshell = true", "FILE:3: [parameters] shell: expected a text in quotes, found true"},
      {"[parameters]\nmemory = 1.5", "FILE:3: [parameters] memory: expected a size such as \"512M\""},
      {"[parameters]\nkill_grace = 0.5", "FILE:3: [parameters] kill_grace: expected a duration such as \"90s\""},
      {"[parameters]\nkill_grace = 00:01:30", "found a date or time without quotes"},
      // Wrong units and values.
      {"[parameters]\nmemory = '10 potatoes'",
       "FILE:3: [parameters] memory: \"10 potatoes\" is not a size: unknown unit \"potatoes\""},
      {"[parameters]\nmemory = '-1'", "FILE:3: [parameters] memory: \"-1\" is not a size: it is negative"},
      {"[parameters]\nmemory = -1",
       "FILE:3: [parameters] memory: expected a size such as \"512M\" or \"1.5G\" in quotes, or an integer of bytes, "
       "found the negative -1"},
      {"[parameters]\nmemory = '1e999G'",
       "FILE:3: [parameters] memory: \"1e999G\" is not a size: exponents are not understood"},
      {"[parameters]\nmemory = '16E'", "FILE:3: [parameters] memory: \"16E\" is not a size: it is too large"},
      {"[parameters]\nmemory = ''", "FILE:3: [parameters] memory: \"\" is not a size: it is empty"},
      {"[parameters]\nmemory = '1K'", "FILE:3: [parameters] memory: 1K is too small; the least is 1M"},
      {"[parameters]\nkill_grace = '5 parsecs'",
       "FILE:3: [parameters] kill_grace: \"5 parsecs\" is not a duration: unknown unit \"parsecs\""},
      {"[parameters]\nkill_grace = '-1'", "FILE:3: [parameters] kill_grace: \"-1\" is not a duration: it is negative"},
      {"[parameters]\nkill_grace = -1", "found the negative -1"},
      {"[parameters]\nkill_grace = '2h'", "FILE:3: [parameters] kill_grace: 2h is too large; the most is 1h"},
      {"[parameters]\nwait = 9223372036854776", "FILE:3: [parameters] wait: 9223372036854776 s is too large"},
      {"[parameters]\nwait = -9223372036854775808", "is too large"},
      {"[parameters]\nslots = 0", "FILE:3: [parameters] slots: 0 is too small; the least is 1"},
      {"[parameters]\nslots = -1", "FILE:3: [parameters] slots: -1 is too small; the least is 1"},
      {"[parameters]\nslots = 5000", "FILE:3: [parameters] slots: 5000 is too large; the most is 4096"},
      {"[parameters]\npin = 'sometimes'",
       "FILE:3: [parameters] pin: \"sometimes\" is not one of the choices: auto, always, never"},
      {"[parameters]\nshell = \"/bin/\\u0000sh\"", "has a NUL character"},
      // Queues.
      {"[queue]\nname = 'q'",
       "FILE:2: queue: expected tables that begin with [[queue]], in two brackets; found a table"},
      {"queue = ['a']", "FILE:2: queue: expected a table [[queue]], found the text \"a\""},
      {"[[queue]]\ncores = [1, 2]", "FILE:2: [[queue]] name: a queue needs a name"},
      {"[[queue]]\nname = ''", "FILE:3: [[queue]] name: \"\" cannot be a queue's name"},
      {"[[queue]]\nname = 'a/b'", "FILE:3: [[queue]] name: \"a/b\" cannot be a queue's name"},
      {"[[queue]]\nname = \"a\\nb\"", "FILE:3: [[queue]] name: \"a\\nb\" cannot be a queue's name"},
      {"[[queue]]\nname = 4", "FILE:3: [[queue]] name: expected a text in quotes"},
      {"[[queue]]\nname = 'q'\n[[queue]]\nname = 'q'", "FILE:5: [[queue]] name: there is a queue \"q\" before it"},
      {"default_queue = 'lnog'\n[[queue]]\nname = 'long'",
       "FILE:2: default_queue: there is no queue \"lnog\"; did you mean long?"},
      {"default_queue = 'x'\n[[queue]]\nname = 'long'",
       "FILE:2: default_queue: there is no queue \"x\"; this cluster has: long"},
      {"default_queue = 1", "FILE:2: default_queue: expected a text in quotes"},
      {"[[queue]]\nname='q'\ncores = 4",
       "FILE:4: [[queue]] \"q\" cores: expected two values, the smallest and the largest allowed, such as cores = [1, "
       "64]; found the integer 4"},
      {"[[queue]]\nname='q'\ncores = [1]", "found 1 values"},
      {"[[queue]]\nname='q'\ncores = [1, 2, 3]", "found 3 values"},
      {"[[queue]]\nname='q'\ncores = [1, '2']",
       "FILE:4: [[queue]] \"q\" cores: expected an integer, found the text \"2\""},
      {"[[queue]]\nname='q'\ncores = [1, 1.5]", "expected an integer, found the floating-point number 1.5"},
      {"[[queue]]\nname='q'\ncores = [0, 2]", "FILE:4: [[queue]] \"q\" cores: 0 is too small; the least is 1"},
      {"[[queue]]\nname='q'\ncores = [1, 4294967296]", "4294967296 is too large; the most is 4294967295"},
      {"[[queue]]\nname='q'\ncores = [8, 4]",
       "FILE:4: [[queue]] \"q\" cores: the smallest, 8, is above the largest, 4"},
      {"[[queue]]\nname='q'\nmemory = ['2G', '1G']",
       "FILE:4: [[queue]] \"q\" memory: the smallest, 2G, is above the largest, 1G"},
      {"[[queue]]\nname='q'\nruntime = ['2h', '90m']", "the smallest, 2h, is above the largest, 1h30m"},
      {"[[queue]]\nname='q'\nmemory = ['1M',\n '10 potatoes']",
       "FILE:5: [[queue]] \"q\" memory: \"10 potatoes\" is not a size"},
      {"[[queue]]\nname='q'\nruntime = ['0', '1h']", "0s is too small; the least is 1ms"},
      {"[[queue]]\nname='q'\ngpus = [-1, 1]", "-1 is too small; the least is 0"},
      {"[[queue]]\nname='q'\nrequired = 'cores'", "FILE:4: [[queue]] \"q\" required: expected names of resources"},
      {"[[queue]]\nname='q'\nrequired = [1]", "FILE:4: [[queue]] \"q\" required: expected a text in quotes"},
      {"[[queue]]\nname='q'\nrequired = ['cors']", "\"cors\" is no resource; did you mean cores?"},
      {"[[queue]]\nname='q'\nrequired = ['account']",
       "\"account\" is no resource; known: cores, memory, runtime, gpus, ranks, nodes"},
      {"[[queue]]\nname='q'\nrequired = ['cores']",
       "cores is required and has no limits in this queue; add cores = [1, 64]"},
      {"[[queue]]\nname='q'\ncores=[1,2]\nrequired = ['cores', 'cores']",
       "FILE:5: [[queue]] \"q\" required: cores is named twice"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.text);
    CHECK_THAT(read_bad(kPlugin + c.text + "\n"), ContainsSubstring(c.expected));
  }
}

TEST_CASE("what a file says of retries is the engine's") {
  const File file(
      "max_running = 7\nfallback_queues = [\"long\"]\n" + kPlugin +
      "[retry]\nerror = 2\nout_of_memory = \"3:10s:2:1h\"\nmemory_headroom = 1.5\nescalation_factor = 3\n"
      "[exit_codes]\n75 = \"retry\"\n2 = \"fatal\"\n"
      "[triage]\ninterval = 5\npatience = \"2m\"\n[[queue]]\nname = \"short\"\n[[queue]]\nname = \"long\"\n");
  RetryPolicy policy;
  const auto config = read_cluster_config(file.path(), specs(), &policy);
  if (!config) FAIL(config.error().message);
  CHECK(policy.rules == parse_retry_rules("error=2,out_of_memory=3:10s:2:1h,75=retry,2=fatal").value());
  CHECK(policy.memory_headroom == 1.5);
  CHECK(policy.escalation_factor == 3);
  CHECK(policy.max_running == 7u);
  CHECK(policy.fallback_queues == std::vector<std::string>{"long"});
  CHECK(policy.triage.interval == std::chrono::seconds(5));
  CHECK(policy.triage.patience == std::chrono::minutes(2));

  const std::pair<const char*, const char*> bad[] = {
      {"[retry]\neror = 2", "FILE:3: [retry] eror: \"eror=2\" is no retry rule: there is no such exit class"},
      {"[retry]\nerror = 1.5", "FILE:3: [retry] error: expected a number of further runs or a text"},
      {"[retry]\nerror = -1", "FILE:3: [retry] error: \"error=-1\" is no retry rule: the count must be 0 to 1000"},
      {"[retry]\nerror = \"1,lost=2\"", "FILE:3: [retry] error: one rule is expected here"},
      {"[retry]\n75 = \"retry\"", "FILE:3: [retry] 75: codes stand below [exit_codes]"},
      {"[retry]\nmemory_headroom = 1", "FILE:3: [retry] memory_headroom: expected a factor above 1, up to 100"},
      {"[retry]\nescalation_factor = \"2\"", "FILE:3: [retry] escalation_factor: expected a factor above 1"},
      {"[exit_codes]\nerror = \"2\"", "FILE:3: [exit_codes] error: classes stand below [retry]"},
      {"[exit_codes]\n3 = \"success\"", "FILE:3: [exit_codes] 3: what is a success is said for a batch"},
      {"[exit_codes]\n3 = 4",
       "FILE:3: [exit_codes] 3: expected \"retry\", \"fatal\" or \"defer\"; found the integer 4"},
      {"[exit_codes]\n300 = \"retry\"",
       "FILE:3: [exit_codes] 300: \"300=retry\" is no retry rule: an exit code is 1 to 255"},
      {"retry = 3", "FILE:2: retry: expected a table [retry], found the integer 3"},
      {"max_running = 0", "FILE:2: max_running: 0 is too small; the least is 1"},
      {"triage = 3", "FILE:2: triage: expected a table [triage], found the integer 3"},
      {"[triage]\npatiense = 3", "FILE:3: [triage] patiense: unknown key; did you mean patience?"},
      {"[triage]\ninterval = 0", "FILE:3: [triage] interval: 0s is too small; the least is 100ms"},
      {"[triage]\npatience = \"2d\"", "FILE:3: [triage] patience: 2d is too large; the most is 1d"},
      {"fallback_queues = \"long\"", "FILE:2: fallback_queues: expected names of queues, such as [\"long\"]"},
      {"fallback_queues = [\"long\"]\n[[queue]]\nname = \"short\"",
       "FILE:2: fallback_queues: there is no queue \"long\" in this file"},
      {"fallback_queues = [\"default\", \"default\"]", "FILE:2: fallback_queues: \"default\" is named twice"},
  };
  for (const auto& [text, message] : bad) {
    INFO(text);
    CHECK_THAT(read_bad(kPlugin + text), ContainsSubstring(message));
  }
}

TEST_CASE("every fault is told at once, in the order of the file") {
  const std::string message = read_bad("zzz = 1\n[[queue]]\nname = 'q'\ncores = [2, 1]\n[parameters]\nslots = 0\n");
  CHECK(message ==
        "FILE: plugin: this key is missing; say which plugin runs the tasks, such as plugin = \"multiprocess\"\n"
        "FILE:1: zzz: unknown key; known here: plugin, description, default_queue, parameters, queue, retry, "
        "exit_codes, max_running, fallback_queues, triage\n"
        "FILE:4: [[queue]] \"q\" cores: the smallest, 2, is above the largest, 1; write the smaller value first\n"
        "FILE:6: [parameters] slots: 0 is too small; the least is 1");
}

TEST_CASE("a plugin without parameters") {
  const File file(kPlugin + "[parameters]\nslots = 4\n");
  const auto config = read_cluster_config(file.path(), {});
  REQUIRE_FALSE(config);
  CHECK_THAT(config.error().message,
             ContainsSubstring(":3: [parameters] slots: unknown key; this plugin has no parameters"));
}

TEST_CASE("the plugin's name is needed, whatever else is wrong") {
  CHECK_THAT(read_bad(""), ContainsSubstring("FILE: plugin: this key is missing"));
  CHECK_THAT(read_bad("plugin = ''"), ContainsSubstring("FILE:1: plugin: the name is empty"));
  CHECK_THAT(read_bad("plugin = 4"),
             ContainsSubstring("FILE:1: plugin: expected a text in quotes, found the integer 4"));

  const File wrong_elsewhere("zzz = 1\nplugin = 'sequential'\n");
  CHECK(read_plugin_name(wrong_elsewhere.path()).value() == "sequential");
  const File none("slots = 1\n");
  REQUIRE_FALSE(read_plugin_name(none.path()));
  CHECK(read_plugin_name(none.path()).error().message ==
        none.path() +
            ": plugin: this key is missing; say which plugin runs the tasks, such as plugin = \"multiprocess\"");
}

TEST_CASE("what is not TOML is told with line and column") {
  struct Case {
    std::string text;
    std::string place;
  };
  const std::vector<Case> cases = {
      {"plugin = \"multiprocess", "FILE:1:"},
      {kPlugin + "[parameters]\nslots = 10 potatoes\n", "FILE:3:"},
      {kPlugin + "[parameters]\nslots = 4\nslots = 5\n", "FILE:4:"},
      {kPlugin + "[parameters]\n[parameters]\n", "FILE:3:"},
      {kPlugin + "= 3\n", "FILE:2:1: not TOML:"},
      {kPlugin + "x = 99999999999999999999\n", "FILE:2:"},
      {kPlugin + "x = 1e999\n", "FILE:2:"},
      {std::string("plugin = 'a'\n\0b = 1\n", 20), "FILE:2:"},
      {"plugin = '\xff\xfe'\n", "FILE:1:"},
      {"plugin = " + std::string(100'000, '['), "FILE:1:"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.text.substr(0, 100));
    const std::string message = read_bad(c.text);
    CHECK_THAT(message, ContainsSubstring(c.place));
    CHECK_THAT(message, ContainsSubstring(": not TOML: "));
  }
}

TEST_CASE("files that cannot be read are told by path and reason") {
  const test::TempDirectory temp;
  const auto missing = read_cluster_config(temp / "missing.toml", {});
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code == ErrorCode::fix_request);
  CHECK_THAT(missing.error().message, ContainsSubstring(temp / "missing.toml") && ContainsSubstring("No such file"));
  const auto directory = read_plugin_name(temp.path());
  REQUIRE_FALSE(directory);
  CHECK_THAT(directory.error().message, ContainsSubstring(temp.path()) && ContainsSubstring("directory"));
  std::ofstream(temp / "huge.toml") << std::string(2 << 20, '#');
  const auto huge = read_plugin_name(temp / "huge.toml");
  REQUIRE_FALSE(huge);
  CHECK_THAT(huge.error().message, ContainsSubstring(temp / "huge.toml"));
}

TEST_CASE("a damaged file gives a configuration or a message that names it, never anything else") {
  const std::string good =
      kPlugin +
      "description = 'x'\ndefault_queue = 'q'\n[parameters]\nslots = 4\nmemory = '1.5G'\npin = 'auto'\n"
      "kill_grace = '30m'\n[[queue]]\nname = 'q'\ncores = [1, 8]\nmemory = ['1M', '2G']\nrequired = "
      "['cores']\n";
  REQUIRE(read_good(good).queues.size() == 1);
  const test::TempDirectory temp;
  const std::string path = temp / "damaged.toml";
  std::mt19937 random(6);
  int refused = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string text = good;
    for (unsigned i = 1 + random() % 3; i > 0; --i) {
      const std::size_t at = random() % text.size();
      switch (random() % 3) {
        case 0:
          text[at] = static_cast<char>(random());
          break;
        case 1:
          text.erase(at, 1 + random() % 5);
          break;
        default:
          text.insert(at, text.substr(random() % text.size(), 1 + random() % 8));
      }
    }
    fs::remove(path);  // some file systems write a truncated file to the disk at once
    std::ofstream(path, std::ios::binary) << text;
    const auto config = read_cluster_config(path, specs());
    if (config) {
      REQUIRE_FALSE(config->queues.empty());
      REQUIRE(config->queues.front().name == config->default_queue);
      continue;
    }
    ++refused;
    REQUIRE(config.error().code == ErrorCode::fix_request);
    REQUIRE_THAT(config.error().message, Catch::Matchers::StartsWith(path + ":"));
  }
  CHECK(refused > 1000);
  CHECK(refused < 3000);
}
