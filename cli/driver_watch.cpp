// SPDX-License-Identifier: MIT
#include "cli/driver_watch.h"

#include <array>

#include <fmt/format.h>

#include "cli/console.h"
#include "cli/summary.h"
#include "engine/driver_context.h"
#include "engine/recovery.h"
#include "engine/script_batch.h"
#include "ledger/record_file.h"
#include "ledger/writer_name.h"

namespace allot::cli {
namespace {

using State = Holder::State;
constexpr std::array kStates = {State::none, State::left, State::waiting, State::alive, State::gone, State::elsewhere};

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
    case State::waiting:
      return "waiting";
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

std::string waiting_text(const BatchDirectory& batch, const Holder& holder) {
  if (holder.driver->host != host_name()) {
    return "it was handed over to the background driver of host " + holder.driver->host +
           ", which cannot be seen from here";
  }
  if (holder.background) {
    return fmt::format("it waits for the background driver (process {}) to begin with it", holder.background->pid);
  }
  if (!holder.is_in_queue) return "it is being handed over to the background driver";
  const std::string name = shown_name(batch.path());
  return fmt::format(
      "it waits for the background driver, and none lives: the next allot submit starts one, and so does allot resume "
      "--background {}; allot resume {} finishes it here",
      name, name);
}

std::optional<std::string> script_text(const BatchDirectory& batch, const Holder& holder) {
  if (holder.state != State::left || !holder.driver || holder.driver->epoch != 1) return std::nullopt;
  const auto job = script_job_of(batch);
  if (!job || !*job) return std::nullopt;
  return fmt::format("{} job {} runs it without a driver", (*job)->scheduler == "slurm" ? "Slurm" : (*job)->scheduler,
                     (*job)->job_id);
}

std::string resume_text(const BatchDirectory& batch, const Holder& holder) {
  if (const auto script = script_text(batch, holder)) {
    return *script + "; allot resume " + shown_name(batch.path()) + " follows that job and runs what it leaves undone";
  }
  std::string resume = "allot resume " + shown_name(batch.path()) + " finishes it";
  if (holder.is_in_queue) return "the next background driver goes on with it, or " + resume + " here";
  if (!holder.is_dropped) return resume;
  const auto queue = BackgroundQueue::at(batch.info().cluster);
  return fmt::format("the background driver has dropped it{}; {}",
                     queue ? " (" + queue->log_path() + " may say why)" : "", resume);
}

Result<Fold> load_fold(const BatchDirectory& batch, const Holder& holder) {
  auto fold = Fold::load(batch);
  if (fold && holder.goes_on) fold->reopen([](const FoldedTask& task) { return runs_again(task, true); });
  return fold;
}

nlohmann::ordered_json driver_json(const Holder& holder) {
  using Json = nlohmann::ordered_json;
  const auto& driver = holder.driver;
  Json json;
  json["state"] = to_string(holder.state);
  json["host"] = driver ? Json(driver->host) : Json(nullptr);
  json["pid"] = driver ? Json(driver->pid) : Json(nullptr);
  json["epoch"] = driver ? Json(driver->epoch) : Json(nullptr);
  const bool waits = holder.state == State::waiting && holder.background.has_value();
  json["background_pid"] = waits ? Json(holder.background->pid) : Json(nullptr);
  json["since"] = driver ? Json(time_text(driver->since_ns)) : Json(nullptr);
  return json;
}

Result<Holder> DriverWatch::look() {
  for (;;) {
    auto holder = look_at_driver();
    if (!holder || (holder->state != State::left && holder->state != State::gone)) return holder;
    const auto is_final = look_at_background(*holder);
    if (!is_final) return fail(is_final.error());
    if (*is_final) return holder;
  }
}

// Whether a driver of the background is to take the batch up. False: one has done so meanwhile.
Result<bool> DriverWatch::look_at_background(Holder& holder) {
  const bool is_handed = is_handed_over();
  if (holder.driver->host != host_name()) {
    if (is_handed) holder.state = State::waiting;
    return true;
  }
  const auto queue = BackgroundQueue::at(batch_.info().cluster);
  if (!queue) return true;  // without a place for it there is no background
  // In this order: whoever hands a batch over puts it into the queue before it ends.
  const bool is_handing = is_handed && is_alive_here(holder);
  holder.is_in_queue = queue->contains(batch_.info().batch_id);
  if (holder.is_in_queue) holder.background = queue->driver();
  // One that was killed, or told to leave, has left its batches in the queue for the next one.
  holder.goes_on = holder.is_in_queue && (holder.state == State::gone || reason_ != kAllEnded);
  const bool is_its_driver = holder.background && *holder.background == holder.process();
  const bool is_leaving = is_its_driver && reason_ == kStopped;
  if (is_leaving) holder.background.reset();  // it begins with nothing any more
  bool is_left_over = !is_handed && holder.goes_on;
  if (is_left_over && !holder.background) {
    is_left_over = holder.state == State::left && has_work(holder);
  } else if (is_its_driver) {
    is_left_over = false;  // it has given the batch up, and does not begin with it again by itself
  }
  if (is_handing || (is_handed && holder.is_in_queue) || is_left_over) {
    holder.state = State::waiting;
  } else if (is_handed) {
    const auto now = batch_.current_driver();
    if (!now) return fail(now.error());
    if (*now && (*now)->epoch != holder.driver->epoch) return false;
    holder.is_dropped = true;
  }
  return true;
}

// What cannot be read is told by whoever reads it next.
bool DriverWatch::has_work(const Holder& holder) {
  if (!has_work_) {
    const auto fold = load_fold(batch_, holder);
    const std::uint64_t ended =
        fold ? fold->count(TaskState::done) + fold->count(TaskState::failed) + fold->count(TaskState::abandoned) : 0;
    has_work_ = fold && ended < fold->size() + fold->missing_steps();
  }
  return *has_work_;
}

Result<Holder> DriverWatch::look_at_driver() {
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
    has_work_.reset();
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
