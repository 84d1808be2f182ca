// SPDX-License-Identifier: MIT
#include <algorithm>
#include <charconv>
#include <functional>
#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "cli/console.h"
#include "cli/driving.h"
#include "cli/output_follow.h"
#include "cli/task_report.h"
#include "cli/verb.h"
#include "engine/batch_home.h"
#include "ledger/detail_reader.h"
#include "ledger/output_store.h"
#include "protocol/step_ranges.h"

namespace allot::cli {
namespace {

std::optional<std::uint64_t> parse_number(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return number;
}

/// "7" or "3-9", both ends included, of a batch with `count` steps.
Result<StepRange> parse_steps(const std::string& text, std::uint64_t count) {
  const auto dash = text.find('-');
  const auto first = parse_number(std::string_view(text).substr(0, dash));
  const auto last = dash == std::string::npos ? first : parse_number(std::string_view(text).substr(dash + 1));
  if (!first || !last || *last < *first) {
    return fail(ErrorCode::fix_request, fmt::format("\"{}\" is no step: a number, or a range such as 3-9", text));
  }
  if (*last >= count) {
    return fail(ErrorCode::fix_request,
                count == 0 ? "the batch has no steps"
                           : fmt::format("there is no step {}; the steps are 0 to {}", *last, count - 1));
  }
  return StepRange{*first, *last - *first + 1};
}

class OutputVerb final : public Verb {
 public:
  std::string name() const override { return "output"; }
  std::string summary() const override { return "Print what tasks printed, byte for byte"; }
  VerbText text() const override {
    return {
        {"output [OPTIONS] BATCH [STEP...]", "output --follow [--stderr] BATCH STEP"},
        "Prints the standard output of tasks of a batch, one after the other in the order given; without steps, of all "
        "tasks in the order of their steps. Nothing is put between them.\n\n"
        "--follow prints what one task has printed so far and goes on until it has ended for good; for a task that has "
        "not started it waits. Where the task runs again, stderr says so, and what the next run prints follows. Output "
        "that goes to a file of the user's own is not followed. On a network file system, what a node has written may "
        "show late.\n\n"
        "Exit status: 0 if all of it was printed; 1 if the output of some step is missing (it has not ended, or its "
        "output went to a file of its own) or was not kept whole: stderr tells which; 2 for wrong usage; 3 if the "
        "batch is damaged, or standard output cannot be written. A reader that goes away before the end (allot output "
        "BATCH | head) wanted no "
        "more: that is no error, and nothing is said.",
        {{"allot output 06ecx1", "all outputs, in order"},
         {"allot output ./batch 0 5-7", "those of four steps"},
         {"allot output --follow ./batch 3", "what step 3 prints, as it comes"},
         {"allot output ./batch 3 --stderr", "what step 3 printed to stderr"}}};
  }

  void describe(CLI::App& app) override {
    app.add_option("BATCH", batch_, "Directory of the batch, or its id, or the beginning of its id")
        ->type_name("BATCH")
        ->required();
    app.add_option("STEP", steps_, "A step (0 is the first), or a range such as 3-9")->type_name("STEP");
    app.add_flag("--stderr", stderr_, "Print standard error instead");
    app.add_flag("-f,--follow", follow_, "Go on with what the task prints until it has ended for good");
    app.add_flag("--json", json_,
                 "A JSON object per task and line: step, stream, output, output_base64 if that is no UTF-8, "
                 "error");
  }

  int run(Services&) override;

 private:
  Result<void> read(const BatchDirectory& batch, DetailReader& details, std::uint64_t step,
                    const std::function<bool(std::string_view)>& sink) const;
  int follow(const BatchDirectory& batch, const Fold& fold, const StepRange& wanted) const;
  bool print(const BatchDirectory& batch, DetailReader& details, std::uint64_t step, StandardOutput& out) const;
  OutputStream stream() const { return stderr_ ? OutputStream::standard_error : OutputStream::standard_output; }

  std::string batch_;
  std::vector<std::string> steps_;
  bool stderr_ = false, json_ = false, follow_ = false;
};

Result<void> OutputVerb::read(const BatchDirectory& batch, DetailReader& details, std::uint64_t step,
                              const std::function<bool(std::string_view)>& sink) const {
  const auto detail = details.detail(step);
  if (!detail) return fail(detail.error());
  return read_output(batch, *detail, stream(), sink);
}

bool OutputVerb::print(const BatchDirectory& batch, DetailReader& details, std::uint64_t step,
                       StandardOutput& out) const {
  if (!json_) {
    const auto done = read(batch, details, step, [&](std::string_view block) { return out.write(block); });
    if (done) return true;
    out.flush();  // so that the message stands where the output ends
    tell_error(fmt::format("step {}: {}", step, done.error().message));
    return false;
  }
  std::string bytes;
  const auto done = read(batch, details, step, [&](std::string_view block) {
    bytes.append(block);
    return true;
  });
  nlohmann::ordered_json json;
  json["step"] = step;
  json["stream"] = stderr_ ? "stderr" : "stdout";
  json["output"] = bytes;
  if (!is_utf8(bytes)) json["output_base64"] = base64(bytes);
  json["error"] = done ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(done.error().message);
  out.write(one_line(json));
  return done.has_value();
}

int OutputVerb::follow(const BatchDirectory& batch, const Fold& fold, const StepRange& wanted) const {
  if (wanted.count != 1 || wanted.first >= fold.size()) {
    return tell_failure({ErrorCode::fix_request, "--follow is about one STEP that is there"});
  }
  StandardOutput out;
  const auto done = follow_output(batch, wanted.first, stream(), out);
  out.flush();
  if (!done) tell_error(fmt::format("step {}: {}", wanted.first, done.error().message));
  return out.close(done ? kSuccess : kNotAll);
}

int OutputVerb::run(Services&) {
  const auto fail_with = [](int status, const Error& error) {
    tell_error(error.message);
    return status;
  };
  if (follow_ && (steps_.size() != 1 || json_)) {
    return fail_with(kMisuse, {ErrorCode::fix_request, "--follow is about one STEP, and goes not with --json"});
  }
  auto path = find_batch(batch_);
  if (!path) return fail_with(kMisuse, path.error());
  auto batch = BatchDirectory::open(*path);
  if (!batch) return tell_failure(batch.error());
  auto fold = Fold::load(*batch);
  if (!fold) return fail_with(kEnvironment, fold.error());
  std::vector<StepRange> wanted;
  for (const auto& text : steps_) {
    auto range = parse_steps(text, fold->size() + fold->missing_steps());
    if (!range) return fail_with(kMisuse, range.error());
    wanted.push_back(*range);
  }
  if (follow_) return follow(*batch, *fold, wanted.front());
  if (steps_.empty()) wanted.push_back({0, fold->size() + fold->missing_steps()});

  DetailReader details(*fold);
  StandardOutput out;
  std::uint64_t faults = 0;
  for (const auto& range : wanted) {
    const std::uint64_t end = range.first + range.count;
    for (std::uint64_t step = range.first; step < std::min(end, fold->size()) && !out.is_closed(); ++step) {
      if (!print(*batch, details, step, out)) ++faults;
    }
    if (end <= fold->size()) continue;
    ++faults;
    out.flush();
    tell_error(fmt::format("{}: damaged: the steps from {} to {} are missing", batch->task_index_path(),
                           std::max(range.first, fold->size()), end - 1));
  }
  return out.close(faults == 0 ? kSuccess : kNotAll);
}

}  // namespace

std::unique_ptr<Verb> make_output_verb() {
  return std::make_unique<OutputVerb>();
}

}  // namespace allot::cli
