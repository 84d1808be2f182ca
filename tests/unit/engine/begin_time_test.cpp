// SPDX-License-Identifier: MIT
#include "engine/begin_time.h"

#include "tests/support/catch.h"

namespace allot {

TEST_CASE("a begin is a time from now on, or a time of day in its zone") {
  constexpr std::int64_t kSecond = 1'000'000'000;
  CHECK(parse_begin("10m", 5 * kSecond).value() == 605 * kSecond);
  CHECK(parse_begin("0", 7).value() == 7);
  CHECK(parse_begin("2001-09-09T01:46:40Z", 0).value() == 1'000'000'000 * kSecond);
  CHECK(parse_begin("2001-09-09T01:46Z", 0).value() == 999'999'960 * kSecond);
  const auto local = parse_begin("2027-01-31T20:00", 0);
  REQUIRE(local);
  CHECK(*local % (900 * kSecond) == 0);  // zones differ by whole quarters of an hour
  for (const char* bad : {"", "soon", "2027-01-31", "2027-02-30T10:00", "2027-01-31T25:00", "2027-01-31T20:00X", "-5m",
                          "1901-01-01T00:00Z", "2027-1-31T20:00", " 2027-01-31T20:00", "2027-01-31 T20:00",
                          "2027-01-31T20:00:5", "9999-01-01T00:00Z", "2200-01-01T00:00Z", "200000d"}) {
    INFO(bad);
    CHECK_FALSE(parse_begin(bad, 0));
  }
}

}  // namespace allot
