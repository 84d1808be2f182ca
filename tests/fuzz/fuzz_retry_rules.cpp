// SPDX-License-Identifier: MIT
// Retry rules: what is read has one way of being written, and every delay lies within its bounds.
#include "engine/retry_policy.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto rules = allot::parse_retry_rules(allot::fuzz::as_text(data, size));
  if (!rules) {
    allot::fuzz::require(!rules.error().message.empty(), "an error says what is wrong");
    return 0;
  }
  const std::string text = allot::to_text(*rules);
  const auto again = allot::parse_retry_rules(text);
  allot::fuzz::require(again && *again == *rules, "what is written reads as the same rules");
  allot::fuzz::require(allot::to_text(*again) == text, "rules have one spelling");
  for (const auto& [exit_class, rule] : rules->classes) {
    allot::fuzz::require(allot::may_have_rule(exit_class), "only a class that may have a rule has one");
    for (const int retry : {1, 2, 1000}) {
      const auto delay = rule.delay_before(static_cast<std::uint16_t>(retry));
      allot::fuzz::require(delay.count() >= 0 && delay <= rule.longest, "a delay is at most the longest");
    }
  }
  return 0;
}
