// SPDX-License-Identifier: MIT
// Files and descriptors that a contract test makes and looks at.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/temp_directory.h"

namespace allot::contract {

using TempDir = test::TempDirectory;

/// Both fail the test with path and reason when the file cannot be written or read.
void write_text(const std::string& path, std::string_view bytes, unsigned mode = 0644);
std::string read_text(const std::string& path);
std::vector<std::string> read_lines(const std::string& path);
bool exists(const std::string& path);

/// Descriptors that this process has open.
std::size_t open_descriptors();

/// The processes that are children (of children) of this one, as "pid (name)" for a failure's message.
std::vector<std::string> own_descendants();

}  // namespace allot::contract
