// SPDX-License-Identifier: MIT
// allot-worker-node: runs tasks of one batch on this node, for a driver or by hand.
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/un.h>
#include <unistd.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdio>
#include <exception>

#include "ledger/batch_directory.h"
#include "process/fd.h"
#include "process/identity.h"
#include "process/install_paths.h"
#include "worker_node/by_hand.h"
#include "worker_node/channel.h"
#include "worker_node/worker_node.h"

namespace allot {
namespace {

namespace asio = boost::asio;
constexpr std::chrono::milliseconds kLastEndPoll{200};

struct Settings {
  WorkerNodeOptions node;
  std::string batch_id;
  std::string socket_path;
  int channel_fd = -1;
  std::int64_t worker_grace_ms = 10'000;
  std::int64_t heartbeat_ms = 5'000;
  std::string steps;
};

/// Serves drivers, one after the other, until one says leave, or none has come back within the grace time.
class Service {
 public:
  Service(asio::io_context& io, Settings settings)
      : io_(io),
        settings_(std::move(settings)),
        node_(io, settings_.node, handler()),
        acceptor_(io),
        accept_again_(io),
        heartbeat_(io),
        grace_(io),
        signals_(io, SIGTERM, SIGINT, SIGHUP) {}

  Result<void> start() {
    auto batch = BatchDirectory::open(settings_.node.batch_directory);
    if (!batch) return fail(batch.error());
    settings_.batch_id = batch->info().batch_id;
    if (auto started = node_.start(); !started) return started;
    if (!settings_.socket_path.empty()) {
      boost::system::error_code error;
      ::unlink(settings_.socket_path.c_str());
      const asio::local::stream_protocol::endpoint endpoint(settings_.socket_path);
      acceptor_.open(endpoint.protocol(), error);
      if (!error) acceptor_.bind(endpoint, error);
      if (!error) acceptor_.listen(4, error);
      if (error) return fail(ErrorCode::fix_request, settings_.socket_path + ": " + error.message());
      accept();
    }
    if (settings_.channel_fd >= 0) {
      // Not for the guards: it must end with this process.
      ::fcntl(settings_.channel_fd, F_SETFD, FD_CLOEXEC);
      Channel::Socket socket(io_);
      socket.assign(asio::local::stream_protocol(), settings_.channel_fd);
      serve(std::make_shared<Channel>(std::move(socket)));
    } else {
      wait_for_driver();
    }
    signals_.async_wait([this](const boost::system::error_code& error, int) {
      if (!error) leave(settings_.node.kill_grace);
    });
    beat();
    return {};
  }

 private:
  WorkerNodeHandler handler() {
    return {[this](const wire::Records& m) { tell(m); }, [this](const wire::Returned& m) { tell(m); },
            [this](const wire::Notice& m) {
              std::fprintf(stderr, "allot-worker-node: %s\n", m.text.c_str());
              tell(m);
            },
            [this] {
              finished_ = true;
              stop_when_told();
            }};
  }

  // Without a driver nothing needs to be told: it is in the record files, and a new driver reads those.
  void tell(const wire::Message& message) {
    if (driver_) driver_->send(message);
  }

  void accept() {
    acceptor_.async_accept([this](const boost::system::error_code& error, Channel::Socket socket) {
      if (error && !acceptor_.is_open()) return;
      if (!error) {
        serve(std::make_shared<Channel>(std::move(socket)));
        accept();
        return;
      }
      // No descriptors: a driver that comes later must be heard.
      accept_again_.expires_after(std::chrono::seconds(1));
      accept_again_.async_wait([this](const boost::system::error_code& cancelled) {
        if (!cancelled && acceptor_.is_open()) accept();
      });
    });
  }

