// SPDX-License-Identifier: MIT
// What is asked of a cluster, as people and programs are shown it. The queue is shown by those who know which it is.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "protocol/resources.h"

namespace allot::cli {

/// The object "resources" of docs/json.md, every member; null is what was not asked for.
nlohmann::ordered_json resources_json(const RequestedResources& resources);

/// ", 2 cores, memory 1G"; empty for nothing.
std::string resources_text(const RequestedResources& resources);

}  // namespace allot::cli
