// SPDX-License-Identifier: MIT
// Tasks as JSON lines, read twice: names may be used before they are given, and nothing is made while a line is bad.
#pragma once

#include <memory>
#include <string>

#include "engine/delimited_reader.h"
#include "engine/task_source.h"

namespace allot {

std::unique_ptr<TaskSource> make_json_source(DelimitedReader reader, std::string base_directory);

}  // namespace allot
