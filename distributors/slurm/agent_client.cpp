// SPDX-License-Identifier: MIT
#include "distributors/slurm/agent_client.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "distributors/slurm/agent_json.h"
#include "process/install_paths.h"

extern char** environ;

namespace allot::slurm {

using nlohmann::json;

namespace {

constexpr std::size_t kMostWords = 4096;

// libslurm would look for a minute, and end its process then.
Result<void> check_configuration(const std::string& given) {
  const char* named = std::getenv("SLURM_CONF");
  const std::string path = !given.empty() ? given : named != nullptr ? named : "";
  if (!path.empty()) {
    if (::access(path.c_str(), R_OK) == 0) return {};
    return fail(ErrorCode::fix_request, "Slurm cannot be asked: " + errno_error(errno, path).message +
                                            "; set slurm_conf in the cluster's file, or SLURM_CONF");
  }
  for (const char* usual : {"/etc/slurm/slurm.conf", "/etc/slurm-llnl/slurm.conf", "/run/slurm/conf/slurm.conf"}) {
    if (::access(usual, R_OK) == 0) return {};
  }
  if (std::getenv("SLURM_CONF_SERVER") != nullptr) return {};
  return fail(ErrorCode::fix_request,
              "Slurm cannot be asked: there is no /etc/slurm/slurm.conf; set slurm_conf in the cluster's file, or "
              "SLURM_CONF");
}

Fault no_agent(const std::string& what) {
  return {kNoAgent, "Slurm cannot be asked: " + what};
}

}  // namespace

Result<void> AgentClient::start(Milliseconds timeout) {
  std::unique_lock lock(mutex_);
  is_stopped_ = false;
  return launch(lock, timeout);
}

void AgentClient::stop() {
  std::unique_lock lock(mutex_);
  is_stopped_ = true;
  changed_.notify_all();
  changed_.wait(lock, [this] { return !is_launching_; });
  end_agent(lock);
}

void AgentClient::end_agent(std::unique_lock<std::mutex>& lock) {
  if (pid_ == 0) return;
  ::kill(pid_, SIGKILL);  // it keeps nothing; a call of Slurm's that it waits for cannot be interrupted otherwise
  std::thread listener = std::move(listener_);
  lock.unlock();
  if (listener.joinable()) listener.join();
  lock.lock();
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  pid_ = 0;
  pidfd_.reset();
  channel_.reset();
  is_ready_ = false;
}

Result<void> AgentClient::launch(std::unique_lock<std::mutex>& lock, Milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  changed_.wait(lock, [this] { return !is_launching_; });
  if (!is_ended_ && is_ready_) return {};
  if (auto there = check_configuration(configuration_); !there) return there;
  is_launching_ = true;
  struct Done {
    AgentClient& client;
    ~Done() {
      client.is_launching_ = false;
      client.changed_.notify_all();
    }
  } done{*this};
  end_agent(lock);
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return fail(errno_error(errno, "a socket for the Slurm agent"));
  }
  channel_.reset(ends[0]);
  Fd theirs(ends[1]);
  // A file in memory: nobody has to read it for the agent to go on.
  words_.reset(::memfd_create("allot-slurm-agent", MFD_CLOEXEC));
  if (!words_) return fail(errno_error(errno, "a file for what the Slurm agent says"));

  const std::string program = agent_program("slurm");
  std::string name = program;
  char* argv[] = {name.data(), nullptr};
  std::vector<std::string> variables;
  for (char** entry = ::environ; *entry != nullptr; ++entry) {
    const std::string variable = *entry;
    if (!configuration_.empty() && variable.rfind("SLURM_CONF=", 0) == 0) continue;
    if (variable.rfind("SLURM_BITSTR_LEN=", 0) == 0) continue;
    variables.push_back(variable);
  }
  if (!configuration_.empty()) variables.push_back("SLURM_CONF=" + configuration_);
  variables.emplace_back("SLURM_BITSTR_LEN=0");  // else libslurm cuts lists of elements after 64 characters
  std::vector<char*> environment;
  for (std::string& variable : variables) environment.push_back(variable.data());
  environment.push_back(nullptr);

