// SPDX-License-Identifier: MIT
#include "protocol/limits_queue.h"

#include <limits>
#include <random>

#include "tests/support/catch.h"

using namespace allot;
using Catch::Matchers::ContainsSubstring;

namespace {

constexpr std::uint64_t kGi = std::uint64_t{1} << 30;

LimitsQueue small_queue(std::vector<std::string> required = {}) {
  return LimitsQueue(
      {3,
       "small",
       {{"cores", {1, 8}}, {"memory_bytes", {kGi, 16 * kGi}}, {"runtime_milliseconds", {1000, 3'600'000}}},
       std::move(required)});
}

// Values near the edges of limits and types, where clamping goes wrong if it does.
std::uint64_t edge_value(std::mt19937_64& random) {
  constexpr std::uint64_t k32 = std::numeric_limits<std::uint32_t>::max();
  constexpr std::uint64_t k63 = std::numeric_limits<std::int64_t>::max();
  const std::uint64_t edges[] = {0, 1, 2, 7, 64, k32 - 1, k32, k32 + 1, k63 - 1, k63, k63 + 1, ~std::uint64_t{0}};
  return random() % 2 == 0 ? edges[random() % std::size(edges)] : random() >> (random() % 64);
}

RequestedResources random_request(std::mt19937_64& random) {
  RequestedResources r;
  auto maybe = [&random](auto& field) {
    using Value = typename std::remove_reference_t<decltype(field)>::value_type;
    if (random() % 4 != 0) field = static_cast<Value>(edge_value(random));
  };
  maybe(r.cores);
  maybe(r.memory_bytes);
  maybe(r.runtime_milliseconds);  // negative ones included
  maybe(r.gpus);
  maybe(r.ranks);
  maybe(r.nodes);
  r.queue = random() % 2 == 0 ? "small" : "other";
  r.account = "physics";
  r.pass_through = {{"licenses", "matlab:1"}};
  return r;
}

QueueConfig random_queue(std::mt19937_64& random) {
  QueueConfig config;
  config.name = "random";
  for (const char* name : {"cores", "memory_bytes", "runtime_milliseconds", "gpus", "ranks", "nodes"}) {
    if (random() % 3 != 0)
      config.limits[name] = {edge_value(random), edge_value(random)};  // may be the wrong way round
    if (random() % 3 == 0) config.required.push_back(name);
  }
  return config;
}

}  // namespace

TEST_CASE("a queue says what it was made of") {
  const LimitsQueue queue = small_queue({"cores"});
  CHECK(queue.queue_id() == 3);
  CHECK(queue.queue_name() == "small");
  CHECK(queue.parameters().at("cores") == ResourceLimit{1, 8});
  CHECK(queue.required_resources() == std::vector<std::string>{"cores"});
}

TEST_CASE("a request within the limits is valid without a word") {
  RequestedResources r;
  r.cores = 8;
  r.memory_bytes = kGi;
  r.runtime_milliseconds = 3'600'000;
  r.gpus = 1000;  // not limited here
  for (const bool strict : {true, false}) {
    const auto validation = small_queue({"cores", "memory_bytes"}).validate_resources(r, strict);
    CHECK(validation.valid);
    CHECK(validation.message.empty());
  }
  CHECK(small_queue({"cores", "memory_bytes"}).coerce_resources(r) == r);
}

TEST_CASE("strict: every fault is named with resource, value and limit") {
  RequestedResources r;
  r.cores = 9;
  r.memory_bytes = 1536;
  const auto validation = small_queue({"runtime_milliseconds"}).validate_resources(r, true);
  CHECK_FALSE(validation.valid);
  CHECK_THAT(validation.message, ContainsSubstring("cores 9 is above the maximum 8 of queue \"small\"."));
  CHECK_THAT(validation.message, ContainsSubstring("memory 1536 is below the minimum 1G of queue \"small\"."));
  CHECK_THAT(validation.message, ContainsSubstring("runtime is not stated and queue \"small\" requires it."));
}

TEST_CASE("lenient: what can be mended is valid, with a warning that says how") {
  RequestedResources r;
  r.cores = 9;
  r.memory_bytes = 1536;
  const auto validation = small_queue({"runtime_milliseconds"}).validate_resources(r, false);
  CHECK(validation.valid);
  CHECK_THAT(validation.message,
             ContainsSubstring("cores 9 is above the maximum 8 of queue \"small\"; it would be lowered to it."));
  CHECK_THAT(validation.message, ContainsSubstring("it would be raised to it."));
  CHECK_THAT(validation.message, ContainsSubstring("it would be set to the minimum, 1s."));
}

TEST_CASE("coercion clamps, fills in what is required, and leaves the rest alone") {
  RequestedResources r;
  r.cores = 9;
  r.runtime_milliseconds = -5;
  r.queue = "elsewhere";
  r.account = "physics";
  r.constraint = "avx512";
  r.pass_through = {{"licenses", "x"}};
  RequestedResources expected = r;
  expected.cores = 8;
  expected.runtime_milliseconds = 1000;
  expected.memory_bytes = kGi;
  CHECK(small_queue({"memory_bytes"}).coerce_resources(r) == expected);
}

TEST_CASE("a queue without limits still knows what no request can be") {
  const LimitsQueue queue({0, "default", {}, {}});
  CHECK(queue.validate_resources({}, true).valid);
  RequestedResources r;
  r.cores = 0;
  r.memory_bytes = 0;
  r.runtime_milliseconds = std::numeric_limits<std::int64_t>::min();
  r.gpus = 0;
  const auto validation = queue.validate_resources(r, true);
  CHECK_FALSE(validation.valid);
  CHECK_THAT(validation.message, ContainsSubstring("cores 0 is below the minimum 1") && ContainsSubstring("memory 0") &&
                                     ContainsSubstring("runtime 0s"));
  CHECK_THAT(validation.message, !ContainsSubstring("gpus"));
  const auto coerced = queue.coerce_resources(r);
  CHECK(coerced.cores == 1u);
  CHECK(coerced.runtime_milliseconds == 1);
}

TEST_CASE("what was coerced is valid, for every request and every queue") {
  std::mt19937_64 random(5);
  int changed = 0;
  for (int round = 0; round < 50'000; ++round) {
    const LimitsQueue queue(random_queue(random));
    const RequestedResources request = random_request(random);
    const RequestedResources coerced = queue.coerce_resources(request);
    const auto strict = queue.validate_resources(coerced, true);
    CAPTURE(round, strict.message);
    REQUIRE(strict.valid);
    REQUIRE(strict.message.empty());
    REQUIRE(queue.coerce_resources(coerced) == coerced);
    // Valid requests are not touched, and invalid ones never come back unchanged.
    const bool valid = queue.validate_resources(request, true).valid;
    REQUIRE((coerced == request) == valid);
    const auto lenient = queue.validate_resources(request, false);
    REQUIRE(lenient.valid);
    REQUIRE(lenient.message.empty() == valid);
    REQUIRE(coerced.queue == request.queue);
    changed += valid ? 0 : 1;
  }
  CHECK(changed > 10'000);
  CHECK(changed < 50'000);
}
