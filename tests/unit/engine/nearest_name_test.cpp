// SPDX-License-Identifier: MIT
#include "engine/nearest_name.h"

#include "tests/support/catch.h"

using namespace allot;

namespace {
const std::vector<std::string> kKeys = {"cores",      "memory", "runtime",         "gpus",
                                        "kill_grace", "slots",  "slots_per_worker"};
}

TEST_CASE("misspelt names find the nearest") {
  CHECK(nearest_name("cors", kKeys) == "cores");     // a letter missing
  CHECK(nearest_name("coress", kKeys) == "cores");   // one too many
  CHECK(nearest_name("coers", kKeys) == "cores");    // neighbours swapped
  CHECK(nearest_name("momory", kKeys) == "memory");  // one replaced
  CHECK(nearest_name("KILL-GRACE", kKeys) == "kill_grace");
  CHECK(nearest_name("slot", kKeys) == "slots");
  CHECK(nearest_name("slots_per_node", kKeys) == "slots_per_worker");
  CHECK(nearest_name("cores", kKeys) == "cores");
}

TEST_CASE("names that are nothing like it find nothing") {
  for (const char* wrong : {"", "zzz", "x", "walltime", "potatoes"}) {
    CAPTURE(wrong);
    CHECK_FALSE(nearest_name(wrong, kKeys).has_value());
  }
  CHECK_FALSE(nearest_name("cores", {}).has_value());
  CHECK_FALSE(nearest_name("b", {"a"}).has_value());
  CHECK_FALSE(nearest_name(std::string(1'000'000, 'x'), kKeys).has_value());
}

TEST_CASE("of equally near names the first is taken") {
  CHECK(nearest_name("bat", {"cat", "hat"}) == "cat");
  CHECK(nearest_name("hbt", {"cat", "hat"}) == "hat");
}
