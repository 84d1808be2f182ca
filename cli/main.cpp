// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <signal.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <exception>

#include "cli/command_line.h"
#include "cli/console.h"
#include "engine/cluster_config_file.h"
#include "process/install_paths.h"

extern char** environ;

namespace {

// A program started with stdin, stdout or stderr closed would open its files under their numbers and write into them.
void open_standard_descriptors() {
  for (int fd = 0; fd < 3; ++fd) {
    if (::fcntl(fd, F_GETFD) >= 0) continue;
    // Reading standard input and writing to standard output then fail, as they did when these were closed: an empty
    // input was not given, and what was asked for was not delivered.
    if (::open("/dev/null", fd == 1 ? O_RDONLY : O_WRONLY) != fd) std::_Exit(allot::cli::kEnvironment);
  }
}

// Writing to a pipe without a reader is an error value here. Blocked, not ignored: tasks would inherit an ignored one.
// So is a file beyond the limit (ulimit -f).
void block_write_signals() {
  sigset_t signals;
  ::sigemptyset(&signals);
  ::sigaddset(&signals, SIGPIPE);
  ::sigaddset(&signals, SIGXFSZ);
  ::sigprocmask(SIG_BLOCK, &signals, nullptr);
}

void set_up_logging() {
  const char* level = std::getenv("ALLOT_LOG");
  spdlog::set_default_logger(spdlog::stderr_logger_mt("allot"));
  spdlog::set_level(level != nullptr && std::strcmp(level, "debug") == 0 ? spdlog::level::debug : spdlog::level::off);
}

}  // namespace

int main(int argc, char** argv) {
  open_standard_descriptors();
  block_write_signals();
  try {
    set_up_logging();
    allot::PluginLoader plugins(allot::PluginLoader::search_path({allot::plugin_directory()}));
    allot::cli::Services services{plugins, allot::cluster_config_directories(allot::cluster_config_directory()),
                                  environ};
    allot::cli::CommandLine line;
    return line.run(argc, argv, services);
  } catch (const std::bad_alloc&) {
    allot::cli::tell_error("out of memory");
  } catch (const std::exception& error) {
    allot::cli::tell_error(std::string("unexpected: ") + error.what());
  }
  return allot::cli::kEnvironment;
}
