// SPDX-License-Identifier: MIT
#include "distributors/slurm/slurm_queue.h"

#include "tests/support/catch.h"

namespace allot::slurm {
namespace {

Partition partition(const std::string& name, bool is_default) {
  Partition made;
  made.name = name;
  made.is_default = is_default;
  made.nodes = 2;
  made.cores_of_a_node = 16;
  made.megabytes_of_a_node = 1000;
  made.max_minutes = 60;
  return made;
}

Qos qos(std::uint32_t id, const std::string& name) {
  Qos made;
  made.id = id;
  made.name = name;
  return made;
}

Association association(const std::string& account, bool is_default) {
  Association made;
  made.account = account;
  made.is_default = is_default;
  return made;
}

RequestedResources for_minutes(std::int64_t minutes) {
  RequestedResources asked;
  asked.runtime_milliseconds = minutes * 60'000;
  return asked;
}

bool takes(const ClusterQueue& queue, const RequestedResources& asked) {
  return queue.validate_resources(asked, true).valid;
}

}  // namespace

TEST_CASE("queues are the partitions, the default first, or those of the file within theirs", "[slurm]") {
  ClusterConfig config;
  config.name = "lab";
  const std::vector<Partition> partitions = {partition("a", false), partition("b", true)};
  auto queues = slurm_queues(config, {}, partitions, nullptr);
  REQUIRE(queues);
  REQUIRE(queues->size() == 2);
  CHECK(queues->front()->queue_name() == "b");
  CHECK(queues->front()->parameters().at("cores").maximum == 16);
  CHECK(queues->front()->parameters().at("runtime_milliseconds").maximum == 3'600'000);
  config.default_queue = "a";
  CHECK((*slurm_queues(config, {}, partitions, nullptr))[0]->queue_name() == "a");
  config.default_queue = "c";
  auto wrong = slurm_queues(config, {}, partitions, nullptr);
  REQUIRE_FALSE(wrong);
  CHECK(wrong.error().message.find("\"c\" is no partition") != std::string::npos);
  config.default_queue.clear();
  config.queues = {{7, "a", {{"cores", {1, 100}}}, {}}};
  queues = slurm_queues(config, {}, partitions, nullptr);
  REQUIRE(queues);
  CHECK(queues->front()->parameters().at("cores").maximum == 16);
}

TEST_CASE("a queue's limits are those of the account and the QOS that a request is for", "[slurm]") {
  auto policies = std::make_shared<Policies>();
  policies->associations = {association("physics", true), association("biology", false)};
  policies->associations[0].default_qos = 2;
  policies->associations[1].limits.cores = 3;
  policies->qos = {qos(1, "normal"), qos(2, "short"), qos(3, "long")};
  policies->qos[1].limits.minutes = 10;
  policies->qos[2].limits.minutes = 50;
  policies->qos[2].group.megabytes = 108;
  ClusterConfig config;
  config.name = "lab";
  auto queues = slurm_queues(config, {}, {partition("a", true)}, policies);
  REQUIRE(queues);
  const ClusterQueue& queue = *queues->front();
  CHECK(queue.parameters().at("runtime_milliseconds").maximum == 600'000);
  CHECK(takes(queue, for_minutes(10)));
  const auto refused = queue.validate_resources(for_minutes(11), true);
  CHECK_FALSE(refused.valid);
  CHECK(refused.message.find("QOS \"short\", account \"physics\"") != std::string::npos);
  CHECK(queue.coerce_resources(for_minutes(11)).runtime_milliseconds == 600'000);

  RequestedResources other = for_minutes(50);
  other.pass_through["qos"] = "long";
  CHECK(takes(queue, other));
  other.memory_bytes = 100 * kMegabyte;
  CHECK(takes(queue, other));
  other.memory_bytes = 101 * kMegabyte;
  CHECK_FALSE(takes(queue, other));
  CHECK(queue.coerce_resources(other).memory_bytes == 100 * kMegabyte);
  CHECK(takes(queue, queue.coerce_resources(other)));

  RequestedResources elsewhere;
  elsewhere.account = "biology";
  elsewhere.cores = 4;
  CHECK_FALSE(takes(queue, elsewhere));
  elsewhere.account = "unknown";  // the controller will say so
  CHECK(takes(queue, elsewhere));
  // What the partition itself does not have is no policy's fault.
  RequestedResources big;
  big.cores = 17;
  CHECK(queue.validate_resources(big, true).message.find("QOS") == std::string::npos);
}

TEST_CASE("of the partition's QOS, the job's and the association the first that sets a limit decides", "[slurm]") {
  Policies policies;
  Partition place = partition("a", true);
  place.qos = "place";
  policies.associations = {association("physics", true)};
  policies.associations[0].limits = {1, 1, 1, 1, 1, 1};
  policies.qos = {qos(1, "normal"), qos(2, "place"), qos(3, "over")};
  policies.qos[0].limits.cores = 20;
  policies.qos[0].limits.nodes = 20;
  policies.qos[1].limits.cores = 30;
  policies.qos[2].limits.cores = 40;
  policies.qos[2].is_over_partition = true;
  const JobLimits usual = policy_limits(policies, "", "", place).limits;
  CHECK(usual.cores == 30u);
  CHECK(usual.nodes == 20u);
  CHECK(usual.jobs == 1u);
  CHECK(policy_limits(policies, "", "over", place).limits.cores == 40u);
  // What a group may have in all is never more than what one may.
  policies.qos[0].group.cores = 25;
  CHECK(policy_limits(policies, "", "", place).limits.cores == 25u);
  // One for a partition goes before one for all.
  policies.associations.push_back(association("physics", true));
  policies.associations[1].partition = "a";
  policies.associations[1].limits.gpus = 7;
  CHECK(policy_limits(policies, "", "", place).limits.gpus == 7u);
  CHECK(policy_limits({}, "", "", place).names.empty());
}

}  // namespace allot::slurm
