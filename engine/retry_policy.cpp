// SPDX-License-Identifier: MIT
#include "engine/retry_policy.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include <fmt/format.h>

#include "protocol/units.h"

namespace allot {
namespace {

constexpr std::uint16_t kMostRetries = 1000;
constexpr double kMostBackoff = 100;
constexpr std::uint16_t kRetriesOfRetryCode = 3;
constexpr RetryRule kLossRule{3, std::chrono::milliseconds(0), 2, std::chrono::hours(1)};
constexpr char kForms[] =
    "write CLASS=COUNT[:DELAY[:BACKOFF[:LONGEST]]], such as error=3:10s:2, or CODE=retry, "
    "CODE=fatal, CODE=success, CODE=defer, or defer=DELAY[:LONGEST]";

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

template <class T>
std::optional<T> number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string_view name_of(CodeMeaning meaning) {
  switch (meaning) {
    case CodeMeaning::retry:
      return "retry";
    case CodeMeaning::fatal:
      return "fatal";
    case CodeMeaning::defer:
      return "defer";
    case CodeMeaning::success:
      break;
  }
  return "success";
}

// Of one rule; returns what is wrong.
std::optional<std::string> read_code(std::string_view key, std::string_view value, RetryRules& rules) {
  const auto code = number<unsigned>(key);
  if (!code || *code < 1 || *code > 255) return "an exit code is 1 to 255";
  for (const CodeMeaning meaning : {CodeMeaning::retry, CodeMeaning::fatal, CodeMeaning::success, CodeMeaning::defer}) {
    if (value != name_of(meaning)) continue;
    if (!rules.codes.emplace(static_cast<std::uint8_t>(*code), meaning).second) return "the code comes twice";
    return std::nullopt;
  }
  return "a code means retry, fatal, success or defer";
}

std::optional<std::string> read_time(std::string_view text, std::chrono::milliseconds& into) {
  const auto time = parse_duration(text);
  if (time) into = std::chrono::milliseconds(*time);
  return time ? std::nullopt : std::optional(time.error().message);
}

std::optional<std::string> read_defer(std::string_view value, RetryRules& rules) {
  if (rules.defer) return "it comes twice";
  const auto parts = split(value, ':');
  DeferRule& rule = rules.defer.emplace();
  if (parts.size() > 2) return "it has too many parts";
  if (auto wrong = read_time(parts[0], rule.delay)) return wrong;
  if (rule.delay.count() == 0) return "the delay must be more than 0";
  rule.longest = std::max(rule.longest, rule.delay);
  if (parts.size() == 1) return std::nullopt;
  if (auto wrong = read_time(parts[1], rule.longest)) return wrong;
  return rule.longest < rule.delay ? std::optional<std::string>("the longest time is below the delay") : std::nullopt;
}

std::optional<std::string> read_class(std::string_view key, std::string_view value, RetryRules& rules) {
  const auto exit_class = exit_class_from_string(key);
  if (!exit_class) return "there is no such exit class";
  if (!may_have_rule(*exit_class)) return "what ended so is never run again by itself";
  const auto parts = split(value, ':');
  RetryRule rule;
  const auto retries = number<std::uint16_t>(parts[0]);
  if (!retries || *retries > kMostRetries) return fmt::format("the count must be 0 to {}", kMostRetries);
  rule.retries = *retries;
  if (parts.size() > 4) return "it has too many parts";
  if (parts.size() > 1) {
    if (auto wrong = read_time(parts[1], rule.delay)) return wrong;
    rule.longest = std::max(rule.longest, rule.delay);
  }
  if (parts.size() > 2) {
    const auto backoff = number<double>(parts[2]);
    if (!backoff || !(*backoff >= 1 && *backoff <= kMostBackoff)) {
      return fmt::format("the back-off must be a factor from 1 to {}", kMostBackoff);
    }
    rule.backoff = *backoff;
  }
  if (parts.size() > 3) {
    if (auto wrong = read_time(parts[3], rule.longest)) return wrong;
    if (rule.longest < rule.delay) return "the longest delay is below the first";
  }
  if (!rules.classes.emplace(*exit_class, rule).second) return "the class comes twice";
  return std::nullopt;
}

const ClusterQueue* queue_named(const std::string& name, const std::vector<std::unique_ptr<ClusterQueue>>& queues) {
  if (name.empty()) return queues.empty() ? nullptr : queues.front().get();
  for (const auto& queue : queues) {
    if (queue->queue_name() == name) return queue.get();
  }
  return nullptr;
}

std::uint64_t times(double factor, std::uint64_t amount) {
  const double product = std::ceil(factor * static_cast<double>(amount));
  return product < 9e18 ? std::max(static_cast<std::uint64_t>(product), amount + 1) : amount;
}

// 0: it was not asked for.
std::uint64_t exhausted(const RequestedResources& resources, ExitClass exit_class) {
  if (exit_class == ExitClass::out_of_memory) return resources.memory_bytes.value_or(0);
  return static_cast<std::uint64_t>(std::max<std::int64_t>(0, resources.runtime_milliseconds.value_or(0)));
}

}  // namespace

std::chrono::milliseconds RetryRule::delay_before(std::uint16_t retry) const {
  const double wanted = static_cast<double>(delay.count()) * std::pow(backoff, retry - 1);
  if (!(wanted < static_cast<double>(longest.count()))) return longest;
  return std::chrono::milliseconds(std::llround(wanted));
}

bool may_have_rule(ExitClass exit_class) {
  return exit_class != ExitClass::done && exit_class != ExitClass::killed && exit_class != ExitClass::queueing_error;
}

Result<RetryRules> parse_retry_rules(std::string_view text) {
  RetryRules rules;
  if (text.empty()) return rules;
  for (const std::string_view rule : split(text, ',')) {
    const std::size_t equals = rule.find('=');
    std::optional<std::string> wrong = "it has no '='";
    if (equals != std::string_view::npos) {
      const std::string_view key = rule.substr(0, equals);
      const std::string_view value = rule.substr(equals + 1);
      const bool is_code = !key.empty() && key.find_first_not_of("0123456789") == std::string_view::npos;
      wrong = is_code          ? read_code(key, value, rules)
              : key == "defer" ? read_defer(value, rules)
                               : read_class(key, value, rules);
    }
    if (wrong)
      return fail(ErrorCode::fix_request, fmt::format("\"{}\" is no retry rule: {}; {}", rule, *wrong, kForms));
  }
  return rules;
}

std::string to_text(const RetryRules& rules) {
  std::string text;
  const auto add = [&text](std::string rule) { text += (text.empty() ? "" : ",") + std::move(rule); };
  for (const auto& [exit_class, rule] : rules.classes) {
    add(fmt::format("{}={}:{}:{}:{}", to_string(exit_class), rule.retries, format_duration(rule.delay.count()),
                    rule.backoff, format_duration(rule.longest.count())));
  }
  for (const auto& [code, meaning] : rules.codes) add(fmt::format("{}={}", code, name_of(meaning)));
  if (rules.defer) {
    add(fmt::format("defer={}:{}", format_duration(rules.defer->delay.count()),
                    format_duration(rules.defer->longest.count())));
  }
  return text;
}

RetryRules merged(const RetryRules& own, const RetryRules& base) {
  RetryRules both = own;
  both.classes.insert(base.classes.begin(), base.classes.end());
  both.codes.insert(base.codes.begin(), base.codes.end());
  if (!both.defer) both.defer = base.defer;
  return both;
}

std::string success_codes(const RetryRules& rules) {
  std::string codes;
  for (const auto& [code, meaning] : rules.codes) {
    if (meaning == CodeMeaning::success) codes += static_cast<char>(code);
  }
  return codes;
}

std::optional<RetryRule> rule_for(const ExitInfo& info, const RetryRules& own, const RetryPolicy& policy) {
  if (!may_have_rule(info.exit_class)) return std::nullopt;
  const RetryRules rules = merged(own, policy.rules);
  RetryRule rule;
  if (const auto known = rules.classes.find(info.exit_class); known != rules.classes.end()) {
    rule = known->second;
  } else if (info.exit_class == ExitClass::node_failed || info.exit_class == ExitClass::preempted ||
             info.exit_class == ExitClass::lost) {
    rule = kLossRule;
  }
  if (info.exit_class == ExitClass::error && info.exit_code) {
    const auto code = rules.codes.find(static_cast<std::uint8_t>(*info.exit_code));
    if (code != rules.codes.end()) {
      if (code->second == CodeMeaning::fatal || code->second == CodeMeaning::defer) return std::nullopt;
      if (code->second == CodeMeaning::retry && rule.retries == 0) rule.retries = kRetriesOfRetryCode;
    }
  }
  return rule.retries > 0 ? std::optional(rule) : std::nullopt;
}

std::optional<DeferRule> deferral_for(const ExitInfo& info, const RetryRules& own, const RetryPolicy& policy) {
  if (info.exit_class != ExitClass::error || !info.exit_code) return std::nullopt;
  const RetryRules rules = merged(own, policy.rules);
  const auto code = rules.codes.find(static_cast<std::uint8_t>(*info.exit_code));
  if (code == rules.codes.end() || code->second != CodeMeaning::defer) return std::nullopt;
  return rules.defer.value_or(DeferRule{});
}

std::optional<Escalation> escalate(const RequestedResources& asked, ExitClass exit_class, const UsageStats& usage,
                                   const RetryPolicy& policy,
                                   const std::vector<std::unique_ptr<ClusterQueue>>& queues) {
  Escalation next{asked, {}};
  const bool is_memory = exit_class == ExitClass::out_of_memory;
  const std::uint64_t before =
      is_memory || exit_class == ExitClass::timed_out ? exhausted(asked, exit_class) : std::uint64_t{0};
  if (before == 0) return next;
  std::string from;
  std::uint64_t wanted = times(policy.escalation_factor, before);
  if (const auto peak = usage.tree_peak_bytes ? usage.tree_peak_bytes : usage.max_rss_bytes; is_memory && peak) {
    // A peak is what was seen until the end: the task may have wanted any amount more. So the head-room never asks for
    // less than the factor does; nor does a peak below the limit, which was measured before the end came.
    if (const std::uint64_t roomy = times(policy.memory_headroom, *peak); *peak >= before && roomy > wanted) {
      wanted = roomy;
      from = fmt::format(" (peak {})", format_size_rounded(*peak));
    }
  }
  const auto set = [is_memory](RequestedResources& resources, std::uint64_t amount) {
    if (is_memory) {
      resources.memory_bytes = amount;
    } else {
      resources.runtime_milliseconds = static_cast<std::int64_t>(amount);
    }
  };
  set(next.resources, wanted);

  std::vector<const ClusterQueue*> candidates;
  const auto add = [&candidates](const ClusterQueue* queue) {
    if (queue != nullptr && std::find(candidates.begin(), candidates.end(), queue) == candidates.end())
      candidates.push_back(queue);
  };
  add(queue_named(asked.queue, queues));
  // Behind the task's own place in the list, if it has one there: what it has left behind is smaller.
  const auto own = candidates.empty() ? policy.fallback_queues.end()
                                      : std::find(policy.fallback_queues.begin(), policy.fallback_queues.end(),
                                                  candidates.front()->queue_name());
  const auto first = own == policy.fallback_queues.end() ? policy.fallback_queues.begin() : own + 1;
  for (auto name = first; name != policy.fallback_queues.end(); ++name) add(queue_named(*name, queues));
  const ClusterQueue* chosen = nullptr;
  for (const ClusterQueue* queue : candidates) {
    RequestedResources there = next.resources;
    there.queue = queue->queue_name();
    if (!queue->validate_resources(there, true).valid) continue;
    chosen = queue;
    break;
  }
  if (chosen == nullptr && !candidates.empty()) {
    chosen = candidates.back();
    next.resources = chosen->coerce_resources(next.resources);
    if (exhausted(next.resources, exit_class) <= before) return std::nullopt;
  }
  const bool moves = chosen != nullptr && chosen != candidates.front();
  if (moves) next.resources.queue = chosen->queue_name();
  const std::uint64_t after = exhausted(next.resources, exit_class);
  next.text = is_memory ? fmt::format("memory {} → {}{}", format_size_rounded(before), format_size_rounded(after), from)
                        : fmt::format("runtime {} → {}", format_duration(static_cast<std::int64_t>(before)),
                                      format_duration(static_cast<std::int64_t>(after)));
  if (moves) next.text += ", queue " + chosen->queue_name();
  return next;
}

}  // namespace allot
