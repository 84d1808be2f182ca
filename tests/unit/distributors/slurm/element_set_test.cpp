// SPDX-License-Identifier: MIT
#include "distributors/slurm/element_set.h"

#include "tests/support/catch.h"

namespace allot::slurm {

TEST_CASE("elements are read as slurmctld shows them", "[slurm]") {
  const std::pair<const char*, const char*> cases[] = {
      {"0", "0"},         {"4-9%4", "4-9"}, {"1,3,5-7", "1,3,5-7"}, {"0-10:5", "0,5,10"}, {"5-7,0-2", "0-2,5-7"},
      {"1-4,3-6", "1-6"}, {"2,2", "2"},
  };
  for (const auto& [text, expected] : cases) {
    INFO(text);
    const auto elements = parse_elements(text);
    REQUIRE(elements);
    CHECK(elements_text(*elements) == expected);
  }
}

TEST_CASE("a list of elements that was cut or is none is refused, for nobody may take the rest for gone", "[slurm]") {
  for (const char* text : {"", "1,3,...", "1-", "-3", "3-1", "1;2", "1,,2", "0-10:0", "1%", "99999999999", "a"}) {
    INFO(text);
    CHECK_FALSE(parse_elements(text));
  }
}

TEST_CASE("elements are named as scancel takes them, in parts that Slurm takes", "[slurm]") {
  CHECK(elements_of_job(12, StepRanges(3, 1)) == "12_3");
  CHECK(elements_of_job(12, StepRanges(3, 3)) == "12_[3-5]");
  StepRanges odd;
  for (std::uint64_t element = 1; element < 10'000; element += 2) odd.append(element);
  const auto parts = split_by_text(odd);
  CHECK(parts.size() > 1);
  std::uint64_t total = 0;
  for (const StepRanges& part : parts) {
    CHECK(elements_text(part).size() <= kMostArrayText);
    total += part.size();
  }
  CHECK(total == odd.size());
  CHECK(split_by_text({}).empty());
}

}  // namespace allot::slurm
