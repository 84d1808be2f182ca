// SPDX-License-Identifier: MIT
// The inside of WorkerNode, shared by its sources.
#pragma once

#include <bitset>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "worker_node/node_commit.h"
#include "worker_node/node_slot.h"
#include "worker_node/shared_queue.h"
#include "worker_node/worker_node.h"

namespace allot {

class WorkerNode::Impl : public std::enable_shared_from_this<WorkerNode::Impl> {
 public:
  Impl(boost::asio::io_context& io, WorkerNodeOptions options, WorkerNodeHandler handler);
  ~Impl();

  Result<void> start();
  void hand(const wire::Hand& hand);
  void terminate(const wire::Terminate& request);
  void recall(const wire::Recall& request);
  void set_limit(std::uint32_t slots);
  void leave(std::chrono::milliseconds grace);
  void abandon();  // the owner is gone: no more callbacks, guards see their lifeline close

  std::map<std::uint32_t, wire::SubmissionInfo> submissions_;
  std::vector<NodeSlot> slots_;
  bool left_ = false;

  std::vector<RunKey> running() const;
  std::uint64_t waiting() const;

 private:
  struct Waiting {
    std::uint32_t step = 0;
    std::uint32_t submission = 0;
  };

  Result<void> map_queue();
  Result<void> launch(NodeSlot& slot);
  void publish();
  void poke(NodeSlot& slot);
  void poke_sleepers();
  void collect();
  void free_ended();
  void begin_commit();
  void open_outputs(NodeSlot& slot, CommitPart& part);
  void end_commit(const std::vector<CommitPart>& parts);
  void wait_for_wake();
  void rest();
  bool has_news() const;
  bool has_settled_entries() const;
  bool slot_idles_with_news() const;
  void arm_space_timer();
  void leave_if_done();
  void put_back(NodeSlot& slot, std::uint32_t index);
  void give_back(std::uint32_t submission, std::vector<std::uint32_t> steps, wire::Returned::Reason reason);
  void notify(wire::Notice::Kind kind, std::string text);

  // What follows a guard's death (node_death.cpp).
  void watch_guard(NodeSlot& slot, Fd exit_descriptor);
  void on_guard_exit(std::uint32_t index, pid_t pid);
  void look_after_slots();
  void mend(NodeSlot& slot);
  Result<void> bury(NodeSlot& slot);
  std::vector<std::uint32_t> entries_of(const NodeSlot& slot) const;

  boost::asio::io_context& io_;
  WorkerNodeOptions options_;
  WorkerNodeHandler handler_;
  BatchDirectory batch_;
  GuardOptions guard_options_;
  Spawner spawner_;
  Fd memory_;
  SharedQueue* queue_ = nullptr;
  boost::asio::posix::stream_descriptor wake_;
  boost::asio::steady_timer gather_timer_;
  boost::asio::steady_timer care_timer_;
  boost::asio::steady_timer space_timer_;
  boost::asio::thread_pool sync_thread_{1};

  std::deque<Waiting> backlog_;      // handed, no room in the shared queue yet
  std::vector<std::uint32_t> live_;  // entries in use, in the order of their publication
  std::bitset<kQueueCapacity> in_use_;
  std::vector<std::uint32_t> ended_;  // entries whose end is in the commit under way
  std::bitset<kQueueCapacity> has_ended_;
  std::uint32_t wanted_limit_ = UINT32_MAX;
  bool committing_ = false;
  bool gathering_ = false;
  bool short_of_space_ = false;
  bool space_timer_armed_ = false;
  bool leaving_ = false;
  bool abandoned_ = false;
  bool ledger_is_gone_ = false;                          // records or outputs were removed
  int sync_error_ = 0;                                   // errno of the last failed sync; told once
  std::vector<std::pair<std::uint32_t, pid_t>> deaths_;  // guard exits to act on once no commit is under way
};

}  // namespace allot
