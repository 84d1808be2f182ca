// SPDX-License-Identifier: MIT
// The binary interface of a plugin: one exported symbol, a number checked before anything else.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "protocol/cluster_config.h"
#include "protocol/cluster_distributor.h"
#include "protocol/cluster_queue.h"
#include "protocol/cluster_worker_node.h"

namespace allot {

/// Raised with every change of a type that crosses the boundary.
inline constexpr std::uint32_t kPluginAbi = 2;

/// Compiler and standard library that C++ types of this build are laid out by; driver and plugin must agree.
const char* toolchain_tag();

struct ProbeResult {
  bool usable = false;
  std::string text;  ///< usable: what was found ("2 cores"); else what is missing and how to get it
};

/// What a plugin makes. Stateless; thread rule: any thread. No method throws.
class Plugin {
 public:
  virtual ~Plugin() = default;
  virtual const char* name() const = 0;         ///< as `plugin = "…"` in a cluster's TOML
  virtual const char* description() const = 0;  ///< one line
  virtual std::vector<ParameterSpec> parameter_specs() const = 0;

  /// Is the environment there (daemons, launchers, permissions)? Changes nothing; bounded: 5 s.
  virtual ProbeResult probe(const ClusterConfig& config) const = 0;

  /// Errors: fix_request for parameters that do not go together. The distributor is not started.
  virtual Result<std::unique_ptr<ClusterDistributor>> create_distributor(const ClusterConfig& config) const = 0;
  /// The queues of the cluster, default first; at least one.
  virtual Result<std::vector<std::unique_ptr<ClusterQueue>>> create_queues(const ClusterConfig& config) const = 0;
  virtual Result<std::unique_ptr<ClusterWorkerNode>> create_worker_node() const = 0;
};

/// What the exported symbol points to. `abi` stays first for ever: it is read before anything else is believed.
struct PluginEntry {
  std::uint32_t abi;
  const char* toolchain;  ///< toolchain_tag() of the plugin's build
  Plugin* (*create)();    ///< never null; the host owns the result and never unloads the library
};

inline constexpr char kPluginSymbol[] = "allot_plugin_entry";

}  // namespace allot

/// Defines the one exported symbol of a plugin. `toolchain_tag()` is inlined as text so that it is the plugin's own.
#define ALLOT_EXPORT_PLUGIN(PluginClass)                                                              \
  extern "C" __attribute__((visibility("default"))) const ::allot::PluginEntry allot_plugin_entry = { \
      ::allot::kPluginAbi, ALLOT_TOOLCHAIN_TAG, []() -> ::allot::Plugin* { return new PluginClass; }}

#define ALLOT_STRINGIFY2(x) #x
#define ALLOT_STRINGIFY(x) ALLOT_STRINGIFY2(x)
#if defined(_GLIBCXX_RELEASE)
#define ALLOT_STDLIB_TAG \
  "libstdc++" ALLOT_STRINGIFY(_GLIBCXX_RELEASE) "-cxx11abi" ALLOT_STRINGIFY(_GLIBCXX_USE_CXX11_ABI)
#else
#define ALLOT_STDLIB_TAG "libc++" ALLOT_STRINGIFY(_LIBCPP_VERSION)
#endif
#define ALLOT_TOOLCHAIN_TAG "gnu-abi" ALLOT_STRINGIFY(__GXX_ABI_VERSION) "-" ALLOT_STDLIB_TAG
