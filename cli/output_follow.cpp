// SPDX-License-Identifier: MIT
#include "cli/output_follow.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include <fmt/format.h>

#include "cli/driver_watch.h"
#include "cli/file_watch.h"
#include "cli/summary.h"
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

/// A run that has begun and, when it was looked at, had not ended.
struct OpenRun {
  RunKey key;
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
        if (offset >= started_offset) return false;
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
  Result<std::optional<OpenRun>> wait_for_start();
  Result<void> print_ended(const Fold& fold);
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

  const BatchDirectory& batch_;
  DriverWatch driver_;
  const std::uint64_t step_;
  const OutputStream stream_;
  StandardOutput& out_;
  FileWatch files_;
  Fd file_;
  std::string path_;
  std::uint64_t printed_to_ = 0;
};

Result<void> Follower::print_ended(const Fold& fold) {
  auto detail = DetailReader(fold).detail(step_);
  if (!detail) return fail(std::move(detail.error()));
  return read_output(batch_, *detail, stream_, [this](std::string_view block) { return out_.write(block); });
}

// Nothing: the task has ended, and what it printed was printed.
Result<std::optional<OpenRun>> Follower::wait_for_start() {
  for (int wait = kFirstPauseMilliseconds; !out_.is_closed(); wait = std::min(2 * wait, kLongestPauseMilliseconds)) {
    const auto holder = driver_.look();
    if (!holder) return fail(holder.error());
    const auto fold = Fold::load(batch_);
    if (!fold) return fail(fold.error());
    const FoldedTask& task = fold->task(step_);
    if (task.state == TaskState::running) {
      OpenRun run;
      run.key = {static_cast<std::uint32_t>(step_), task.submission, task.restart};
      run.writer = fold->record_files()[task.file];
      run.session = fold->sessions()[task.file].value_or(OpenedRecord{});
      auto found = find_start(batch_, std::move(run), stream_, task.started_offset);
      if (!found) return fail(found.error());
      return std::optional(std::move(*found));
    }
    if (task.state != TaskState::waiting && task.state != TaskState::queued) {
      return print_ended(*fold).map([] { return std::optional<OpenRun>(); });
    }
    if (holder->state == Holder::State::left || holder->state == Holder::State::gone) {
      return fail(ErrorCode::not_available, fmt::format("the task is {}, and nobody drives the batch: allot resume {} "
                                                        "goes on with it",
                                                        to_string(task.state), shown_name(batch_.path())));
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
  if (task.state != TaskState::running || task.submission != run.key.submission) {
    return fail(ErrorCode::gave_up, what() + " ends here: its run has no end of its own (allot status --why)");
  }
  const bool is_driven = holder->state == Holder::State::alive || holder->state == Holder::State::elsewhere ||
                         holder->state == Holder::State::waiting;
  if (is_driven) return {};
  return fail(ErrorCode::gave_up, fmt::format("{} ends here: its run has vanished, and nobody drives the batch; allot "
                                              "resume {} finds out what became of it",
                                              what(), shown_name(batch_.path())));
}

Result<void> Follower::follow(OpenRun run) {
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
    if (*end) return finish(run, **end, more);
    if (!more.empty()) {
      out_.write(more);
      out_.flush();
      printed_to_ += more.size();
      wait = kFirstPauseMilliseconds;
      continue;
    }
    pause(wait);
    if (wait == kLongestPauseMilliseconds && !is_guarded(run)) {
      if (auto looked = look_for_verdict(run); !looked) return looked;
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
  auto started = wait_for_start();
  if (!started) return fail(std::move(started.error()));
  if (!*started) return {};
  if (!own.empty()) {
    return fail(ErrorCode::not_available, what() + " is not in the batch: it is written to " + own);
  }
  return follow(std::move(**started));
}

}  // namespace

Result<void> follow_output(const BatchDirectory& batch, std::uint64_t step, OutputStream stream, StandardOutput& out) {
  return Follower(batch, step, stream, out).run();
}

}  // namespace allot::cli
