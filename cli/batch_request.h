// SPDX-License-Identifier: MIT
// What verbs that ask a batch's driver for something have in common.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/take_over.h"
#include "cli/verb.h"
#include "ledger/record.h"

namespace allot::cli {

/// --steps and --state.
struct SelectionOptions {
  std::optional<std::string> steps;
  std::vector<std::string> states;

  void describe(CLI::App& app, bool with_running);
  Result<TaskSelection> selection() const;
};

/// Errors: fix_request, naming the step that the batch does not have.
Result<void> check_steps(const BatchDirectory& batch, const std::optional<StepRanges>& steps);

/// Asks the driver of the batch, if one lives on this host. Nothing: none does, and nobody else drives it. A driver
/// that ends while it is asked is waited for, and counts as one that does not live. Errors: the driver's own, and a
/// driver on another host.
Result<std::optional<nlohmann::json>> ask_if_driven(const BatchDirectory& batch, const nlohmann::json& request,
                                                    std::chrono::milliseconds timeout);

/// Claims a batch that nobody drives and records something in its ledger.
Result<void> record_without_driving(const BatchDirectory& batch, const std::vector<Record>& records);

}  // namespace allot::cli
