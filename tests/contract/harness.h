// SPDX-License-Identifier: MIT
// The plugin under test, and what the suite must know of it beyond the protocol: a line in one table.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "protocol/plugin.h"

namespace allot::contract {

/// All that differs between plugins for this suite. Everything else is promised to be the same.
struct PluginTraits {
  std::string name;
  bool synchronous = false;        ///< submit returns when the tasks are over: tests call it from a thread
  bool configurable_slots = true;  ///< a parameter `slots` says how many tasks run at once; else one at a time
  /// A scheduler of its own, there before the tests (tests/slurm_cluster), says what starts when; how many tasks run at
  /// once is a matter of the queue, one for each number of slots. What is due between batches is the scheduler's to
  /// say.
  bool has_scheduler = false;
  const char* small_queue = "small";  ///< names of queues that a cluster's file may describe
  const char* large_queue = "large";
};

/// Nothing for a plugin that has no line in the table.
const PluginTraits* find_traits(const std::string& plugin_name);

/// How a test wants its cluster. What a plugin has no parameter for is left out (by its parameter_specs).
struct ClusterOptions {
  std::int64_t slots = 2;
  std::optional<std::int64_t> memory_bytes;  ///< of all slots together
  std::int64_t kill_grace_milliseconds = 300;
  std::map<std::string, ParameterValue> more;
};

/// Made by main, before any test runs, and not changed after.
struct Harness {
  PluginTraits traits;
  std::shared_ptr<Plugin> plugin;
};
const Harness& harness();
void set_harness(Harness made);

ClusterConfig make_config(const ClusterOptions& options = {});

/// Tasks of one core that the cluster of these options runs at once.
std::uint64_t slots_of(const ClusterOptions& options);

/// What a node of the cluster of these options is called.
std::string node_name(const ClusterOptions& options = {});

/// A distributor that is not started. Fails the test when the plugin makes none.
std::unique_ptr<ClusterDistributor> make_distributor(const ClusterOptions& options = {});

}  // namespace allot::contract
