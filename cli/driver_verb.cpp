// SPDX-License-Identifier: MIT
// `allot driver`: the background driver. allot submit starts it.
#include <fcntl.h>
#include <signal.h>
#include <spdlog/sinks/rotating_file_sink.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "cli/cluster_access.h"
#include "cli/console.h"
#include "cli/driving.h"
#include "cli/verb.h"
#include "engine/background_driver.h"
#include "protocol/units.h"

namespace allot::cli {
namespace {

constexpr int kLockPatience = 30'000;
constexpr int kLockMilliseconds = 20;
constexpr std::size_t kLogBytes = 1u << 20;
constexpr std::size_t kLogFiles = 2;
// Of a batch that is driven: its records, its task table, its worker node's socket, and some more.
constexpr rlim_t kDescriptorsPerBatch = 16;

// As many batches at once as there are descriptors for.
std::size_t most_batches() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 16;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<std::size_t>(std::clamp<rlim_t>(limit.rlim_cur / kDescriptorsPerBatch, 1, 1000));
}

class DriverVerb final : public Verb {
 public:
  std::string name() const override { return "driver"; }
  std::string summary() const override { return "The background driver; allot submit starts it"; }
  bool is_hidden() const override { return true; }
  VerbText text() const override {
    return {{"driver --cluster CLUSTER [--idle TIME]"},
            "Drives the batches that allot submit has left to the background, until there has been none for a while. "
            "Started by allot submit; started by hand it goes on with what an earlier one has left.",
            {}};
  }

  void describe(CLI::App& app) override {
    app.add_option("--cluster", cluster_, "Cluster whose batches to drive")->type_name("CLUSTER")->required();
    app.add_option("--idle", idle_, "How long to stay without a batch")->type_name("TIME");
  }

  int run(Services& services) override {
    // Whoever started it waits for its first process only.
    if (const pid_t child = ::fork(); child != 0) {
      if (child < 0) return report("it cannot be started: " + errno_text(errno));
      return kSuccess;
    }
    ::setsid();
    if (::chdir("/") != 0) return report("the root directory cannot be entered");
    const auto idle = parse_duration(idle_);
    if (!idle) return report(idle.error().message);
    auto queue = BackgroundQueue::open(cluster_);
    if (!queue) return report(queue.error().message);
    auto lock = lock_when_free(*queue);
    if (!lock) return report(lock.error().message);
    if (!*lock) return kSuccess;  // another one is there
    return drive(services, *queue, std::chrono::milliseconds(*idle));
  }

 private:
  // A driver that is about to leave does not listen any more; one that does has the queue.
  static Result<std::optional<Fd>> lock_when_free(const BackgroundQueue& queue) {
    for (int waited = 0;; waited += kLockMilliseconds) {
      auto lock = queue.lock(waited == 0 ? 0 : kLockMilliseconds);
      if (!lock || *lock) return lock;
      const auto driver = queue.driver();
      const bool listens = driver && ::access(control_socket_path(*driver).c_str(), F_OK) == 0;
      if (listens || waited > kLockPatience) return lock;
    }
  }

  int drive(Services& services, const BackgroundQueue& queue, std::chrono::milliseconds idle) {
    SignalStop stop;
    auto log = std::make_shared<spdlog::logger>(
        "background", std::make_shared<spdlog::sinks::rotating_file_sink_mt>(queue.log_path(), kLogBytes, kLogFiles));
    log->flush_on(spdlog::level::info);
    ::chmod(queue.log_path().c_str(), 0600);
    const auto refused = [&](const std::string& why) {
      log->error(why);
      return report(why);
    };
    auto cluster = open_cluster(services, cluster_, {});
    if (!cluster) return refused(cluster.error().message);
    auto parts = make_parts(*cluster);
    if (!parts) return refused(parts.error().message);
    auto control = ControlServer::open();
    if (!control) return refused(control.error().message);
    BackgroundSettings settings;
    settings.retry = parts->retry;
    settings.idle = idle;
    settings.most_batches = most_batches();
    settings.tell = [&log](const std::string& text) { log->info("{}", text); };
    if (auto started = parts->distributor->start(); !started) return refused(started.error().message);
    log->info("process {} begins", ::getpid());
    run_in_background({queue, *parts->distributor, parts->queues, *control, stop}, settings, close_report);
    log->info("process {} leaves", ::getpid());
    return kSuccess;
  }

  // To whoever waits for it on standard output.
  static int report(const std::string& text) {
    StandardOutput out;
    out.write(text + "\n");
    out.flush();
    return kEnvironment;
  }
  static void close_report() {
    const Fd null(::open("/dev/null", O_WRONLY | O_CLOEXEC));
    if (null) ::dup2(null.get(), 1);
  }

  std::string cluster_, idle_ = "10s";
};

}  // namespace

std::unique_ptr<Verb> make_driver_verb() {
  return std::make_unique<DriverVerb>();
}

}  // namespace allot::cli
