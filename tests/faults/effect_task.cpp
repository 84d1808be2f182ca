// SPDX-License-Identifier: MIT
// A task that leaves evidence of its run: effect_line.h.
//
// usage: effect_task DIR STEP EXIT_CODE SECONDS [escape|hog]
// `escape`: leaves a grandchild behind, in a session of its own, that holds the task's output and sleeps a minute.
// `hog`: makes as many children as the kernel gives it all the time; they stay until somebody ends them.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <string>
#include <thread>

#include "process/identity.h"
#include "tests/faults/effect_line.h"

// The leak checker looks at the end of a process from another one, and waits for that for ever when a test kills it.
extern "C" const char* __asan_default_options() {  // NOLINT(bugprone-reserved-identifier,readability-identifier-naming)
  return "detect_leaks=0";
}

namespace {

using allot::faults::EffectLine;

std::int64_t unix_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != 0 ? value : "-";
}

// An earlier run of the step that has neither ended nor died while this one runs.
std::int64_t living_run(const std::string& path) {
  std::map<std::int64_t, EffectLine> open;
  std::ifstream file(path);
  for (std::string text; std::getline(file, text);) {
    const auto line = allot::faults::parse_effect_line(text);
    if (!line) continue;
    if (line->is_end) {
      open.erase(line->pid);
    } else {
      open[line->pid] = *line;
    }
  }
  for (const auto& [pid, line] : open) {
    if (allot::is_alive({static_cast<pid_t>(pid), line.start_ticks})) return pid;
  }
  return 0;
}

bool append(const std::string& path, const EffectLine& line) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) return false;
  const std::string text = allot::faults::to_text(line);
  const bool whole = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  ::close(fd);
  return whole;
}

void leave_grandchild_behind() {
  if (::fork() != 0) return;
  ::setsid();
  if (::fork() != 0) ::_exit(0);
  std::this_thread::sleep_for(std::chrono::seconds(60));
  ::_exit(0);
}

// Again and again, so that what another task gives back is taken, too.
void take_all_processes(double seconds) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (std::chrono::steady_clock::now() < until) {
    const pid_t child = ::fork();
    if (child == 0) {
      for (;;) ::pause();
    }
    if (child < 0) std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) {
    std::fputs("usage: effect_task DIR STEP EXIT_CODE SECONDS [escape|hog]\n", stderr);
    return 2;
  }
  const std::string path = std::string(argv[1]) + "/step-" + argv[2];
  EffectLine line;
  line.step = std::strtoull(argv[2], nullptr, 10);
  line.attempt = static_cast<std::uint32_t>(std::strtoul(variable("ALLOT_ATTEMPT").c_str(), nullptr, 10));
  line.distributor_id = variable("ALLOT_DISTRIBUTOR_ID");
  const allot::ProcessIdentity own = allot::own_identity();
  line.pid = own.pid;
  line.start_ticks = own.start_ticks;
  line.at_ns = unix_ns();
  line.last = living_run(path);
  if (!append(path, line)) {
    std::fprintf(stderr, "%s: %s\n", path.c_str(), std::strerror(errno));
    return 99;
  }
  if (argc > 5 && std::strcmp(argv[5], "escape") == 0) leave_grandchild_behind();
  const double seconds = std::strtod(argv[4], nullptr);
  if (argc > 5 && std::strcmp(argv[5], "hog") == 0) {
    take_all_processes(seconds);
  } else {
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  }
  std::printf("step %s\n", argv[2]);
  std::fflush(stdout);
  line.is_end = true;
  line.at_ns = unix_ns();
  line.last = std::strtol(argv[3], nullptr, 10);
  return append(path, line) ? static_cast<int>(line.last) : 99;
}
