// SPDX-License-Identifier: MIT
#include "protocol/exit_info.h"

#include <signal.h>
#include <string.h>

#include <array>

namespace allot {
namespace {

constexpr std::array<std::string_view, kExitClassCount> kNames = {
    "done",        "error",     "signaled",      "out_of_memory",  "timed_out", "killed",
    "node_failed", "preempted", "launch_failed", "queueing_error", "lost"};

std::string signal_name(int signal) {
  if (const char* name = ::sigabbrev_np(signal)) return std::string("SIG") + name;
  if (signal >= SIGRTMIN && signal <= SIGRTMAX) return "SIGRTMIN+" + std::to_string(signal - SIGRTMIN);
  return "no known signal";
}

}  // namespace

std::string_view to_string(ExitClass exit_class) {
  // A number from a record of a newer version must not read past the table.
  const auto index = static_cast<std::size_t>(exit_class);
  return index < kNames.size() ? kNames[index] : "unknown_class";
}

std::optional<ExitClass> exit_class_from_string(std::string_view name) {
  for (std::size_t i = 0; i < kNames.size(); ++i)
    if (kNames[i] == name) return static_cast<ExitClass>(i);
  return std::nullopt;
}

std::string describe(const ExitInfo& info) {
  std::string text(to_string(info.exit_class));
  if (info.exit_class == ExitClass::error && info.exit_code) text += " (" + std::to_string(*info.exit_code) + ")";
  if (info.exit_class == ExitClass::signaled && info.signal)
    text += " (" + std::to_string(*info.signal) + ", " + signal_name(*info.signal) + ")";
  return text;
}

}  // namespace allot
