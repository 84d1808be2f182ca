// SPDX-License-Identifier: MIT
#include "cli/output_follow.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "cli/driver_watch.h"
#include "cli/file_watch.h"
#include "cli/summary.h"
#include "engine/control_desk.h"
#include "ledger/detail_reader.h"
#include "ledger/output_store.h"
#include "ledger/record_file.h"
#include "ledger/task_table.h"
#include "process/identity.h"

namespace allot::cli {
namespace {

constexpr std::size_t kBlockBytes = 1u << 20;
// Where inotify tells of nothing, or of too much.
constexpr int kFirstPauseMilliseconds = 200;
constexpr int kLongestPauseMilliseconds = 2000;
constexpr int kShortestPauseMilliseconds = 10;
constexpr std::chrono::seconds kAnswerBound{10};
// How long a driver that cannot be asked has to record that a task runs again.
constexpr std::chrono::seconds kDecisionBound{10};

/// A run that has begun and, when it was looked at, had not ended.
struct OpenRun {
  RunKey key;
  std::uint32_t number = 0;  // ALLOT_ATTEMPT
  std::string writer;
  OpenedRecord session;
  std::uint64_t start = 0;    // in the output file
  bool is_exact = true;       // false: something of a run that was lost may lie there, too
  std::uint64_t read_to = 0;  // of the record file
};

const OutputExtent& extent_of(const FinishedRecord& record, OutputStream stream) {
  return stream == OutputStream::standard_output ? record.standard_output : record.standard_error;
}

// A guard appends its tasks' output, one after the other. So a run's begins where the last one before it ended, unless
// a guard was killed over a run: of what that one had printed no record speaks.
Result<OpenRun> find_start(const BatchDirectory& batch, OpenRun run, OutputStream stream,
                           std::uint64_t started_offset) {
  bool is_running = false;
  const auto report =
      scan_record_file(batch.record_path(run.writer), 0, [&](const DecodedRecord& decoded, std::uint64_t offset) {
        if (offset >= started_offset) {
          const auto* started = std::get_if<StartedRecord>(&decoded.record);
          if (offset == started_offset && started != nullptr) run.number = started->attempt;
          return false;
        }
        if (std::holds_alternative<OpenedRecord>(decoded.record)) {
          run.is_exact = run.is_exact && !is_running;
          is_running = false;
        } else if (std::holds_alternative<StartedRecord>(decoded.record)) {
          is_running = true;
        } else if (const auto* finished = std::get_if<FinishedRecord>(&decoded.record)) {
          is_running = false;
          const OutputExtent& extent = extent_of(*finished, stream);
          if (finished->exit_info.exit_class == ExitClass::lost) {
            run.is_exact = false;
          } else if (extent.offset + extent.length > 0) {
            run.start = extent.offset + extent.length;
            run.is_exact = true;
          }
        }
        return true;
      });
  if (!report) return fail(report.error());
  run.read_to = started_offset;
  return run;
}

bool is_guarded(const OpenRun& run) {
  const OpenedRecord& session = run.session;
  return session.host == host_name() && session.boot_id == boot_id() &&
         is_alive({static_cast<pid_t>(session.pid), session.start_ticks});
}

class Follower {
 public:
  Follower(const BatchDirectory& batch, std::uint64_t step, OutputStream stream, StandardOutput& out)
      : batch_(batch), driver_(batch), step_(step), stream_(stream), out_(out) {}

  Result<void> run();

 private:
  Result<std::optional<OpenRun>> next_run();
  Result<OpenRun> open_run(const Fold& fold) const;
  Result<void> print_ended(const Fold& fold);
  Result<void> print_missed(const Fold& fold);
  void begin_run(const RunKey& key, std::uint32_t number);
  bool is_decided(const Holder& holder);
  Result<void> follow(OpenRun run);
  std::string read_more();
  Result<std::optional<FinishedRecord>> end_of(OpenRun& run);
  Result<void> finish(const OpenRun& run, const FinishedRecord& record, const std::string& more);
  Result<void> look_for_verdict(OpenRun& run);
  void pause(int milliseconds) {
    pollfd polled{files_.descriptor(), POLLIN, 0};
    const bool has_come = ::poll(&polled, 1, milliseconds) > 0;
    if (has_come) ::poll(nullptr, 0, kShortestPauseMilliseconds);
    files_.clear();
  }
  std::string what() const {
    return fmt::format("the {} of step {}", stream_ == OutputStream::standard_output ? "stdout" : "stderr", step_);
  }

