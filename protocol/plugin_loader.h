// SPDX-License-Identifier: MIT
// Finds and loads plugins. Each failure is a value of its own; none stops the other plugins.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "protocol/plugin.h"

namespace allot {

/// How far loading a plugin came.
enum class PluginState {
  loaded,       ///< usable by ABI; whether its environment is there is for probe() to say
  absent,       ///< no such library in any directory searched
  unloadable,   ///< the file is there, the dynamic linker refuses it (a missing library, not a shared object, …), or
                ///< what it makes is not a plugin of that name
  no_entry,     ///< it loads and has no entry symbol: some other library
  wrong_abi,    ///< built for another ABI number or toolchain
  unsafe_path,  ///< another user could write the file or a directory above it (path_safety.h): not loaded
};
std::string_view to_string(PluginState state);

struct LoadedPlugin {
  std::string name;
  std::string path;  ///< of the library; empty if absent
  PluginState state = PluginState::absent;
  std::string message;             ///< what is wrong and what to do; empty if loaded
  std::shared_ptr<Plugin> plugin;  ///< set exactly if loaded
};

/// Loads plugins from given directories, first match wins (also over a later one that would load); a library is
/// `liballot_NAME.so`. Libraries are never unloaded. Thread rule: one thread at a time.
class PluginLoader {
 public:
  /// The usual search order: $ALLOT_PLUGIN_PATH (colon-separated), then the directories given.
  static std::vector<std::string> search_path(const std::vector<std::string>& built_in);

  explicit PluginLoader(std::vector<std::string> directories) : directories_(std::move(directories)) {}

  /// Loads one plugin by name. Repeating returns the same object; what failed is tried again.
  LoadedPlugin load(const std::string& name);

  /// Every plugin found in the directories, sorted by name, loaded or not. Directories that are not there are passed
  /// over.
  std::vector<LoadedPlugin> load_all();

  const std::vector<std::string>& directories() const { return directories_; }

 private:
  LoadedPlugin load_file(const std::string& name, const std::string& path);

  std::vector<std::string> directories_;
  std::vector<LoadedPlugin> cache_;
};

}  // namespace allot
