// SPDX-License-Identifier: MIT
// batch.json and the files of epochs/ as JSON. For the ledger and those who pass on what is in it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "ledger/batch_directory.h"
#include "protocol/result.h"

namespace allot::ledger {

/// JSON text is UTF-8, paths may be anything: what is no UTF-8 is written as {"hex": "…"}.
nlohmann::json text_to_json(const std::string& text);
/// The inverse; nothing for anything else.
std::optional<std::string> text_from_json(const nlohmann::json& value);

std::string to_json(const BatchInfo& info);
std::string to_json(const DriverIdentity& driver);

/// Errors name `path`, the key and what was expected: fix_request for a format newer than kBatchFormat, gave_up for
/// text that is no JSON object, or lacks a key, or has one of the wrong type. Keys that are not known are ignored.
Result<BatchInfo> parse_batch_info(std::string_view text, const std::string& path);
Result<DriverIdentity> parse_driver_identity(std::string_view text, const std::string& path);

}  // namespace allot::ledger