  using Clock = std::chrono::steady_clock;

  const BatchDirectory& batch_;
  DriverWatch driver_;
  const std::uint64_t step_;
  const OutputStream stream_;
  StandardOutput& out_;
  FileWatch files_;
  Fd file_;
  std::string path_;
  std::uint64_t printed_to_ = 0;
  std::optional<RunKey> printed_;               // the latest run whose output was printed, or is being
  std::optional<Error> fault_;                  // what is wrong with the output of that run
  std::optional<Clock::time_point> failed_at_;  // when the task was first seen to have failed
};

// Of a task that had ended before it was looked at.
Result<void> Follower::print_ended(const Fold& fold) {
  auto detail = DetailReader(fold).detail(step_);
  if (!detail) return fail(std::move(detail.error()));
  return read_output(batch_, *detail, stream_, [this](std::string_view block) { return out_.write(block); });
}

// The runs after the one that was followed that have begun and ended since.
Result<void> Follower::print_missed(const Fold& fold) {
  const FoldedTask& task = fold.task(step_);
  if (!printed_ || RunKey{printed_->step, task.submission, task.restart} == *printed_) return {};
  auto history = DetailReader(fold).history(step_);
  if (!history) return fail(std::move(history.error()));
  for (const TaskRun& run : history->runs) {
    if (run.key <= *printed_ || run.started_ns == 0 || run.ended_ns == 0) continue;
    begin_run(run.key, run.number);
    TaskDetail detail;
    detail.step = step_;
    detail.folded.end_kind = run.output_writer.empty() ? EndKind::verdict : EndKind::finished;
    detail.distributor_id = run.distributor_id;
    detail.exit_info = run.end.value_or(ExitInfo{});
    detail.standard_output = run.standard_output;
    detail.standard_error = run.standard_error;
    detail.output_writer = run.output_writer;
    const auto read =
        read_output(batch_, detail, stream_, [this](std::string_view block) { return out_.write(block); });
    if (!read) fault_ = read.error();
  }
  return {};
}

// Tells of it where it is not the first one.
void Follower::begin_run(const RunKey& key, std::uint32_t number) {
  if (printed_) {
    out_.flush();
    if (fault_) tell_error(fmt::format("step {}: {}", step_, fault_->message));
    tell_error(fmt::format("step {} runs again (run {}); what that run prints follows", step_, number));
  }
  printed_ = key;
  fault_.reset();
  failed_at_.reset();
}

// Whether a task that has failed stays so. Who drives it decides that, and records only that it runs again.
bool Follower::is_decided(const Holder& holder) {
  const auto now = Clock::now();
  if (!failed_at_) failed_at_ = now;
  switch (holder.state) {
    case Holder::State::none:
    case Holder::State::gone:
    case Holder::State::left:
    case Holder::State::waiting:  // what the next driver runs again is not told as failed
      return true;
    case Holder::State::alive: {
      auto request = batch_request("explain", batch_.path());
      request["steps"] = std::to_string(step_);
      const auto reply = ask_driver(holder.process(), request, kAnswerBound);
      if (reply) return reply->value("reasons", nlohmann::json::array()).empty();
      break;
    }
    case Holder::State::elsewhere:
      break;
  }
  return now - *failed_at_ > kDecisionBound;
}

Result<OpenRun> Follower::open_run(const Fold& fold) const {
  const FoldedTask& task = fold.task(step_);
  OpenRun run;
  run.key = {static_cast<std::uint32_t>(step_), task.submission, task.restart};
  run.writer = fold.record_files()[task.file];
  run.session = fold.sessions()[task.file].value_or(OpenedRecord{});
  return find_start(batch_, std::move(run), stream_, task.started_offset);
}

// Nothing: the task has ended for good, and what it printed was printed.
Result<std::optional<OpenRun>> Follower::next_run() {
  std::optional<RunKey> decided;  // the run after which there is none
  for (int wait = kFirstPauseMilliseconds; !out_.is_closed(); wait = std::min(2 * wait, kLongestPauseMilliseconds)) {
    const auto holder = driver_.look();
    if (!holder) return fail(holder.error());
    const bool is_waiting = holder->state == Holder::State::waiting;
    const auto fold = is_waiting ? load_fold(batch_, *holder) : Fold::load(batch_);
    if (!fold) return fail(fold.error());
    if (auto printed = print_missed(*fold); !printed) return fail(std::move(printed.error()));
    const FoldedTask& task = fold->task(step_);
    const RunKey key{static_cast<std::uint32_t>(step_), task.submission, task.restart};
    if (task.state == TaskState::running) {
      if (printed_ == key) {  // its end was seen, and is not in the records any more
        return fail(ErrorCode::gave_up, "the records of step " + std::to_string(step_) + " cannot be read any more");
      }
      auto run = open_run(*fold);
      if (!run) return fail(std::move(run.error()));
      return std::optional(std::move(*run));
    }
    if (task.state != TaskState::waiting && task.state != TaskState::queued) {
      if (task.state == TaskState::failed && decided != key) {
        // Then it is looked at once more: the next run may have begun and ended before the driver was asked.
        if (is_decided(*holder)) {
          decided = key;
          continue;
        }
      } else {
        if (printed_) return std::optional<OpenRun>();
        return print_ended(*fold).map([] { return std::optional<OpenRun>(); });
      }
    } else {
      if (holder->state == Holder::State::left || holder->state == Holder::State::gone) {
        return fail(ErrorCode::not_available,
                    fmt::format("the task is {}, and nobody drives the batch: allot resume {} "
                                "goes on with it",
                                to_string(task.state), shown_name(batch_.path())));
      }
    }
    ::poll(nullptr, 0, wait);
  }
  return std::optional<OpenRun>();
}

std::string Follower::read_more() {
  if (!file_) file_ = open_regular(path_, O_RDONLY);
  if (!file_) return {};
  files_.add(path_);
  std::string block(kBlockBytes, '\0');
  const ssize_t n = pread_all(file_.get(), block.data(), block.size(), static_cast<off_t>(printed_to_));
  block.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  return block;
}

Result<std::optional<FinishedRecord>> Follower::end_of(OpenRun& run) {
  std::optional<FinishedRecord> end;
  const auto report =
      scan_record_file(batch_.record_path(run.writer), run.read_to, [&](const DecodedRecord& decoded, std::uint64_t) {
        const auto* finished = std::get_if<FinishedRecord>(&decoded.record);
        if (finished == nullptr || finished->key != run.key) return true;
        end = *finished;
        return false;
      });
  if (!report) return fail(report.error());
  run.read_to = report->valid_end;
  return end;
}

// `more` lies behind what was printed; of it the next task may have printed the end.
Result<void> Follower::finish(const OpenRun& run, const FinishedRecord& record, const std::string& more) {
  const OutputExtent& extent = extent_of(record, stream_);
  if (record.exit_info.exit_class == ExitClass::lost) {
    return fail(ErrorCode::gave_up, what() + " ends here, since the run was lost: " + record.exit_info.text);
  }
  if (!run.is_exact) printed_to_ = extent.offset;
  const bool is_elsewhere =
      extent.length > 0 && (extent.offset > printed_to_ || (run.is_exact && extent.offset != run.start));
  const std::uint64_t end = extent.offset + extent.length;
  if (is_elsewhere) {
    return fail(ErrorCode::gave_up, what() + " does not lie where it was looked for; allot output prints it");
  }
  if (run.is_exact) {
    const std::string_view rest(more.data(), std::min<std::uint64_t>(more.size(), end - std::min(end, printed_to_)));
    out_.write(rest);
    printed_to_ += rest.size();
  }
  while (printed_to_ < end && !out_.is_closed()) {
    const std::string block = read_more();
    const std::string_view rest(block.data(), std::min<std::uint64_t>(block.size(), end - printed_to_));
    if (rest.empty()) {
      return fail(ErrorCode::gave_up, fmt::format("{}: {} is incomplete: the file ends too early", path_, what()));
    }
    out_.write(rest);
    printed_to_ += rest.size();
  }
  if (extent.lost_bytes == 0) return {};
  return fail(ErrorCode::gave_up, fmt::format("{} is incomplete: {} could not be written when the task printed them",
                                              what(), plural(extent.lost_bytes, "byte")));
}

// Nobody lives, as far as it can be seen from here, who would record the run's end.
Result<void> Follower::look_for_verdict(OpenRun& run) {
  const auto holder = driver_.look();
  if (!holder) return fail(holder.error());
  const auto fold = Fold::load(batch_);
  if (!fold) return fail(fold.error());
  auto end = end_of(run);
  if (!end) return fail(end.error());
  if (*end) {
    run.read_to = 0;  // it came meanwhile: it is found again
    return {};
  }
  const FoldedTask& task = fold->task(step_);
  const bool is_current = task.submission == run.key.submission && task.restart == run.key.restart;
  if (task.state != TaskState::running || !is_current) {
    fault_ = {ErrorCode::gave_up, what() + " ends here: its run has no end of its own (allot status --why)"};
    return {};
  }
  const bool is_driven = holder->state == Holder::State::alive || holder->state == Holder::State::elsewhere ||
                         holder->state == Holder::State::waiting;
  if (is_driven) return {};
  return fail(ErrorCode::gave_up, fmt::format("{} ends here: its run has vanished, and nobody drives the batch; allot "
                                              "resume {} finds out what became of it",
                                              what(), shown_name(batch_.path())));
}

// What is wrong with the run's own output is kept in fault_.
Result<void> Follower::follow(OpenRun run) {
  begin_run(run.key, run.number);
  file_.reset();
  path_ = batch_.output_path(run.writer, stream_);
  printed_to_ = run.start;
  files_.add(batch_.record_path(run.writer));
  if (!run.is_exact) {
    tell_error(what() + " cannot be told from what a run that was lost has left before it: it is printed at its end");
  }
  int wait = kFirstPauseMilliseconds;
  while (!out_.is_closed()) {
    // Read first: the next task of the slot prints only after the end of this one is in the records.
    const std::string more = run.is_exact ? read_more() : std::string();
    auto end = end_of(run);
    if (!end) return fail(end.error());
    if (*end) {
      if (auto finished = finish(run, **end, more); !finished) fault_ = finished.error();
      return {};
    }
    if (!more.empty()) {
      out_.write(more);
      out_.flush();
      printed_to_ += more.size();
      wait = kFirstPauseMilliseconds;
      continue;
    }
    pause(wait);
    if (wait == kLongestPauseMilliseconds && !is_guarded(run)) {
      if (auto looked = look_for_verdict(run); !looked || fault_) return looked;
    }
    wait = std::min(2 * wait, kLongestPauseMilliseconds);
  }
  return {};
}

Result<void> Follower::run() {
  auto table = TaskTableReader::open(batch_.task_data_path(), batch_.task_index_path());
  if (!table) return fail(std::move(table.error()));
  const auto row = table->row(step_);
  if (!row) return fail(row.error());
  const std::string& own = stream_ == OutputStream::standard_output ? (*row)->stdout_path : (*row)->stderr_path;
  for (;;) {
    auto next = next_run();
    if (!next) return fail(std::move(next.error()));
    if (!*next) break;
    if (!own.empty()) {
      return fail(ErrorCode::not_available, what() + " is not in the batch: it is written to " + own);
    }
    if (auto followed = follow(std::move(**next)); !followed) return followed;
    out_.flush();
  }
  if (fault_) return fail(*fault_);
  return {};
}

}  // namespace

Result<void> follow_output(const BatchDirectory& batch, std::uint64_t step, OutputStream stream, StandardOutput& out) {
  return Follower(batch, step, stream, out).run();
}

}  // namespace allot::cli
