// SPDX-License-Identifier: MIT
// ClusterQueue: what is coerced is valid, and what is invalid is explained.
#include <random>
#include <set>

#include "tests/contract/harness.h"
#include "tests/contract/session.h"
#include "tests/support/catch.h"

namespace allot::contract {

namespace {

std::vector<std::unique_ptr<ClusterQueue>> make_queues(const ClusterConfig& config) {
  auto queues = must(harness().plugin->create_queues(config));
  REQUIRE_FALSE(queues.empty());
  return queues;
}

// Two queues with known limits, as a cluster's configuration would give them; within what any machine has, because a
// plugin may narrow what its place cannot give.
ClusterConfig configured() {
  ClusterConfig config = make_config();
  QueueConfig small;
  small.queue_id = 7;
  small.name = harness().traits.small_queue;
  small.limits = {{"cores", {1, 1}}, {"memory_bytes", {1 << 20, 1 << 26}}, {"runtime_milliseconds", {1000, 60'000}}};
  small.required = {"cores", "runtime_milliseconds"};
  QueueConfig large = small;
  large.queue_id = 8;
  large.name = harness().traits.large_queue;
  large.limits["memory_bytes"] = {1 << 21, 1 << 27};
  config.queues = {small, large};
  config.default_queue = large.name;
  return config;
}

RequestedResources random_request(std::mt19937_64& random) {
  const auto number = [&](std::uint64_t most) -> std::optional<std::uint64_t> {
    const auto kind = random() % 6;
    if (kind == 0) return std::nullopt;
    if (kind == 1) return most;
    if (kind == 2) return 1;
    return random() % most + 1;
  };
  RequestedResources request;
  if (const auto cores = number(200)) request.cores = static_cast<std::uint32_t>(*cores);
  request.memory_bytes = number(std::uint64_t{1} << 36);
  if (const auto runtime = number(200'000)) request.runtime_milliseconds = static_cast<std::int64_t>(*runtime);
  if (const auto gpus = number(9)) request.gpus = static_cast<std::uint32_t>(*gpus);
  if (const auto ranks = number(9)) request.ranks = static_cast<std::uint32_t>(*ranks);
  if (const auto nodes = number(9)) request.nodes = static_cast<std::uint32_t>(*nodes);
  return request;
}

RequestedResources fitting() {
  RequestedResources request;
  request.cores = 1;
  request.memory_bytes = 1 << 25;
  request.runtime_milliseconds = 5000;
  return request;
}

}  // namespace

TEST_CASE("a cluster has at least one queue and their names and numbers are unique", "[queue]") {
  for (const auto& config : {make_config(), configured()}) {
    std::set<std::string> names;
    std::set<int> numbers;
    for (const auto& queue : make_queues(config)) {
      CHECK_FALSE(queue->queue_name().empty());
      CHECK(names.insert(queue->queue_name()).second);
      CHECK(numbers.insert(queue->queue_id()).second);
      for (const auto& [name, limit] : queue->parameters()) {
        INFO(name);
        CHECK(limit.minimum <= limit.maximum);
      }
    }
  }
}

TEST_CASE("configured queues are taken over and the default comes first", "[queue]") {
  const auto queues = make_queues(configured());
  REQUIRE(queues.size() == 2);
  CHECK(queues[0]->queue_name() == harness().traits.large_queue);
  CHECK(queues[0]->queue_id() == 8);
  CHECK(queues[1]->queue_name() == harness().traits.small_queue);
  CHECK(queues[0]->parameters().at("memory_bytes") == ResourceLimit{1 << 21, 1 << 27});
  CHECK(queues[1]->parameters().at("memory_bytes") == ResourceLimit{1 << 20, 1 << 26});
  CHECK(queues[1]->parameters().at("runtime_milliseconds") == ResourceLimit{1000, 60'000});
  CHECK(queues[1]->required_resources() == std::vector<std::string>{"cores", "runtime_milliseconds"});
}

TEST_CASE("what a queue coerces is strictly valid", "[queue][property]") {
  std::mt19937_64 random(20260219);
  for (const auto& config : {make_config(), configured()}) {
    for (const auto& queue : make_queues(config)) {
      for (int i = 0; i < 500; ++i) {
        const RequestedResources request = random_request(random);
        const RequestedResources coerced = queue->coerce_resources(request);
        const auto strict = queue->validate_resources(coerced, true);
        INFO("queue " << queue->queue_name() << ", round " << i << ": " << strict.message);
        REQUIRE(strict.valid);
        CHECK(queue->coerce_resources(coerced) == coerced);
        const bool fits = queue->validate_resources(request, true).valid;
        if (fits) CHECK(coerced == request);
        if (!fits) {
          CHECK(coerced != request);
          CHECK_FALSE(queue->validate_resources(request, true).message.empty());
        }
      }
    }
  }
}

TEST_CASE("a request outside the limits is invalid when strict and warned of when not", "[queue]") {
  const auto queues = make_queues(configured());
  const ClusterQueue& small = *queues[1];
  CHECK(small.validate_resources(fitting(), true).valid);
  CHECK(small.validate_resources(fitting(), true).message.empty());

  RequestedResources over = fitting();
  over.cores = 5;
  const auto strict = small.validate_resources(over, true);
  INFO(strict.message);
  CHECK_FALSE(strict.valid);
  for (const std::string part : {"cores", "5", "1"}) CHECK(strict.message.find(part) != std::string::npos);
  const auto lenient = small.validate_resources(over, false);
  CHECK(lenient.valid);
  CHECK_FALSE(lenient.message.empty());
  CHECK(small.coerce_resources(over).cores == 1);

  RequestedResources under = fitting();
  under.runtime_milliseconds = 10;
  CHECK_FALSE(small.validate_resources(under, true).valid);
  CHECK(small.coerce_resources(under).runtime_milliseconds == 1000);
}

TEST_CASE("every fault of a request is named", "[queue]") {
  const auto queues = make_queues(configured());
  RequestedResources bad;
  bad.cores = 500;
  bad.memory_bytes = std::uint64_t{1} << 40;
  const auto strict = queues[1]->validate_resources(bad, true);
  INFO(strict.message);
  CHECK_FALSE(strict.valid);
  for (const std::string part : {"cores", "memory", "runtime"}) CHECK(strict.message.find(part) != std::string::npos);
}

TEST_CASE("what is required and missing gets the minimum", "[queue]") {
  const auto queues = make_queues(configured());
  const RequestedResources coerced = queues[0]->coerce_resources({});
  CHECK(coerced.cores == 1);
  CHECK(coerced.runtime_milliseconds == 1000);
  CHECK_FALSE(coerced.memory_bytes.has_value());
  CHECK_FALSE(queues[0]->validate_resources({}, true).valid);
}

}  // namespace allot::contract
