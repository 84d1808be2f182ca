// SPDX-License-Identifier: MIT
// Judges a batch by its ledger and by what its tasks did, and by nothing that drove it.
//
// usage: ledger_checker BATCH [--effects DIR] [--running] [--strict] [--killed] [--tasks N]
//                             [--wait SECONDS]
//   --effects   what the tasks wrote of themselves (effect_line.h); without it only ledger and processes are judged
//   --running   the batch has not been driven to its end: tasks without an end and living processes are no violation
//   --strict    every task must have ended by itself: none may be given up as lost
//   --killed    tasks were killed from outside: with --strict, too, they may have ended by a signal
//   --tasks     how many the batch was made with: so many it must know at least
//   --wait      how long processes of the batch may take to leave (default 0)
// Exit status 0: every rule holds; 1: a line per violation on stdout; 2: the batch cannot be read, or misuse.
#include <poll.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "tests/faults/judge.h"

namespace {

int misuse(const std::string& text) {
  std::fprintf(stderr, "ledger_checker: %s\n", text.c_str());
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  using Clock = std::chrono::steady_clock;
  std::string batch_path, effects;
  allot::faults::Demands demands;
  double wait_seconds = 0;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--running") {
      demands.all_ended = false;
    } else if (argument == "--strict") {
      demands.strict = true;
    } else if (argument == "--killed") {
      demands.tasks_killed = true;
    } else if (argument == "--effects" && i + 1 < argc) {
      effects = argv[++i];
    } else if (argument == "--tasks" && i + 1 < argc) {
      demands.tasks = std::strtoull(argv[++i], nullptr, 10);
    } else if (argument == "--wait" && i + 1 < argc) {
      wait_seconds = std::strtod(argv[++i], nullptr);
    } else if (batch_path.empty() && argument[0] != '-') {
      batch_path = argument;
    } else {
      return misuse("what is " + argument + "?");
    }
  }
  if (batch_path.empty()) {
    return misuse(
        "usage: ledger_checker BATCH [--effects DIR] [--running] [--strict] [--killed] [--tasks N] "
        "[--wait SECONDS]");
  }
  auto batch = allot::BatchDirectory::open(batch_path);
  if (!batch) return misuse(batch.error().message);

  // First the processes: what they still do would change the evidence while it is read.
  std::vector<std::string> found;
  if (demands.all_ended) {
    const auto until = Clock::now() + std::chrono::duration<double>(wait_seconds);
    for (found = allot::faults::processes_of(*batch); !found.empty() && Clock::now() < until;
         found = allot::faults::processes_of(*batch)) {
      ::poll(nullptr, 0, 20);
    }
  }
  demands.effects = !effects.empty();
  const auto fold = allot::Fold::load(*batch);
  auto evidence = allot::faults::gather(*batch, effects);
  if (!evidence) return misuse(evidence.error().message);
  const auto add = [&found](const std::vector<std::string>& lines) {
    found.insert(found.end(), lines.begin(), lines.end());
  };
  add(evidence->faults);
  add(allot::faults::judge(*evidence, demands));
  add(allot::faults::judge_fold(fold, *evidence));
  for (const std::string& line : found) std::printf("%s\n", line.c_str());
  return found.empty() ? 0 : 1;
}
