// SPDX-License-Identifier: MIT
// --cores, --memory and --timeout: what each task asks for that does not say so itself.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "protocol/resources.h"
#include "protocol/result.h"

namespace CLI {
class App;
}

namespace allot::cli {

struct ResourceOptions {
  std::optional<std::int64_t> cores;
  std::optional<std::string> memory, timeout;

  void describe(CLI::App& app);
  /// Errors: fix_request, naming the option.
  Result<RequestedResources> read() const;
};

}  // namespace allot::cli
