// SPDX-License-Identifier: MIT
// The plugin's end of its agent: starts it, asks it, starts another one where it has ended.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <nlohmann/json.hpp>
#include <tl/expected.hpp>

#include "distributors/slurm/slurm_types.h"
#include "process/fd.h"
#include "process/spawn.h"
#include "protocol/result.h"

namespace allot::slurm {

/// Thread rule: any thread; calls do not wait for each other. Every call is bounded by its timeout; what Slurm does
/// with a request whose answer did not come is not known then (Fault::number is kNoAgent).
class AgentClient {
 public:
  /// `configuration`: a slurm.conf; empty: the environment's, else the site's.
  explicit AgentClient(std::string configuration) : configuration_(std::move(configuration)) {}
  ~AgentClient() { stop(); }
  AgentClient(const AgentClient&) = delete;
  AgentClient& operator=(const AgentClient&) = delete;

  template <class T>
  using Answer = tl::expected<T, Fault>;
  using Milliseconds = std::chrono::milliseconds;

  /// Starts the agent and waits until it has read the configuration. Errors: fix_request with libslurm's own words.
  Result<void> start(Milliseconds timeout);
  /// Ends it, whatever it waits for; calls that wait are answered with a fault. Idempotent.
  void stop();

  Answer<ControllerInfo> info(Milliseconds timeout);
  Answer<bool> ping(Milliseconds timeout);
  Answer<Accepted> submit(const JobRequest& job, Milliseconds timeout);
  Answer<JobTable> jobs(const JobFilter& filter, Milliseconds timeout);
  Answer<bool> signal(const std::string& job, int signal, bool only_script, Milliseconds timeout);
  Answer<bool> cancel(const std::string& job, Milliseconds timeout);
  Answer<bool> hold(const std::string& job, bool hold, Milliseconds timeout);
  Answer<std::vector<Partition>> partitions(Milliseconds timeout);
  Answer<Policies> policies(Milliseconds timeout);
  Answer<std::vector<JobRecord>> accounted(const std::vector<std::string>& names, std::int64_t since,
                                           Milliseconds timeout);

 private:
  struct Pending {
    bool is_answered = false;
    nlohmann::json answer;
  };

  Answer<nlohmann::json> ask(nlohmann::json request, Milliseconds timeout);
  Result<void> launch(std::unique_lock<std::mutex>& lock, Milliseconds timeout);
  void listen(int fd);
  void end_agent(std::unique_lock<std::mutex>& lock);
  std::string words() const;

  const std::string configuration_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Fd channel_;  // to its stdin, from its stdout
  Fd words_;    // a file with what it says on stderr
  pid_t pid_ = 0;
  Fd pidfd_;
  bool is_ready_ = false;
  bool is_ended_ = true;
  bool is_stopped_ = false;
  bool is_launching_ = false;
  std::thread listener_;
  std::uint64_t last_id_ = 0;
  std::map<std::uint64_t, Pending> pending_;
  Spawner spawner_;
};

/// What there is to know of a cluster before anything is sent to it.
struct Site {
  ControllerInfo info;
  std::vector<Partition> partitions;
  std::shared_ptr<const Policies> policies;  ///< null: none are enforced, or they are not shown to this user
};
/// Errors: retry_later, the controller does not answer.
Result<Site> read_site(AgentClient& agent, AgentClient::Milliseconds timeout);

}  // namespace allot::slurm
