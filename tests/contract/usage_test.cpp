// SPDX-License-Identifier: MIT
// Usage: measured by the worker node, plausible, and unknown is nothing rather than 0.
#include <algorithm>
#include <cmath>

#include "process/identity.h"
#include "tests/contract/session.h"
#include "tests/support/catch.h"

namespace allot::contract {

namespace {

// A child's maximum starts at its spawner's, and a guard with a sanitizer in it is no small process.
#ifdef ALLOT_SANITIZED
constexpr std::uint64_t kMostOfTrue = std::uint64_t{64} << 20;
#else
constexpr std::uint64_t kMostOfTrue = std::uint64_t{8} << 20;
#endif

UsageStats usage_of(Session& session, const std::string& id) {
  const auto usage = must(session->get_usage_stats({id}));
  REQUIRE(usage.count(id) == 1);
  return usage.at(id);
}

}  // namespace

TEST_CASE("wall time lies between what the test saw from inside and outside", "[usage]") {
  Rendezvous rendezvous;
  rendezvous.make_gate("0");
  Batch batch;
  batch.add_line(rendezvous.array_element());
  Session session;
  const auto submitted_at = std::chrono::steady_clock::now();
  session.submit(batch.array(0, 1));
  const auto element = next_element(rendezvous);
  const auto arrived_at = std::chrono::steady_clock::now();
  session.await(element.distributor_id, TaskPhase::running);
  const auto opened_at = std::chrono::steady_clock::now();
  rendezvous.open_gate("0");
  session.await_end(element.distributor_id);
  const auto ended_at = std::chrono::steady_clock::now();

  const UsageStats usage = usage_of(session, element.distributor_id);
  REQUIRE(usage.wall_seconds.has_value());
  CHECK(*usage.wall_seconds >= std::chrono::duration<double>(opened_at - arrived_at).count());
  CHECK(*usage.wall_seconds <= std::chrono::duration<double>(ended_at - submitted_at).count());
  // An event may hold it in fewer digits.
  const auto told = session.find(element.distributor_id, TaskPhase::finished)->wall_seconds;
  CHECK(std::abs(told.value_or(-1) - *usage.wall_seconds) < 1e-3);
  CHECK(std::abs(batch.detail(0).usage.wall_seconds.value_or(-1) - *usage.wall_seconds) < 1e-3);
}

TEST_CASE("processor time counts the command and the children it waited for", "[usage]") {
  Batch batch;
  const auto busy = batch.add_line("i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done");
  const auto child = batch.add_line("sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done'; true");
  const auto idle = batch.add_line("true");
  Session session;
  const auto ids = session.run(batch.array(0, 3));
  const double busy_seconds = usage_of(session, ids[busy]).user_seconds.value();
  const double child_seconds = usage_of(session, ids[child]).user_seconds.value();
  const UsageStats rest = usage_of(session, ids[idle]);
  CHECK(busy_seconds > 0.01);
  CHECK(child_seconds > 0.01);
  CHECK(busy_seconds <= usage_of(session, ids[busy]).wall_seconds.value() + 0.1);
  CHECK(rest.user_seconds.value() + rest.system_seconds.value() < busy_seconds);
}

TEST_CASE("maximum RSS is the task's and not that of who started it", "[usage][memory]") {
  // A forked child starts with its parent's high-water mark; the host of the plugin is big here.
  std::vector<char> ballast(std::size_t{300} << 20, 'x');
  REQUIRE(std::count(ballast.begin(), ballast.begin() + 4096, 'x') == 4096);
  Batch batch;
  const auto small = batch.add_argv({"/bin/true"});
  const auto large = batch.add_argv({"dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"});
  Session session;
  const auto ids = session.run(batch.array(0, 2));
  const auto small_rss = usage_of(session, ids[small]).max_rss_bytes;
  REQUIRE(small_rss.has_value());
  CHECK(*small_rss > 0);
  CHECK(*small_rss < kMostOfTrue);
  const auto large_rss = usage_of(session, ids[large]).max_rss_bytes.value();
  CHECK(large_rss >= (std::uint64_t{64} << 20));
  CHECK(large_rss < (std::uint64_t{80} << 20));
  CHECK(ballast.back() == 'x');
}

TEST_CASE("usage names the node and the cores and is kept for failures", "[usage]") {
  Batch batch;
  Session session;
  Submission submission = batch.single_line("exit 1");
  submission.resources.cores = 1;
  const auto id = session.run(submission).at(0);
  const UsageStats usage = usage_of(session, id);
  CHECK(usage.node == node_name());
  CHECK(usage.cores == 1);
  CHECK(usage.wall_seconds.has_value());
  CHECK(usage.max_rss_bytes.has_value());
  CHECK(batch.detail(0).node == node_name());
  CHECK(usage_of(session, id) == usage);  // asking again changes nothing
}

TEST_CASE("what never ran used an unknown amount and unknown ids are left out", "[usage]") {
  ClusterOptions options;
  const std::uint64_t count = slots_of(options) + 1;
  Rendezvous rendezvous;
  rendezvous.make_gates(count);
  Batch batch;
  batch.add_line(rendezvous.array_element(), count);
  Session session(options);
  const auto submitting = session.submit(batch.array(0, count));
  std::vector<std::string> running;
  for (std::uint64_t i = 0; i < session.slots(); ++i) running.push_back(next_element(rendezvous).distributor_id);
  auto ids = submitting.ids();
  const auto removed = *std::find_if(ids.begin(), ids.end(), [&](const auto& id) {
    return std::find(running.begin(), running.end(), id) == running.end();
  });
  must(session->terminate_task_instances({removed}));
  session.await_end(removed);

  const auto usage = must(session->get_usage_stats({removed, running[0], "0123456789ab", ""}));
  CHECK(usage.count("0123456789ab") == 0);
  CHECK(usage.count("") == 0);
  if (usage.count(removed) == 1) CHECK(usage.at(removed) == UsageStats{});  // all unknown, and on no node
  // Of a running task nothing may be known yet, but what is told as known must not be a made-up 0.
  if (usage.count(running[0]) == 1 && usage.at(running[0]).max_rss_bytes) {
    CHECK(*usage.at(running[0]).max_rss_bytes > 0);
  }
  CHECK_FALSE(session.find(removed, TaskPhase::finished)->wall_seconds.has_value());
  CHECK_FALSE(session.find(removed, TaskPhase::finished)->max_rss_bytes.has_value());
  for (std::uint64_t i = 0; i < count; ++i) rendezvous.open_gate(std::to_string(i));
  session.await_ends(ids);
}

}  // namespace allot::contract
