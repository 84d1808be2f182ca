// SPDX-License-Identifier: MIT
// Ids: a text that is taken for an id is the id that its parts make.
#include "protocol/distributor_id.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = allot::fuzz::as_text(data, size);
  if (auto id = allot::parse_distributor_id(text)) {
    allot::fuzz::require(text.size() <= allot::kMaxDistributorIdLength, "an id has at most 20 characters");
    allot::fuzz::require(allot::make_distributor_id(id->base, id->array_step) == text, "an id has one spelling");
  }
  return 0;
}
