// SPDX-License-Identifier: MIT
#include "engine/retry_policy.h"

#include "protocol/limits_queue.h"
#include "tests/support/catch.h"

namespace allot::test {

namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

RetryRules rules(std::string_view text) {
  auto parsed = parse_retry_rules(text);
  if (!parsed) FAIL(parsed.error().message);
  return *parsed;
}

ExitInfo ended(ExitClass exit_class, std::optional<int> code = {}) {
  return {exit_class, code, {}, {}};
}

std::vector<std::unique_ptr<ClusterQueue>> queues_of(const std::vector<std::pair<std::string, std::uint64_t>>& memory) {
  std::vector<std::unique_ptr<ClusterQueue>> queues;
  for (const auto& [name, most] : memory) {
    QueueConfig config;
    config.queue_id = static_cast<int>(queues.size());
    config.name = name;
    config.limits["memory_bytes"] = {1, most};
    config.limits["runtime_milliseconds"] = {1, most};
    queues.push_back(std::make_unique<LimitsQueue>(config));
  }
  return queues;
}

RequestedResources asks_for(std::uint64_t memory, const std::string& queue = {}) {
  RequestedResources resources;
  resources.memory_bytes = memory;
  resources.queue = queue;
  return resources;
}

UsageStats peak_of(std::uint64_t bytes) {
  UsageStats usage;
  usage.tree_peak_bytes = bytes;
  return usage;
}

}  // namespace

TEST_CASE("retry rules are read, and written so that they are read the same") {
  const RetryRules read = rules("error=3:10s:2.5:1h,out_of_memory=2,75=retry,2=fatal,3=success,lost=0");
  CHECK(read.classes.at(ExitClass::error) == RetryRule{3, seconds(10), 2.5, hours(1)});
  CHECK(read.classes.at(ExitClass::out_of_memory) == RetryRule{2, seconds(0), 2, hours(1)});
  CHECK(read.classes.at(ExitClass::lost).retries == 0);
  CHECK(read.codes.at(75) == CodeMeaning::retry);
  CHECK(read.codes.at(2) == CodeMeaning::fatal);
  CHECK(success_codes(read) == "\x03");
  CHECK(rules(to_text(read)) == read);
  CHECK(rules("").empty());
  // A first delay above the longest one lifts it.
  CHECK(rules("error=1:2h").classes.at(ExitClass::error).longest == hours(2));
}

TEST_CASE("a rule that makes no sense is quoted with what is wrong and what to write") {
  const std::pair<const char*, const char*> cases[] = {
      {"error", "\"error\" is no retry rule: it has no '='"},
      {"eror=3", "there is no such exit class"},
      {"done=3", "never run again by itself"},
      {"killed=3", "never run again by itself"},
      {"queueing_error=1", "never run again by itself"},
      {"error=", "the count must be 0 to 1000"},
      {"error=-1", "the count must be 0 to 1000"},
      {"error=1001", "the count must be 0 to 1000"},
      {"error=99999999999", "the count must be 0 to 1000"},
      {"error=3:soon", "\"soon\" is not a duration"},
      {"error=3:1s:0.5", "the back-off must be a factor from 1 to 100"},
      {"error=3:1s:nan", "the back-off must be a factor"},
      {"error=3:1s:2:1s:x", "too many parts"},
      {"error=3:2s:2:1s", "the longest delay is below the first"},
      {"error=3,error=4", "\"error=4\" is no retry rule: the class comes twice"},
      {"0=success", "an exit code is 1 to 255"},
      {"256=fatal", "an exit code is 1 to 255"},
      {"3=maybe", "a code means retry, fatal, success or defer"},
      {"3=retry,3=fatal", "the code comes twice"},
      {"error=3,", "it has no '='"},
  };
  for (const auto& [text, part] : cases) {
    const auto parsed = parse_retry_rules(text);
    INFO(text);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().code == ErrorCode::fix_request);
    CHECK(parsed.error().message.find(part) != std::string::npos);
    CHECK(parsed.error().message.find("such as error=3:10s:2") != std::string::npos);
  }
}

TEST_CASE("delays grow by the back-off up to the longest") {
  const RetryRule rule{9, seconds(1), 3, seconds(20)};
  CHECK(rule.delay_before(1) == seconds(1));
  CHECK(rule.delay_before(2) == seconds(3));
  CHECK(rule.delay_before(3) == seconds(9));
  CHECK(rule.delay_before(4) == seconds(20));
  CHECK(rule.delay_before(1000) == seconds(20));
  CHECK(RetryRule{}.delay_before(3) == milliseconds(0));
}

