// SPDX-License-Identifier: MIT
#include "cli/driver_watch.h"

#include <array>

#include "cli/console.h"
#include "ledger/record_file.h"
#include "ledger/writer_name.h"

namespace allot::cli {
namespace {

using State = Holder::State;
constexpr std::array kStates = {State::none, State::left, State::alive, State::gone, State::elsewhere};

bool is_alive_here(const Holder& holder) {
  return holder.driver->boot_id == boot_id() && is_alive(holder.process());
}

}  // namespace

std::string_view to_string(State state) {
  switch (state) {
    case State::none:
      return "none";
    case State::left:
      return "left";
    case State::alive:
      return "alive";
    case State::gone:
      return "gone";
    case State::elsewhere:
      break;
  }
  return "elsewhere";
}

std::optional<State> holder_state_from_string(std::string_view name) {
  for (const State state : kStates) {
    if (to_string(state) == name) return state;
  }
  return std::nullopt;
}

nlohmann::ordered_json driver_json(const Holder& holder) {
  using Json = nlohmann::ordered_json;
  const auto& driver = holder.driver;
  Json json;
  json["state"] = to_string(holder.state);
  json["host"] = driver ? Json(driver->host) : Json(nullptr);
  json["pid"] = driver ? Json(driver->pid) : Json(nullptr);
  json["epoch"] = driver ? Json(driver->epoch) : Json(nullptr);
  json["since"] = driver ? Json(time_text(driver->since_ns)) : Json(nullptr);
  return json;
}

Result<Holder> DriverWatch::look() {
  auto driver = batch_.current_driver();
  if (!driver) return fail(std::move(driver.error()));
  Holder holder;
  holder.driver = std::move(*driver);
  if (!holder.driver) return holder;
  if (auto read = read_records(holder.driver->epoch); !read) return fail(std::move(read.error()));
  holder.state = State::left;
  if (has_left_) return holder;
  holder.state = holder.driver->host != host_name() ? State::elsewhere
                 : is_alive_here(holder)            ? State::alive
                                                    : State::gone;
  if (holder.state != State::gone) return holder;
  // It may have left, and ended, since its records were read.
  if (auto read = read_records(holder.driver->epoch); !read) return fail(std::move(read.error()));
  if (has_left_) holder.state = State::left;
  return holder;
}

Result<void> DriverWatch::read_records(std::uint64_t epoch) {
  if (epoch != epoch_) {
    epoch_ = epoch;
    read_to_ = 0;
    has_left_ = false;
  }
  const auto report = scan_record_file(batch_.record_path(driver_writer_name(epoch)), read_to_,
                                       [this](const DecodedRecord& decoded, std::uint64_t) {
                                         const auto* ended = std::get_if<EndedRecord>(&decoded.record);
                                         has_left_ = ended != nullptr;
                                         if (ended == nullptr) return true;
                                         reason_ = ended->reason;
                                         left_ns_ = ended->at_ns;
                                         return true;
                                       });
  if (!report) return fail(report.error());
  read_to_ = report->valid_end;
  return {};
}

}  // namespace allot::cli