  SpawnRequest request;
  request.path = program.c_str();
  request.argv = argv;
  request.envp = environment.data();
  request.cwd = "/";
  request.stdin_fd = theirs.get();
  request.stdout_fd = theirs.get();
  request.stderr_fd = words_.get();
  request.die_with_parent = false;  // it ends with its input; a thread of ours that ends is no reason
  SpawnResult spawned = spawner_.spawn(request);
  theirs.reset();  // else its end would not be seen
  if (!spawned.good()) {
    return fail(errno_error(spawned.error, program + ": " + to_string(spawned.failed)));
  }
  pid_ = spawned.pid;
  pidfd_ = std::move(spawned.pidfd);
  is_ended_ = false;
  is_ready_ = false;
  listener_ = std::thread([this, fd = channel_.get()] { listen(fd); });
  const bool answered = changed_.wait_until(lock, deadline, [this] { return is_ready_ || is_ended_ || is_stopped_; });
  if (is_ready_) return {};
  const std::string said = words();
  const std::string why = is_stopped_ ? "the distributor is being stopped"
                          : !answered
                              ? "its configuration was not read within " + std::to_string(timeout.count()) + " ms"
                              : "libslurm gave up";
  end_agent(lock);
  return fail(is_stopped_ ? ErrorCode::gone : ErrorCode::fix_request,
              "Slurm cannot be asked: " + why + (said.empty() ? "" : ": " + said));
}

