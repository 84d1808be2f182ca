// SPDX-License-Identifier: MIT
// allot output: what tasks printed, byte for byte, in order.
#include <unistd.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cerrno>

#include "cli/batch_lookup.h"
#include "cli/context.h"
#include "ledger/detail_reader.h"
#include "ledger/output_store.h"
#include "process/fd.h"
#include "worker_node/by_hand.h"

namespace allot {
namespace {

struct OutputOptions {
  std::string batch;
  std::vector<std::string> steps;
  bool standard_error = false;
};

int show_output(const OutputOptions& options) {
  auto batch = open_batch(options.batch);
  if (!batch) return complain(kExitEnvironment, batch.error().message);
  auto fold = Fold::load(*batch);
  if (!fold) return complain(kExitEnvironment, fold.error().message);
  std::vector<StepRanges> wanted;
  for (const std::string& text : options.steps) {
    auto steps = parse_steps(text);
    if (!steps) return complain(kExitMisuse, steps.error().message);
    if (steps->back() >= fold->size()) {
      return complain(kExitMisuse, "step " + std::to_string(steps->back()) + " is not in " + batch->path() +
                                       ": its steps are 0 to " + std::to_string(fold->size() - 1));
    }
    wanted.push_back(std::move(*steps));
  }
  if (options.steps.empty() && fold->size() > 0) wanted.emplace_back(0, fold->size());

  const OutputStream stream = options.standard_error ? OutputStream::standard_error : OutputStream::standard_output;
  DetailReader reader(*fold);
  int status = kExitDone;
  int write_errno = 0;
  for (const StepRanges& steps : wanted) {
    for (const StepRange& range : steps.ranges()) {
      for (std::uint64_t step = range.first; step < range.first + range.count && write_errno == 0; ++step) {
        auto detail = reader.detail(step);
        Result<void> read;
        if (!detail) {
          read = fail(detail.error());
        } else {
          read = read_output(*batch, *detail, stream, [&](std::string_view bytes) {
            if (!write_all(STDOUT_FILENO, bytes)) write_errno = errno;
            return write_errno == 0;
          });
        }
        if (!read) status = complain(kExitNotDone, "step " + std::to_string(step) + ": " + read.error().message);
      }
    }
  }
  if (write_errno != 0) return complain(kExitNotDone, "standard output: " + errno_text(write_errno));
  return status;
}

}  // namespace

void add_output_verb(CLI::App& app, CliContext& context) {
  CLI::App* verb = app.add_subcommand("output", "Print what tasks printed, byte for byte, in the order of the steps");
  auto options = std::make_shared<OutputOptions>();
  verb->add_option("BATCH", options->batch, "Batch directory, or the id of a batch")->required();
  verb->add_option("STEP", options->steps, "Steps or ranges such as 0-9; without any: all");
  verb->add_flag("--stderr", options->standard_error, "Standard error instead of standard output");
  verb->footer(
      "Exit status: 0 when everything asked for was printed, 1 when some of it is missing or incomplete (said on "
      "stderr).");
  verb->callback([&context, options] { context.exit_status = show_output(*options); });
}

}  // namespace allot
