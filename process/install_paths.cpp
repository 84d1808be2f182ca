// SPDX-License-Identifier: MIT
#include "process/install_paths.h"

#include <dlfcn.h>
#include <limits.h>

#include <cstdlib>

namespace allot {
namespace {

// The directory of the shared object that holds this very function.
std::string library_directory() {
  Dl_info info;
  char resolved[PATH_MAX];
  if (::dladdr(reinterpret_cast<void*>(&library_directory), &info) == 0 || info.dli_fname == nullptr ||
      ::realpath(info.dli_fname, resolved) == nullptr) {
    return ".";
  }
  std::string path = resolved;
  return path.substr(0, path.rfind('/'));
}

std::string below_library(const char* relative) {
  std::string path = library_directory() + "/" + relative;
  char resolved[PATH_MAX];
  return ::realpath(path.c_str(), resolved) != nullptr ? std::string(resolved) : path;
}

}  // namespace

std::string worker_node_program() {
  return below_library(ALLOT_LIB_TO_BIN "/allot-worker-node");
}
std::string guard_program() {
  return below_library(ALLOT_LIB_TO_LIBEXEC "/allot-guard");
}
std::string element_program() {
  return below_library(ALLOT_LIB_TO_LIBEXEC "/allot-element");
}
std::string agent_program(const std::string& scheduler) {
  const std::string element = element_program();
  return element.substr(0, element.rfind('/') + 1) + "allot-" + scheduler + "-agent";
}
std::string plugin_directory() {
  return below_library("allot/plugins");
}
std::string cluster_config_directory() {
  return below_library(ALLOT_LIB_TO_DATA "/allot/cluster_configs");
}

}  // namespace allot