TEST_CASE("whose rule counts: the task's, the cluster's, and what goes without saying") {
  RetryPolicy policy;
  policy.rules = rules("error=1,timed_out=4,9=fatal");
  CHECK(rule_for(ended(ExitClass::error, 1), {}, policy)->retries == 1);
  CHECK(rule_for(ended(ExitClass::error, 1), rules("error=5"), policy)->retries == 5);
  CHECK_FALSE(rule_for(ended(ExitClass::error, 1), rules("error=0"), policy));
  CHECK_FALSE(rule_for(ended(ExitClass::error, 9), {}, policy));
  CHECK(rule_for(ended(ExitClass::error, 9), rules("9=retry"), policy)->retries == 1);
  CHECK(rule_for(ended(ExitClass::error, 9), rules("9=retry"), RetryPolicy{})->retries == 3);
  CHECK(rule_for(ended(ExitClass::timed_out), {}, policy)->retries == 4);
  for (const ExitClass loss : {ExitClass::lost, ExitClass::node_failed, ExitClass::preempted}) {
    CHECK(rule_for(ended(loss), {}, {})->retries == 3);
    CHECK_FALSE(rule_for(ended(loss), rules(std::string(to_string(loss)) + "=0"), {}));
  }
  for (const ExitClass own : {ExitClass::error, ExitClass::signaled, ExitClass::out_of_memory, ExitClass::timed_out,
                              ExitClass::launch_failed, ExitClass::killed, ExitClass::queueing_error}) {
    CHECK_FALSE(rule_for(ended(own, 1), {}, {}));
  }
}

TEST_CASE("only the exhausted resource grows, where it was asked for") {
  const auto queues = queues_of({{"default", 1'000'000}});
  RequestedResources asked = asks_for(1000);
  asked.runtime_milliseconds = 100;
  asked.cores = 2;
  const auto memory = escalate(asked, ExitClass::out_of_memory, peak_of(2000), {}, queues);
  REQUIRE(memory);
  CHECK(memory->resources.memory_bytes == 2400);  // the peak with head-room
  CHECK(memory->resources.runtime_milliseconds == 100);
  CHECK(memory->resources.cores == 2u);
  CHECK(memory->resources.queue.empty());
  CHECK(memory->text.find("memory ") == 0);
  // What it was ended at says little of what it wanted: the factor is the least.
  CHECK(escalate(asked, ExitClass::out_of_memory, peak_of(1010), {}, queues)->resources.memory_bytes == 1500);
  // A peak below what was allowed is one that was not seen in time.
  CHECK(escalate(asked, ExitClass::out_of_memory, peak_of(900), {}, queues)->resources.memory_bytes == 1500);
  CHECK(escalate(asked, ExitClass::out_of_memory, {}, {}, queues)->resources.memory_bytes == 1500);
  const auto time = escalate(asked, ExitClass::timed_out, peak_of(9000), {}, queues);
  CHECK(time->resources.runtime_milliseconds == 150);
  CHECK(time->resources.memory_bytes == 1000);
  CHECK(time->text == "runtime 100ms → 150ms");
  for (const ExitClass other : {ExitClass::error, ExitClass::lost, ExitClass::signaled}) {
    const auto same = escalate(asked, other, peak_of(9000), {}, queues);
    CHECK(same->resources == asked);
    CHECK(same->text.empty());
  }
  const auto not_asked = escalate({}, ExitClass::out_of_memory, peak_of(9000), {}, queues);
  CHECK(not_asked->resources == RequestedResources{});
  // A byte more at least, whatever the factor makes of it.
  CHECK(escalate(asks_for(1), ExitClass::out_of_memory, {}, {}, queues)->resources.memory_bytes == 2);
}

TEST_CASE("what outgrows its queue goes along the fallback queues, and is clamped on the last") {
  const auto queues = queues_of({{"small", 1000}, {"big", 5000}, {"middle", 2000}});
  RetryPolicy policy;
  policy.fallback_queues = {"small", "middle", "big"};
  const auto moved = escalate(asks_for(1000), ExitClass::out_of_memory, peak_of(1500), policy, queues);
  REQUIRE(moved);
  CHECK(moved->resources.memory_bytes == 1800);
  CHECK(moved->resources.queue == "middle");
  CHECK(moved->text.find("queue middle") != std::string::npos);
  const auto far = escalate(asks_for(1000, "small"), ExitClass::out_of_memory, peak_of(4000), policy, queues);
  CHECK(far->resources.queue == "big");
  CHECK(far->resources.memory_bytes == 4800);
  const auto clamped = escalate(asks_for(2000, "middle"), ExitClass::out_of_memory, peak_of(9000), policy, queues);
  REQUIRE(clamped);
  CHECK(clamped->resources.queue == "big");
  CHECK(clamped->resources.memory_bytes == 5000);
  CHECK_FALSE(escalate(asks_for(5000, "big"), ExitClass::out_of_memory, peak_of(9000), policy, queues));
  // Without fallbacks its own queue is the last.
  CHECK(escalate(asks_for(900), ExitClass::out_of_memory, {}, {}, queues)->resources.memory_bytes == 1000);
  CHECK_FALSE(escalate(asks_for(1000), ExitClass::out_of_memory, {}, {}, queues));
}

}  // namespace allot::test
