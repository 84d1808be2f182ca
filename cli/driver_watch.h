// SPDX-License-Identifier: MIT
// Who drives a batch, asked again and again: each look reads only what the driver has written since the last one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "cli/background.h"
#include "cli/take_over.h"

namespace allot::cli {

std::string_view to_string(Holder::State state);
/// Nothing for an unknown name.
std::optional<Holder::State> holder_state_from_string(std::string_view name);
/// Of a batch that is `waiting`: for whom, and what there is to do about it.
std::string waiting_text(const BatchDirectory& batch, const Holder& holder);
/// Of a batch that its driver has left to a job of the user's own (allot worker): which one. Nothing: it is none, or it
/// has been resumed since.
std::optional<std::string> script_text(const BatchDirectory& batch, const Holder& holder);
/// How a batch goes on whose driver has left it or is gone: "allot resume 06ecx1 finishes it".
std::string resume_text(const BatchDirectory& batch, const Holder& holder);
/// The records of a batch as the driver reads them that is to go on with it: what that runs again of its own accord
/// waits, although its last run has ended. Of a batch that is for nobody they are as they stand. Errors: Fold::load().
Result<Fold> load_fold(const BatchDirectory& batch, const Holder& holder);
/// The object "driver" of docs/json.md.
nlohmann::ordered_json driver_json(const Holder& holder);

class DriverWatch {
 public:
  explicit DriverWatch(BatchDirectory batch) : batch_(std::move(batch)) {}

  /// Errors: gave_up (the claims or the driver's records cannot be read).
  Result<Holder> look();

  const BatchDirectory& batch() const { return batch_; }
  /// What the driver said when it left, and when (Unix time in nanoseconds); of the latest look, if it saw `left`.
  const std::string& reason() const { return reason_; }
  std::int64_t left_ns() const { return left_ns_; }

 private:
  bool is_handed_over() const { return has_left_ && reason_ == kHandedOver; }
  Result<Holder> look_at_driver();
  Result<bool> look_at_background(Holder& holder);
  bool has_work(const Holder& holder);
  Result<void> read_records(std::uint64_t epoch);

  BatchDirectory batch_;
  std::uint64_t epoch_ = 0;
  std::uint64_t read_to_ = 0;
  bool has_left_ = false;
  std::string reason_;
  std::int64_t left_ns_ = 0;
  std::optional<bool> has_work_;  // of the epoch, once it was asked for
};

}  // namespace allot::cli
