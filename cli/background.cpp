// SPDX-License-Identifier: MIT
#include "cli/background.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "cli/console.h"
#include "cli/summary.h"
#include "engine/control_desk.h"
#include "engine/driver_log.h"
#include "protocol/units.h"

namespace allot::cli {
namespace {

constexpr std::chrono::seconds kAnswerBound{30};
constexpr int kStartMilliseconds = 60'000;
constexpr int kMostTries = 5;
constexpr std::size_t kLongestReport = 64 * 1024;

// What the background driver keeps of the environment of whoever happens to start it: nothing that belongs to one
// batch.
constexpr std::array kKept = {"HOME",
                              "USER",
                              "LOGNAME",
                              "PATH",
                              "SHELL",
                              "TMPDIR",
                              "LANG",
                              "LC_ALL",
                              "TZ",
                              "XDG_STATE_HOME",
                              "XDG_RUNTIME_DIR",
                              "XDG_CONFIG_HOME",
                              "ALLOT_PLUGIN_PATH",
                              "ALLOT_CLUSTER_PATH",
                              "ALLOT_LOG"};

std::vector<std::string> kept_environment() {
  std::vector<std::string> kept;
  for (const char* name : kKept) {
    if (const char* value = std::getenv(name); value != nullptr) kept.push_back(std::string(name) + "=" + value);
  }
  return kept;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> all;
  for (auto& text : texts) all.push_back(text.data());
  all.push_back(nullptr);
  return all;
}

// Everything until its other end is closed, or the time is over.
std::string read_report(int fd) {
  std::string report;
  char bytes[4096];
  for (;;) {
    pollfd waiting{fd, POLLIN, 0};
    const int ready = ::poll(&waiting, 1, kStartMilliseconds);
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return report + "it has not got ready in time";
    const ssize_t count = ::read(fd, bytes, sizeof bytes);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0 || report.size() > kLongestReport) return report;
    report.append(bytes, static_cast<std::size_t>(count));
  }
}

// Starts `allot driver`, which leaves this session, and waits until it can be asked or says why not. It reports on its
// standard output: nothing when it is ready (or another one is), else a sentence.
Result<void> start_driver(const std::string& cluster, std::chrono::milliseconds idle) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail(errno_error(errno, "a pipe to the background driver"));
  Fd read_end(ends[0]), write_end(ends[1]);
  std::vector<std::string> words = {"allot", "driver", "--cluster",
                                    cluster, "--idle", std::to_string(idle.count()) + "ms"};
  std::vector<std::string> environment = kept_environment();
  const auto arguments = pointers(words);
  const auto variables = pointers(environment);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, write_end.get(), 1);
  ::posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  sigset_t none, all;
  ::sigemptyset(&none);
  ::sigfillset(&all);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &all);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  pid_t pid = 0;
  const int error = ::posix_spawn(&pid, "/proc/self/exe", &actions, &attributes, arguments.data(), variables.data());
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  write_end.reset();
  if (error != 0) return fail(errno_error(error, "the background driver cannot be started"));
  const std::string report = read_report(read_end.get());
  // Its first process leaves at once; the driver itself is nobody's child here.
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (report.empty()) return {};
  return fail(ErrorCode::gave_up, "the background driver: " + report);
}

}  // namespace

void BackgroundOptions::describe(CLI::App& app) {
  auto* const flag = app.add_flag("--background", background,
                                  "Leave it to the background driver, as allot submit does, and come back");
  // They would be this command's own driver's.
  for (const char* name : {"--cluster", "--slots", "--grace", "--json"}) flag->excludes(app.get_option(name));
  app.add_option("--driver-idle", idle,
                 "How long a background driver that is started by this command stays without a batch; default 10s")
      ->type_name("TIME")
      ->needs(flag);
}

Result<std::chrono::milliseconds> parse_idle(const std::string& text) {
  const auto idle = parse_duration(text);
  if (!idle) return fail(idle.error().with_context("--driver-idle"));
  return std::chrono::milliseconds(*idle);
}

Result<void> hand_over(const BatchDirectory& batch, const DriverIdentity& driver, const std::vector<Record>& decisions,
                       std::chrono::milliseconds idle) {
  const auto gave_up = [&batch](const Error& error) {
    return fail(ErrorCode::gave_up, error.message + "; nothing is lost: allot resume " + shown_name(batch.path()));
  };
  auto log = DriverLog::open(batch, driver);
  if (!log) return gave_up(log.error());
  for (const Record& decision : decisions) log->note(decision);
  log->note(EndedRecord{kHandedOver, unix_nanoseconds()});
  if (auto synced = log->sync(); !synced) return gave_up(synced.error());
  auto left = leave_to_background(batch.info().cluster, batch, idle);
  if (!left) return gave_up(left.error());
  return {};
}

std::string handed_over_text(const BatchDirectory& batch) {
  const std::string name = shown_name(batch.path());
  return fmt::format("batch: {}\nnext:  allot wait {}\n       allot status {}\n       allot cancel {}\n",
                     printable(batch.path()), name, name, name);
}

Result<void> leave_to_background(const std::string& cluster, const BatchDirectory& batch,
                                 std::chrono::milliseconds idle) {
  auto queue = BackgroundQueue::open(cluster);
  if (!queue) return fail(std::move(queue.error()));
  const std::string& id = batch.info().batch_id;
  if (auto added = queue->add({id, batch.path()}); !added) return fail(std::move(added.error()));
  auto request = batch_request("drive", batch.path());
  request["id"] = id;
  Error last;
  for (int tries = 0; tries < kMostTries; ++tries) {
    if (const auto driver = queue->driver()) {
      auto reply = ask_driver(*driver, request, kAnswerBound);
      if (reply) return {};
      last = reply.error();
      if (last.code == ErrorCode::fix_request) break;
    }
    // None lives, or it is about to leave: the next one waits for that.
    if (auto started = start_driver(cluster, idle); !started) {
      last = started.error();
      break;
    }
  }
  return fail(last.with_context("the batch is in the queue of the background (" + queue->log_path() +
                                "), and the next allot submit or allot resume goes on with it"));
}

}  // namespace allot::cli
