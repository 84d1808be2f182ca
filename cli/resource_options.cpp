// SPDX-License-Identifier: MIT
#include "cli/resource_options.h"

#include <CLI/CLI.hpp>

#include "protocol/units.h"

namespace allot::cli {

void ResourceOptions::describe(CLI::App& app) {
  app.add_option("--cores", cores, "Cores of each task that does not ask for others")->type_name("N");
  app.add_option("--memory", memory, "Memory limit of each task that does not ask for another: 512M, 1.5G")
      ->type_name("SIZE");
  app.add_option("--timeout", timeout, "Runtime limit of each task that does not ask for another: 90, 1h30m")
      ->type_name("TIME");
}

Result<RequestedResources> ResourceOptions::read() const {
  RequestedResources resources;
  if (cores) {
    if (*cores < 1 || *cores > 1'000'000) return fail(ErrorCode::fix_request, "--cores: must be 1 to 1000000");
    resources.cores = static_cast<std::uint32_t>(*cores);
  }
  if (memory) {
    auto size = parse_size(*memory);
    if (!size) return fail(size.error().with_context("--memory"));
    if (*size == 0) return fail(ErrorCode::fix_request, "--memory: must be more than 0");
    resources.memory_bytes = *size;
  }
  if (timeout) {
    auto duration = parse_duration(*timeout);
    if (!duration) return fail(duration.error().with_context("--timeout"));
    if (*duration == 0) return fail(ErrorCode::fix_request, "--timeout: must be more than 0");
    resources.runtime_milliseconds = *duration;
  }
  return resources;
}

}  // namespace allot::cli
