// SPDX-License-Identifier: MIT
#include "protocol/plugin_loader.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <link.h>
#include <string.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <string_view>
#include <system_error>

#include "protocol/path_safety.h"

namespace allot {
namespace {

constexpr std::string_view kPrefix = "liballot_";
constexpr std::string_view kSuffix = ".so";

std::string library_name(const std::string& name) {
  return std::string(kPrefix).append(name).append(kSuffix);
}

// A name becomes part of a file's name: nothing in it may lead elsewhere.
bool is_plugin_name(std::string_view name) {
  return !name.empty() && name.find_first_not_of("abcdefghijklmnopqrstvuwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") ==
                              std::string_view::npos;
}

// dlopen(3) maps what the headers promise without looking at the file's length: a library cut short (an installation
// that ran out of space) ends this process with SIGBUS. Returns what is wrong; leaves all else to dlopen.
std::optional<std::string> find_truncation(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  const std::streamoff end = file.tellg();
  ElfW(Ehdr) header;
  if (!file || end < static_cast<std::streamoff>(sizeof header)) return std::nullopt;
  const auto length = static_cast<std::uint64_t>(end);
  file.seekg(0);
  file.read(reinterpret_cast<char*>(&header), sizeof header);
  if (!file || ::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_phentsize != sizeof(ElfW(Phdr)))
    return std::nullopt;

  auto ends_after = [length](std::uint64_t offset, std::uint64_t size) {
    return size > 0 && (offset > length || size > length - offset);
  };
  const std::string cut =
      "the file is cut short: of what its headers speak of, its " + std::to_string(length) + " bytes do not hold the ";
  // The table of sections is the last thing in the file: this one test finds every cut of what was not stripped of it.
  if (ends_after(header.e_shoff, std::uint64_t{header.e_shnum} * header.e_shentsize)) return cut + "table of sections";
  if (ends_after(header.e_phoff, std::uint64_t{header.e_phnum} * header.e_phentsize)) return cut + "table of segments";
  file.seekg(static_cast<std::streamoff>(header.e_phoff));
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    ElfW(Phdr) segment;
    file.read(reinterpret_cast<char*>(&segment), sizeof segment);
    if (!file) return std::nullopt;
    if (segment.p_type == PT_LOAD && ends_after(segment.p_offset, segment.p_filesz)) return cut + "code and data";
  }
  return std::nullopt;
}

std::string quoted(const char* text) {
  return text == nullptr ? "none" : "\"" + std::string(text) + "\"";
}

// The shared object that holds this very function; empty if it cannot be told.
std::string own_library() {
  Dl_info info;
  char resolved[PATH_MAX];
  if (::dladdr(reinterpret_cast<void*>(&own_library), &info) == 0 || info.dli_fname == nullptr ||
      ::realpath(info.dli_fname, resolved) == nullptr) {
    return "";
  }
  return resolved;
}

LoadedPlugin failed(std::string name, std::string path, PluginState state, const std::string& message) {
  std::string subject = "plugin \"" + name + "\": ";
  if (!path.empty()) subject += path + ": ";
  return {std::move(name), std::move(path), state, subject + message, nullptr};
}

}  // namespace

std::string_view to_string(PluginState state) {
  switch (state) {
    case PluginState::loaded:
      return "loaded";
    case PluginState::absent:
      return "absent";
    case PluginState::unloadable:
      return "unloadable";
    case PluginState::no_entry:
      return "no_entry";
    case PluginState::wrong_abi:
      return "wrong_abi";
    case PluginState::unsafe_path:
      return "unsafe_path";
  }
  return "unknown_state";
}

std::vector<std::string> PluginLoader::search_path(const std::vector<std::string>& built_in) {
  std::vector<std::string> directories;
  if (const char* variable = std::getenv("ALLOT_PLUGIN_PATH")) {
    std::string_view rest = variable;
    for (;;) {
      const std::size_t colon = rest.find(':');
      if (colon != 0 && !rest.empty()) directories.emplace_back(rest.substr(0, colon));
      if (colon == std::string_view::npos) break;
      rest.remove_prefix(colon + 1);
    }
  }
  directories.insert(directories.end(), built_in.begin(), built_in.end());
  return directories;
}

LoadedPlugin PluginLoader::load(const std::string& name) {
  for (const LoadedPlugin& known : cache_)
    if (known.name == name) return known;
  if (!is_plugin_name(name)) {
    return failed(name, "", PluginState::absent,
                  "this is no plugin's name; expected letters, digits, '_' and '-', such as \"multiprocess\"");
  }
  std::string searched;
  for (const std::string& directory : directories_) {
    const std::string path = directory + "/" + library_name(name);
    struct stat status;
    if (::lstat(path.c_str(), &status) == 0) {
      LoadedPlugin loaded = load_file(name, path);
      // Failures are not kept: the file may have been mended until the next call.
      if (loaded.state == PluginState::loaded) cache_.push_back(loaded);
      return loaded;
    }
    const int error = errno;
    searched += (searched.empty() ? "" : ", ") + directory;
    if (error != ENOENT) searched += std::string(" (") + ::strerror(error) + ")";
  }
  if (searched.empty()) searched = "no directory (the search path is empty)";
  return failed(name, "", PluginState::absent,
                "expected " + library_name(name) + ", which is in none of the directories searched: " + searched +
                    ". Install the plugin, correct its name, or put its directory into ALLOT_PLUGIN_PATH");
}

