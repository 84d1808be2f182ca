// SPDX-License-Identifier: MIT
#include "worker_node/shared_queue.h"

#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "tests/support/catch.h"

using namespace allot;

namespace {
void publish(SharedQueue& queue, std::uint32_t step) {
  const std::uint64_t tail = queue.tail.load();
  QueueEntry& entry = queue.entries[tail % kQueueCapacity];
  entry.step = step;
  entry.state.store(kEntryQueued);
  queue.tail.store(tail + 1);
}
}  // namespace

TEST_CASE("entries are claimed in order, once each, and not above the limit") {
  auto queue = std::make_unique<SharedQueue>();
  queue->limit.store(1);
  publish(*queue, 10);
  publish(*queue, 11);
  std::uint64_t position = 99;
  CHECK_FALSE(claim_entry(*queue, 1, position));
  REQUIRE(claim_entry(*queue, 0, position));
  CHECK(position == 0);
  CHECK(queue->entries[0].state.load() == entry_state(kEntryClaimed, 0));
  REQUIRE(claim_entry(*queue, 0, position));
  CHECK(position == 1);
  CHECK_FALSE(claim_entry(*queue, 0, position));
  publish(*queue, 12);
  queue->draining.store(1);
  CHECK_FALSE(claim_entry(*queue, 0, position));
}

TEST_CASE("an entry that was taken back is passed over") {
  auto queue = std::make_unique<SharedQueue>();
  queue->limit.store(1);
  publish(*queue, 0);
  publish(*queue, 1);
  queue->entries[0].state.store(kEntryRecalled);
  std::uint64_t position = 0;
  REQUIRE(claim_entry(*queue, 0, position));
  CHECK(position == 1);
  CHECK(queue->head.load() == 2);
}

TEST_CASE("many slots racing for many entries get each exactly once") {
  auto queue = std::make_unique<SharedQueue>();
  constexpr std::uint32_t kSlots = 4;
  constexpr std::uint32_t kTasks = kQueueCapacity;
  queue->limit.store(kSlots);
  std::vector<std::vector<std::uint32_t>> got(kSlots);
  std::atomic<bool> all_published{false};
  std::vector<std::thread> threads;
  for (std::uint32_t slot = 0; slot < kSlots; ++slot) {
    threads.emplace_back([&, slot] {
      for (;;) {
        const bool last_look = all_published.load();
        std::uint64_t position = 0;
        if (claim_entry(*queue, slot, position)) {
          got[slot].push_back(queue->entries[position % kQueueCapacity].step);
        } else if (last_look) {
          return;
        }
      }
    });
  }
  for (std::uint32_t step = 0; step < kTasks; ++step) publish(*queue, step);
  all_published.store(true);
  for (auto& thread : threads) thread.join();
  std::set<std::uint32_t> steps;
  std::size_t count = 0;
  for (const auto& list : got) {
    count += list.size();
    steps.insert(list.begin(), list.end());
  }
  CHECK(count == kTasks);
  CHECK(steps.size() == kTasks);
}
