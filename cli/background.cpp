// SPDX-License-Identifier: MIT
#include "cli/background.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
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

using Clock = std::chrono::steady_clock;

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

// Everything until its other end is closed, the time is over, or a signal comes.
std::string read_report(int fd, const SignalStop& stop) {
  std::string report;
  char bytes[4096];
  for (;;) {
    pollfd waiting[] = {{fd, POLLIN, 0}, {stop.descriptor(), POLLIN, 0}};
    const int ready = ::poll(waiting, 2, kStartMilliseconds);
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0 || waiting[0].revents == 0) return report + "it has not got ready in time";
    const ssize_t count = ::read(fd, bytes, sizeof bytes);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0 || report.size() > kLongestReport) return report;
    report.append(bytes, static_cast<std::size_t>(count));
  }
}

// Starts `allot driver`, which leaves this session, and waits until it can be asked or says why not. It reports on its
// standard output: nothing when it is ready (or another one is), else a sentence.
Result<void> start_driver(const std::string& cluster, std::chrono::milliseconds idle, const SignalStop& stop) {
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
  const std::string report = read_report(read_end.get(), stop);
  // Its first process leaves at once; the driver itself is nobody's child here.
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (report.empty()) return {};
  return fail(ErrorCode::gave_up, "the background driver: " + report);
}

Error not_handed_over(const BatchDirectory& batch, const Error& why) {
  return {ErrorCode::gave_up,
          fmt::format("{}; nobody drives the batch, and nothing is lost: allot resume {} finishes it", why.message,
                      shown_name(batch.path()))};
}

// Of a batch in the queue: until a driver lives that has been told of it.
Result<void> tell_driver(const BackgroundQueue& queue, const BatchDirectory& batch, std::chrono::milliseconds idle,
                         SignalStop& stop) {
  const std::string name = shown_name(batch.path());
  auto request = batch_request("drive", batch.path());
  request["id"] = batch.info().batch_id;
  const auto until = Clock::now() + kAnswerBound;
  std::optional<ProcessIdentity> driver;
  Error last{ErrorCode::gave_up, "no background driver was started"};
  for (int tries = 0; tries < kMostTries; ++tries) {
    driver = queue.driver();
    if (driver) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now());
      auto reply = ask_driver(*driver, request, std::max(left, std::chrono::milliseconds(0)), stop.descriptor());
      if (reply) return {};
      last = reply.error();
      if (last.code == ErrorCode::fix_request) break;
    }
    if (stop.take() > 0 || Clock::now() >= until) break;
    // None lives, or it is about to leave: the next one waits for that.
    if (auto started = start_driver(batch.info().cluster, idle, stop); !started) {
      last = started.error();
      break;
    }
  }
  const bool is_interrupted = stop.take() > 0 || stop.first_signal() != 0;
  const std::string who =
      driver && is_alive(*driver)
          ? fmt::format("the background driver (process {}) takes it up when it goes on", driver->pid)
          : "the next allot submit or allot resume --background starts a driver, which goes on with it";
  return fail(ErrorCode::gave_up,
              fmt::format("{}{}; nothing is lost: the batch {} is made and in the queue of the background ({}), and "
                          "{}; allot status {} tells",
                          is_interrupted ? "interrupted: " : "", last.message, name, queue.log_path(), who, name));
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
                       std::chrono::milliseconds idle, SignalStop& stop) {
  auto log = DriverLog::open(batch, driver);
  if (!log) return fail(not_handed_over(batch, log.error()));
  for (const Record& decision : decisions) log->note(decision);
  // Before it is said that the batch was handed over, so that this is true whenever it is read.
  auto queue = BackgroundQueue::open(batch.info().cluster);
  auto added = queue ? queue->add({batch.info().batch_id, batch.path()}) : Result<void>(fail(queue.error()));
  const std::string reason = added ? kHandedOver : "not handed over: " + added.error().message;
  log->note(EndedRecord{reason, unix_nanoseconds()});
  auto synced = log->sync();
  if (!added) return fail(not_handed_over(batch, added.error()));
  if (!synced) {
    queue->remove(batch.info().batch_id);
    return fail(not_handed_over(batch, synced.error()));
  }
  return tell_driver(*queue, batch, idle, stop);
}

int tell_no_hand_over(const Error& error, const SignalStop& stop) {
  tell_error(error.message);
  if (stop.first_signal() != 0) return 128 + stop.first_signal();
  return error.code == ErrorCode::fix_request ? kMisuse : kEnvironment;
}

std::string handed_over_text(const BatchDirectory& batch) {
  const std::string name = shown_name(batch.path());
  return fmt::format("batch: {}\nnext:  allot wait {}\n       allot status {}\n       allot cancel {}\n",
                     printable(batch.path()), name, name, name);
}

}  // namespace allot::cli