  void serve(const std::shared_ptr<Channel>& channel) {
    // Weak: the channel owns its handlers, and lives as long as it reads.
    std::weak_ptr<Channel> weak = channel;
    channel->start([this, weak](wire::Message message) { on_message(weak.lock(), std::move(message)); },
                   [this, weak](const std::string&) {
                     // Also the one that started us and was gone before it greeted.
                     if (weak.lock() == driver_ || !driver_) on_driver_gone();
                   });
  }

  void on_message(const std::shared_ptr<Channel>& channel, wire::Message message) {
    if (auto* greet = std::get_if<wire::Greet>(&message)) {
      on_greet(channel, *greet);
      return;
    }
    if (channel != driver_) {  // a driver that another one has taken over from
      channel->close();
      return;
    }
    if (auto* info = std::get_if<wire::SubmissionInfo>(&message)) node_.add_submission(*info);
    if (auto* hand = std::get_if<wire::Hand>(&message)) node_.hand(*hand);
    if (auto* terminate = std::get_if<wire::Terminate>(&message)) node_.terminate(*terminate);
    if (auto* recall = std::get_if<wire::Recall>(&message)) node_.recall(*recall);
    if (auto* limit = std::get_if<wire::Limit>(&message)) node_.set_limit(limit->slots);
    if (auto* leave_now = std::get_if<wire::Leave>(&message))
      leave(std::chrono::milliseconds(leave_now->grace_milliseconds));
  }

  void on_greet(const std::shared_ptr<Channel>& channel, const wire::Greet& greet) {
    const auto refuse = [&channel](std::string text) { channel->send(wire::Refused{std::move(text)}); };
    if (greet.version != wire::kVersion || greet.batch_format != kBatchFormat) {
      return refuse("this worker node speaks version " + std::to_string(wire::kVersion) + " for batch format " +
                    std::to_string(kBatchFormat) + ", the driver version " + std::to_string(greet.version) +
                    " for format " + std::to_string(greet.batch_format) + ": install both from the same package");
    }
    if (greet.batch_id != settings_.batch_id) return refuse("this worker node runs batch " + settings_.batch_id);
    if (greet.epoch < epoch_) {
      return refuse("a newer driver (epoch " + std::to_string(epoch_) + ") drives this batch");
    }
    if (leaving_) return refuse("this worker node is leaving");
    if (driver_ && driver_ != channel) {
      driver_->close();
      node_.recall({});  // what the old driver queued is the new one's to hand out
    }
    epoch_ = greet.epoch;
    driver_ = channel;
    grace_.cancel();
    const ProcessIdentity own = own_identity();
    channel->send(wire::Welcome{own.pid, own.start_ticks, host_name(), node_.slots(), node_.running()});
  }

  void on_driver_gone() {
    driver_.reset();
    node_.recall({});
    wait_for_driver();
  }

  // Running tasks finish in any case. The grace time begins when the driver is gone; if something still runs when it is
  // over, the worker node leaves soon after the last end.
  void wait_for_driver() { wait_for_driver(std::chrono::milliseconds(settings_.worker_grace_ms)); }

  void wait_for_driver(std::chrono::milliseconds time) {
    grace_.expires_after(time);
    grace_.async_wait([this](const boost::system::error_code& error) {
      if (error || driver_) return;
      if (node_.running().empty()) {
        leave(std::chrono::milliseconds(-1));
      } else {
        wait_for_driver(kLastEndPoll);
      }
    });
  }

  void leave(std::chrono::milliseconds grace) {
    leaving_ = true;
    boost::system::error_code ignored;
    acceptor_.close(ignored);
    accept_again_.cancel();
    if (!settings_.socket_path.empty()) ::unlink(settings_.socket_path.c_str());
    node_.leave(grace);
  }

  void stop_when_told() {
    // The last records may still be on their way to a driver that is slow to read.
    if (!finished_) return;
    if (driver_ && driver_->is_open() && driver_->unsent_bytes() > 0) {
      heartbeat_.expires_after(std::chrono::milliseconds(5));
      heartbeat_.async_wait([this](const boost::system::error_code&) { stop_when_told(); });
      return;
    }
    io_.stop();
  }

