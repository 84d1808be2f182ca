// SPDX-License-Identifier: MIT
// Tasks on this machine, P at a time: worker nodes with a few slots each, which get step numbers over a socket.
#pragma once

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "process/spawn.h"
#include "worker_node/local_distributor.h"

namespace allot {

struct WorkerLink;
struct Pool;

class MultiprocessDistributor final : public LocalDistributor {
 public:
  MultiprocessDistributor(ClusterConfig config, LocalSettings settings);
  ~MultiprocessDistributor() override;

  Result<void> start() override;
  Result<void> stop() override;
  Result<SubmittedIds> submit(const Submission& submission) override;
  Result<std::map<std::string, Termination>> terminate_task_instances(const std::vector<std::string>& ids,
                                                                      std::chrono::milliseconds grace) override;
  Result<std::map<std::string, std::string>> explain_pending(const std::vector<std::string>& ids) override;
  Result<std::uint64_t> hold(const std::vector<std::string>& ids) override;
  Result<std::uint64_t> release(const std::vector<std::string>& ids) override;
  Result<Reconciliation> reconcile(const std::string& batch_directory, const std::string& token) override;
  Result<void> forget_batch(const std::string& batch_directory) override;

 private:
  enum class Life { created, running, stopping, stopped };
  /// What a task takes while it runs.
  struct Shape {
    std::uint64_t cores = 1;
    std::uint64_t memory_bytes = 0;
    auto operator<=>(const Shape&) const = default;
  };
  struct Line;
  struct Outgoing;
  enum class Handed { yes, no_room, starting, unable };

  void serve();  // the io thread
  // All below run on the io thread with mutex_ held, unless said otherwise (distributor, pool and death sources).
  Pool& pool_of(std::uint32_t batch);
  Result<void> start_worker(Pool& pool, std::uint32_t slots, std::uint32_t first_slot);
  Result<void> ensure_workers(Pool& pool);
  Result<void> connect_channel(const std::shared_ptr<WorkerLink>& worker, Fd connection);
  /// Connects to the living worker nodes of a batch and, if they run some of `submission`, takes it up. Called by a
  /// user's thread with `lock` held, which is given up while it waits (at most start_timeout).
  Result<std::optional<std::uint32_t>> adopt(std::unique_lock<std::mutex>& lock, const BatchDirectory& batch,
                                             const Submission& submission);
  std::vector<std::int64_t> living_pids(std::uint32_t batch);
  std::vector<std::int64_t> adopted_pids(const std::string& batch_directory);
  void on_message(WorkerLink& worker, wire::Message message);
  void on_records(WorkerLink& worker, const wire::Records& records);
  void on_returned(WorkerLink& worker, const wire::Returned& returned);
  void on_closed(WorkerLink& worker, const std::string& why);
  void on_notice(WorkerLink& worker, const wire::Notice& notice);
  void await_death(std::shared_ptr<WorkerLink> worker, int waited_ms);
  Result<void> bury(WorkerLink& worker);
  void take_from_pool(Pool& pool, WorkerLink& worker);
  void resume_events();
  void give_up(Pool& pool, const std::string& why);
  void lose_batch(Pool& pool, const std::string& why);
  /// True: another batch is at its path now, or none.
  bool lose_if_removed(Pool& pool);
  std::string id_of(std::uint64_t key) const;
  void listen_for_heartbeats();
  void hand(WorkerLink& worker, RunBook::Found task);
  void take_off(WorkerLink& worker, RunBook::Found task);
  void put_back(Pool& pool, RunBook::Found task);
  void pump();
  void drop_idle_pools();
  void start_first(std::vector<Line>& lines, bool alone);
  Handed hand_next(Line& line, bool alone, Outgoing& out, Shape& promised);
  WorkerLink* roomiest(Pool& pool, std::uint32_t at_once, std::uint64_t ahead) const;
  void send(const Outgoing& out);
  void recall_waiting(Pool& pool);
  void rebalance(Pool& pool);
  void share_out(Pool& pool, std::uint32_t at_once);
  void ask_to_leave(Pool& pool);
  void retire_idle_pools(const Pool& except);
  void schedule_pump();  // any thread
  std::string explain(RunBook::Found task, const std::vector<Line>& lines) const;
  std::string shortage(const Shape& shape, const Pool* pool) const;
  std::vector<Line> waiting_lines();
  std::optional<RunBook::Found> next_pending(Pool& pool);
  Shape shape_of(std::uint32_t entry) const;
  bool fits(const Shape& shape, const Shape& promised) const;
  std::uint32_t most_at_once(const Shape& shape) const;
  void set_blocked(const std::string& why);
  Result<void> usable(const char* what) const;

  boost::asio::io_context io_{1};
  std::optional<boost::asio::executor_work_guard<boost::asio::io_context::executor_type>> work_;
  std::optional<boost::asio::steady_timer> heartbeat_;
  std::thread thread_;
  Life life_ = Life::created;
  std::vector<std::unique_ptr<Pool>> pools_;
  std::map<Shape, std::uint64_t> handed_shapes_;  // tasks handed out and not ended
  std::uint64_t reserved_cores_ = 0;
  std::uint64_t reserved_memory_ = 0;
  std::uint64_t served_ = 0;  // tasks handed out so far
  Spawner spawner_;
};

}  // namespace allot
