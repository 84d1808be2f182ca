// SPDX-License-Identifier: MIT
#include "worker_node/by_hand.h"

#include "tests/support/catch.h"

using namespace allot;

TEST_CASE("steps are read as ranges") {
  auto steps = parse_steps("0-2,5,7-7");
  REQUIRE(steps);
  CHECK(steps->ranges() == std::vector<StepRange>{{0, 3}, {5, 1}, {7, 1}});
  CHECK(parse_steps("3")->ranges() == std::vector<StepRange>{{3, 1}});
}

TEST_CASE("what is no list of steps is refused with the part that is wrong") {
  for (const char* text :
       {"", "a", "1-", "-1", "2-1", "1,", "1,,2", "3,2", "1-3,3", "1 2", "99999999999", "10000000"}) {
    auto steps = parse_steps(text);
    REQUIRE_FALSE(steps);
    CHECK(steps.error().code == ErrorCode::fix_request);
    CHECK(steps.error().message.find("steps \"" + std::string(text) + "\"") != std::string::npos);
  }
}
