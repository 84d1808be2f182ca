// SPDX-License-Identifier: MIT
#include "process/wait_status.h"

#include <sys/wait.h>

#include <csignal>
#include <cstring>

namespace allot {

ExitInfo decode_wait_status(int status) {
  ExitInfo info;
  if (WIFEXITED(status)) {
    info.exit_code = WEXITSTATUS(status);
    info.exit_class = *info.exit_code == 0 ? ExitClass::done : ExitClass::error;
  } else if (WIFSIGNALED(status)) {
    info.exit_class = ExitClass::signaled;
    info.signal = WTERMSIG(status);
  } else {
    // Stopped or continued: not an end; nobody here asks for those, so it is a fault worth showing.
    info.exit_class = ExitClass::lost;
    info.text = "wait status " + std::to_string(status) + " is no end of a process";
  }
  return info;
}

UsageStats decode_rusage(const rusage& usage) {
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  const auto count = [](long n) { return static_cast<std::uint64_t>(n); };
  UsageStats stats;
  stats.user_seconds = seconds(usage.ru_utime);
  stats.system_seconds = seconds(usage.ru_stime);
  stats.max_rss_bytes = count(usage.ru_maxrss) * 1024;
  stats.read_bytes = count(usage.ru_inblock) * 512;
  stats.write_bytes = count(usage.ru_oublock) * 512;
  stats.minor_faults = count(usage.ru_minflt);
  stats.major_faults = count(usage.ru_majflt);
  stats.voluntary_switches = count(usage.ru_nvcsw);
  stats.involuntary_switches = count(usage.ru_nivcsw);
  return stats;
}

std::string signal_name(int signal) {
  const char* name = sigabbrev_np(signal);
  return name != nullptr ? std::string("SIG") + name : "signal " + std::to_string(signal);
}

}  // namespace allot
