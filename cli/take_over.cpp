// SPDX-License-Identifier: MIT
#include "cli/take_over.h"

#include <fmt/format.h>

#include "cli/console.h"
#include "engine/batch_home.h"

namespace allot::cli {

std::string describe(const DriverIdentity& driver) {
  return fmt::format("process {} on {}", driver.pid, driver.host);
}

Result<BatchDirectory> open_batch(const std::string& name) {
  auto path = find_batch(name);
  if (!path) return fail(std::move(path.error()));
  return BatchDirectory::open(*path);
}

Result<TakenOver> take_over(Services& services, const BatchDirectory& batch, const DrivingOptions& options,
                            bool from_other_host) {
  TakenOver taken;
  auto previous = batch.current_driver();
  if (!previous) return fail(std::move(previous.error()));
  taken.previous = std::move(*previous);
  if (!taken.previous) {
    return fail(ErrorCode::fix_request, batch.path() +
                                            ": its tasks were never read to the end, so none was started; remove it "
                                            "and use allot run again");
  }
  auto cluster =
      open_cluster(services, options.cluster.empty() ? batch.info().cluster : options.cluster, options.slots);
  if (!cluster) return fail(std::move(cluster.error()));
  auto parts = make_parts(*cluster);
  if (!parts) return fail(std::move(parts.error()));
  taken.parts = std::move(*parts);
  auto driver = batch.claim(from_other_host);
  if (!driver) return fail(std::move(driver.error()));
  taken.driver = std::move(*driver);
  return taken;
}

BeginState begin_again(const std::optional<DriverIdentity>& previous, RecoveryRequest request) {
  return [previous, request = std::move(request)](const DriverContext& context) -> Result<BatchState> {
    auto recovered = recover(context, previous, request);
    if (!recovered) return fail(std::move(recovered.error()));
    std::string text = fmt::format("resumed: {} ended before, {} with workers that live, {} recorded as lost",
                                   plural(recovered->ended_before, "task"), recovered->adopted, recovered->lost);
    if (request.run_again) text += fmt::format(", {} to run again", recovered->run_again);
    context.observer.notice(text);
    return std::move(recovered->state);
  };
}

}  // namespace allot::cli