  void beat() {
    heartbeat_.expires_after(std::chrono::milliseconds(settings_.heartbeat_ms));
    heartbeat_.async_wait([this](const boost::system::error_code& error) {
      if (error) return;
      tell(wire::Alive{static_cast<std::uint32_t>(node_.running().size())});
      beat();
    });
  }

  asio::io_context& io_;
  Settings settings_;
  WorkerNode node_;
  asio::local::stream_protocol::acceptor acceptor_;
  asio::steady_timer accept_again_;
  asio::steady_timer heartbeat_;
  asio::steady_timer grace_;
  asio::signal_set signals_;
  std::shared_ptr<Channel> driver_;
  std::uint64_t epoch_ = 0;
  bool leaving_ = false;
  bool finished_ = false;
};

int run(int argc, char** argv) {
  Settings settings;
  settings.node.guard_program = guard_program();
  std::int64_t kill_grace = 5000, sample = 1000, commit = 20;
  std::string cores;
  CLI::App app("Runs tasks of one batch on this node. Started by a driver, or by hand in a job script with --steps.");
  app.add_option("--batch", settings.node.batch_directory, "Batch directory (absolute)")->required();
  app.add_option("--slots", settings.node.slots, "Tasks at once");
  app.add_option("--cores", settings.node.cores, "Core of each slot; without it slots are not pinned")->delimiter(',');
  app.add_option("--shell", settings.node.shell, "Shell for shell lines");
  app.add_option("--kill-grace-ms", kill_grace, "From TERM to KILL");
  app.add_option("--sample-ms", sample, "First sample of a task's tree");
  app.add_option("--commit-ms", commit, "Gather records so long for one sync");
  app.add_option("--worker-grace-ms", settings.worker_grace_ms, "Wait so long for a new driver");
  app.add_option("--heartbeat-ms", settings.heartbeat_ms, "Interval of heartbeats");
  app.add_option("--socket", settings.socket_path, "Socket for drivers");
  app.add_flag("!--no-cgroup", settings.node.control_groups, "Make no control groups for slots");
  app.add_option("--channel-fd", settings.channel_fd, "Connection to the driver that started this process");
  app.add_option("--steps", settings.steps, "Run these steps (such as 0-9,12) and leave; no driver");
  app.set_version_flag("--version", ALLOT_VERSION);
  CLI11_PARSE(app, argc, argv);
  settings.node.kill_grace = std::chrono::milliseconds(kill_grace);
  settings.node.sample_interval = std::chrono::milliseconds(sample);
  settings.node.commit_interval = std::chrono::milliseconds(commit);

  // A worker node may outlive its driver: a lock or a pipe that the driver had must not live on in it.
  close_all_but(settings.channel_fd);
  // Orphans of a guard that was killed come here, where they are ended.
  settings.node.adopts_orphans = ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0;
  if (!settings.steps.empty()) return run_by_hand(settings.node, settings.steps);
  if (settings.channel_fd < 0 && settings.socket_path.empty()) {
    std::fputs("allot-worker-node: give --steps to run tasks by hand, or let `allot run` start it\n", stderr);
    return 2;
  }
  asio::io_context io(1);
  Service service(io, std::move(settings));
  if (auto started = service.start(); !started) {
    std::fprintf(stderr, "allot-worker-node: %s\n", started.error().message.c_str());
    return 1;
  }
  io.run();
  return 0;
}

}  // namespace
}  // namespace allot

int main(int argc, char** argv) {
  try {
    return allot::run(argc, argv);
  } catch (const std::exception& error) {  // threads and sockets that the system refuses come as exceptions of Boost
    std::fprintf(stderr, "allot-worker-node: cannot get ready: %s; is a limit of processes or descriptors reached?\n",
                 error.what());
    return 1;
  }
}
