// SPDX-License-Identifier: MIT
// What happens to a task that did not end well: the retry table by exit class, and how much more it then asks for.
//
// The table comes from the cluster's file ([retry], docs/clusters.md), is overridden for a batch (allot run --retry)
// and again for a task ("retry" in its line). An override is kept as text, in the batch and in the task's row:
//   RULES   := RULE { "," RULE }
//   RULE    := CLASS "=" COUNT [ ":" DELAY [ ":" BACKOFF [ ":" LONGEST ] ] ]   "error=3:10s:2:1h"
//            | CODE  "=" ( "retry" | "fatal" | "success" | "defer" )           "75=retry"
//            | "defer" "=" DELAY [ ":" LONGEST ]                               "defer=5m:12h"
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/cluster_queue.h"
#include "protocol/exit_info.h"
#include "protocol/resources.h"
#include "protocol/result.h"
#include "protocol/usage_stats.h"

namespace allot {

/// Further runs after an end of one class. The n-th of them begins `delay` · `backoff`^(n-1) after the end, `longest`
/// at most.
struct RetryRule {
  std::uint16_t retries = 0;
  std::chrono::milliseconds delay{0};
  double backoff = 2;
  std::chrono::milliseconds longest{std::chrono::hours(1)};
  friend bool operator==(const RetryRule&, const RetryRule&) = default;

  std::chrono::milliseconds delay_before(std::uint16_t retry) const;  ///< `retry`: 1 for the first
};

/// What an exit status of the command other than 0 says.
enum class CodeMeaning : std::uint8_t {
  retry,    ///< run it again, by the rule for error (three times if that says 0)
  fatal,    ///< never run it again
  success,  ///< it is done
  defer,    ///< run it again later, which is no failure
};

/// What a task asks for that ends with a code that means defer: another run after `delay`, until `longest` has passed
/// since its first such end.
struct DeferRule {
  std::chrono::milliseconds delay{std::chrono::minutes(1)};
  std::chrono::milliseconds longest{std::chrono::hours(1)};
  friend bool operator==(const DeferRule&, const DeferRule&) = default;
};

/// Rules, as far as they are given: those of a file, of a batch, or of a task.
struct RetryRules {
  std::map<ExitClass, RetryRule> classes;
  std::map<std::uint8_t, CodeMeaning> codes;
  std::optional<DeferRule> defer;
  friend bool operator==(const RetryRules&, const RetryRules&) = default;

  bool empty() const { return classes.empty() && codes.empty() && !defer; }
};

/// An empty text: no rules. Errors: fix_request (the message quotes the rule and says what is expected).
Result<RetryRules> parse_retry_rules(std::string_view text);
/// The inverse.
std::string to_text(const RetryRules& rules);
/// `own` where it says something, else `base`.
RetryRules merged(const RetryRules& own, const RetryRules& base);
/// The classes that may have a rule: every one but done, killed and queueing_error.
bool may_have_rule(ExitClass exit_class);
/// The exit codes that mean success, in ascending order: for the task's row, which the worker node reads.
std::string success_codes(const RetryRules& rules);

/// How long a task may be silent: the distributor does not have it, and has told no end of it.
struct TriageRules {
  std::chrono::milliseconds interval{30'000};  ///< how often the distributor is asked what it has
  std::chrono::milliseconds patience{60'000};  ///< how long a silent task may come back before it is judged
};

/// A cluster's table.
struct RetryPolicy {
  RetryRules rules;
  double memory_headroom = 1.2;              ///< out_of_memory: times the measured peak, if that is more than
  double escalation_factor = 1.5;            ///< this times what it had; and for the runtime
  std::vector<std::string> fallback_queues;  ///< where what grew out of its queue may go, in this order
  std::uint32_t exclude_node_after = 3;      ///< failures of a node in a row, after which it gets no more; 0: never
  std::optional<std::uint32_t> max_running;  ///< tasks of a batch queued or running at once
  TriageRules triage;
};

/// The rule for an end: what `own` says, else `policy`, else none for the task's own failures and three runs at once
/// for node_failed, preempted and lost. Nothing: it is not to run again, whatever the budget.
std::optional<RetryRule> rule_for(const ExitInfo& info, const RetryRules& own, const RetryPolicy& policy);

/// The rule if that end asks for another run later; nothing if it does not.
std::optional<DeferRule> deferral_for(const ExitInfo& info, const RetryRules& own, const RetryPolicy& policy);

/// What a task is to ask for next, after an end that was not its last.
struct Escalation {
  RequestedResources resources;
  std::string text;  ///< "memory 512M → 768M (peak 640M), queue long"; empty: as before
};

/// After out_of_memory and timed_out the exhausted resource, where it was asked for, grows: memory by a factor or to
/// the measured peak with head-room, whichever is more; runtime by a factor. The first of the task's own queue and then
/// the fallback queues that takes the request as it is (strictly) is chosen; where none does, the request is clamped to
/// the last of them. After other ends nothing changes. Nothing: no queue gives more than was asked for.
std::optional<Escalation> escalate(const RequestedResources& asked, ExitClass exit_class, const UsageStats& usage,
                                   const RetryPolicy& policy, const std::vector<std::unique_ptr<ClusterQueue>>& queues);

}  // namespace allot