std::vector<LoadedPlugin> PluginLoader::load_all() {
  std::set<std::string> names;
  for (const std::string& directory : directories_) {
    std::error_code error;
    auto entry = std::filesystem::directory_iterator(directory, error);
    for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
      const std::string file = entry->path().filename().string();
      if (file.size() <= kPrefix.size() + kSuffix.size() || !file.starts_with(kPrefix) || !file.ends_with(kSuffix))
        continue;
      std::string name = file.substr(kPrefix.size(), file.size() - kPrefix.size() - kSuffix.size());
      if (is_plugin_name(name)) names.insert(std::move(name));
    }
  }
  std::vector<LoadedPlugin> plugins;
  for (const std::string& name : names) plugins.push_back(load(name));
  return plugins;
}

LoadedPlugin PluginLoader::load_file(const std::string& name, const std::string& path) {
  auto no = [&](PluginState state, const std::string& message) { return failed(name, path, state, message); };

  // From here on the file is known by its real path: a symbolic link on the way could be turned elsewhere.
  char resolved[PATH_MAX];
  if (::realpath(path.c_str(), resolved) == nullptr)
    return no(PluginState::unloadable, std::string("found, and cannot be followed: ") + ::strerror(errno) +
                                           "; expected a shared library. Mend the link or install the plugin again");
  const std::string real_path = resolved;
  const std::string directory = path.substr(0, path.rfind('/'));
  const std::string own = own_library();
  const std::string remedy =
      "; expected that only root and you can write it and the directories above. Correct this with "
      "chown and chmod go-w, or install the plugin elsewhere";
  if (auto danger = find_danger_on_path(real_path, own))
    return no(PluginState::unsafe_path, "not loaded: " + *danger + remedy);
  // The directory that was searched matters of its own where the library in it is a symbolic link.
  if (::realpath(directory.c_str(), resolved) != nullptr) {
    if (auto danger = find_danger_on_path(resolved + std::string("/") + library_name(name), own))
      return no(PluginState::unsafe_path, "not loaded: " + *danger + remedy);
  }

  struct stat status;
  if (::stat(real_path.c_str(), &status) == 0 && !S_ISREG(status.st_mode))
    return no(PluginState::unloadable, "is no regular file; expected a shared library. Install the plugin again");
  if (auto fault = find_truncation(real_path))
    return no(PluginState::unloadable, *fault + ". Install the plugin again");
  void* library = ::dlopen(real_path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* reason = ::dlerror();
    return no(PluginState::unloadable,
              std::string("the dynamic linker refuses it: ") + (reason ? reason : "(no reason given)") +
                  "; expected a shared library whose own libraries are all there (ldd shows them). Install what is "
                  "missing, or the plugin again");
  }
  const void* symbol = ::dlsym(library, kPluginSymbol);
  if (symbol == nullptr) {
    return no(PluginState::no_entry,
              std::string("it is some other library: expected the symbol ") + kPluginSymbol +
                  ", which every allot plugin exports, and found none. Remove it from the plugin "
                  "directory, or build it with ALLOT_EXPORT_PLUGIN");
  }

  // Nothing else may be read before the number agrees: another ABI may lay out the rest differently.
  std::uint32_t abi = 0;
  ::memcpy(&abi, symbol, sizeof abi);
  const std::string rebuild = ". Build the plugin against this allot, or install the two from one release";
  if (abi != kPluginAbi) {
    return no(PluginState::wrong_abi,
              "its plugin ABI is " + std::to_string(abi) + "; expected " + std::to_string(kPluginAbi) + rebuild);
  }
  const auto* entry = static_cast<const PluginEntry*>(symbol);
  if (entry->toolchain == nullptr || std::string_view(entry->toolchain) != toolchain_tag()) {
    return no(PluginState::wrong_abi, "it was built by toolchain " + quoted(entry->toolchain) + "; expected " +
                                          quoted(toolchain_tag()) + rebuild);
  }

  // The contract says create() gives a plugin; what comes from a foreign file is checked all the same.
  std::shared_ptr<Plugin> plugin;
  try {
    plugin.reset(entry->create == nullptr ? nullptr : entry->create());
  } catch (const std::exception& error) {
    return no(PluginState::unloadable, std::string("its create() failed: ") + error.what() + "; expected a plugin");
  } catch (...) {
    return no(PluginState::unloadable, "its create() failed with an exception; expected a plugin");
  }
  if (!plugin) return no(PluginState::unloadable, "its create() gave nothing; expected a plugin. Install it again");
  if (plugin->name() == nullptr || plugin->name() != name) {
    return no(PluginState::unloadable, "it calls itself " + quoted(plugin->name()) + "; expected \"" + name +
                                           "\". Give the file its plugin's name, or install it again");
  }
  return {name, path, PluginState::loaded, "", std::move(plugin)};
}

}  // namespace allot
