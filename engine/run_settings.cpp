// SPDX-License-Identifier: MIT
#include "engine/run_settings.h"

namespace allot {

Result<RunSettings> run_settings(const BatchDirectory& batch, const RetryPolicy& cluster) {
  const BatchInfo& info = batch.info();
  const auto rules = parse_retry_rules(info.retry);
  if (!rules) return fail(ErrorCode::gave_up, batch.path() + "/batch.json: " + rules.error().message);
  RunSettings settings;
  settings.retry = cluster;
  settings.retry.rules = merged(*rules, cluster.rules);
  if (info.max_running) settings.retry.max_running = info.max_running;
  return settings;
}

}  // namespace allot
