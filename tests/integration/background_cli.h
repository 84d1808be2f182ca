// SPDX-License-Identifier: MIT
// Batches that are left to the background driver, and that driver.
#pragma once

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "process/fd.h"
#include "tests/integration/cli_fixture.h"
#include "tests/support/catch.h"

namespace allot::test {

/// Waits at its end until the background driver has left.
class BackgroundCli : public Cli {
 public:
  ~BackgroundCli() {
    const auto pid = driver();
    if (pid && !wait_for_end(*pid)) ::kill(*pid, SIGKILL);
  }

  std::string submit(std::vector<std::string> arguments, const std::string& input = {}) const {
    arguments.insert(arguments.begin(), {"submit", "--parsable", "--driver-idle", "300ms"});
    std::string id = must(0, arguments, input).out;
    REQUIRE(id.ends_with('\n'));
    id.pop_back();
    return id;
  }

  /// The driver that lives; the newest of them in its log.
  std::optional<pid_t> driver() const {
    std::ifstream log(log_path());
    std::optional<pid_t> last;
    for (std::string line; std::getline(log, line);) {
      const auto at = line.find("process ");
      if (at != std::string::npos && line.ends_with(" begins")) last = std::stoi(line.substr(at + 8));
      if (at != std::string::npos && line.ends_with(" leaves")) last.reset();
    }
    if (last && ::kill(*last, 0) != 0) last.reset();
    return last;
  }

  std::string log() const { return read_file(log_path()).value_or(""); }

  static bool wait_for_end(pid_t pid) {
    const Fd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    pollfd waiting{fd.get(), POLLIN, 0};
    return !fd || ::poll(&waiting, 1, 60'000) == 1;
  }

  std::vector<std::string> queue() const {
    std::vector<std::string> ids;
    for (const auto& entry : std::filesystem::directory_iterator(directory())) {
      const std::string name = entry.path().filename().string();
      if (name.find('.') == std::string::npos) ids.push_back(name);
    }
    return ids;
  }

 private:
  std::string directory() const {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(state_home() + "/allot/background")) {
      if (entry.path().filename() == "driver.log") return entry.path().parent_path().string();
    }
    return "";
  }
  std::string log_path() const {
    return std::filesystem::exists(state_home() + "/allot/background") ? directory() + "/driver.log" : "";
  }
};

}  // namespace allot::test