// What the agent, and libslurm in it, has said on stderr.
std::string AgentClient::words() const {
  struct stat info {};
  if (!words_ || ::fstat(words_.get(), &info) != 0) return {};
  const auto size = static_cast<std::size_t>(info.st_size);
  std::string text(std::min(size, kMostWords), '\0');
  const ssize_t n = pread_all(words_.get(), text.data(), text.size(), static_cast<off_t>(size - text.size()));
  text.resize(n < 0 ? 0 : static_cast<std::size_t>(n));
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

void AgentClient::listen(int fd) {
  std::string buffer;
  char chunk[65536];
  for (;;) {
    const ssize_t n = ::read(fd, chunk, sizeof chunk);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    buffer.append(chunk, static_cast<std::size_t>(n));
    std::size_t begin = 0;
    for (std::size_t end; (end = buffer.find('\n', begin)) != std::string::npos; begin = end + 1) {
      json answer = json::parse(buffer.begin() + static_cast<std::ptrdiff_t>(begin),
                                buffer.begin() + static_cast<std::ptrdiff_t>(end), nullptr, false);
      std::lock_guard lock(mutex_);
      const std::uint64_t id = answer.is_object() ? answer.value("id", std::uint64_t{0}) : 0;
      if (id == 0) {
        is_ready_ = true;
      } else if (const auto waiting = pending_.find(id); waiting != pending_.end()) {
        waiting->second.is_answered = true;
        waiting->second.answer = std::move(answer);
      }
      changed_.notify_all();
    }
    buffer.erase(0, begin);
  }
  std::lock_guard lock(mutex_);
  is_ended_ = true;
  changed_.notify_all();
}

AgentClient::Answer<json> AgentClient::ask(json request, Milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  std::unique_lock lock(mutex_);
  if (is_stopped_) return tl::make_unexpected(no_agent("the distributor has been stopped"));
  if (is_ended_ || is_launching_) {
    if (auto launched = launch(lock, timeout); !launched) {
      return tl::make_unexpected(Fault{kNoAgent, launched.error().message});
    }
  }
  const std::uint64_t id = ++last_id_;
  request["id"] = id;
  pending_[id];
  const bool sent = write_all(channel_.get(), request.dump(-1, ' ', false, json::error_handler_t::replace) + "\n");
  changed_.wait_until(lock, sent ? deadline : std::chrono::steady_clock::now(),
                      [&] { return pending_[id].is_answered || is_ended_ || is_stopped_; });
  const Pending answered = std::move(pending_[id]);
  pending_.erase(id);
  if (answered.is_answered) {
    if (answered.answer.contains("fault")) return tl::make_unexpected(answered.answer["fault"].get<Fault>());
    return answered.answer.value("value", json());
  }
  if (is_stopped_) return tl::make_unexpected(no_agent("the distributor is being stopped"));
  if (is_ended_) return tl::make_unexpected(no_agent("its agent has ended" + (words().empty() ? "" : ": " + words())));
  return tl::make_unexpected(no_agent("no answer within " + std::to_string(timeout.count()) + " ms"));
}

namespace {

template <class T>
tl::expected<T, Fault> as(const tl::expected<json, Fault>& answer) {
  if (!answer) return tl::make_unexpected(answer.error());
  try {
    return answer->get<T>();
  } catch (const json::exception& error) {
    return tl::make_unexpected(no_agent(std::string("its answer cannot be read: ") + error.what()));
  }
}

}  // namespace

AgentClient::Answer<ControllerInfo> AgentClient::info(Milliseconds timeout) {
  return as<ControllerInfo>(ask({{"op", "info"}}, timeout));
}
AgentClient::Answer<bool> AgentClient::ping(Milliseconds timeout) {
  return as<bool>(ask({{"op", "ping"}}, timeout));
}
AgentClient::Answer<Accepted> AgentClient::submit(const JobRequest& job, Milliseconds timeout) {
  return as<Accepted>(ask({{"op", "submit"}, {"job", job}}, timeout));
}
AgentClient::Answer<JobTable> AgentClient::jobs(const JobFilter& filter, Milliseconds timeout) {
  return as<JobTable>(ask({{"op", "jobs"}, {"filter", filter}}, timeout));
}
AgentClient::Answer<bool> AgentClient::signal(const std::string& job, int signal, bool only_script,
                                              Milliseconds timeout) {
  return as<bool>(ask({{"op", "signal"}, {"job", job}, {"signal", signal}, {"only_script", only_script}}, timeout));
}
AgentClient::Answer<bool> AgentClient::cancel(const std::string& job, Milliseconds timeout) {
  return as<bool>(ask({{"op", "cancel"}, {"job", job}}, timeout));
}
AgentClient::Answer<bool> AgentClient::hold(const std::string& job, bool hold, Milliseconds timeout) {
  return as<bool>(ask({{"op", "hold"}, {"job", job}, {"hold", hold}}, timeout));
}
AgentClient::Answer<std::vector<Partition>> AgentClient::partitions(Milliseconds timeout) {
  return as<std::vector<Partition>>(ask({{"op", "partitions"}}, timeout));
}

AgentClient::Answer<Policies> AgentClient::policies(Milliseconds timeout) {
  return as<Policies>(ask({{"op", "policies"}}, timeout));
}
AgentClient::Answer<std::vector<JobRecord>> AgentClient::accounted(const std::vector<std::string>& names,
                                                                   std::int64_t since, Milliseconds timeout) {
  return as<std::vector<JobRecord>>(ask({{"op", "accounted"}, {"names", names}, {"since", since}}, timeout));
}

Result<Site> read_site(AgentClient& agent, AgentClient::Milliseconds timeout) {
  const auto silent = [](const Fault& fault) {
    return fail(ErrorCode::retry_later, "the Slurm controller does not answer: " + fault.text);
  };
  Site site;
  auto info = agent.info(timeout);
  if (!info) return silent(info.error());
  site.info = std::move(*info);
  auto partitions = agent.partitions(timeout);
  if (!partitions) return silent(partitions.error());
  site.partitions = std::move(*partitions);
  if (!site.info.enforces_limits) return site;
  // A site may keep them from its users; then a limit is learnt when the controller refuses what is beyond it.
  if (auto policies = agent.policies(timeout)) site.policies = std::make_shared<const Policies>(std::move(*policies));
  return site;
}

}  // namespace allot::slurm
