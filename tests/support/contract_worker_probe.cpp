// SPDX-License-Identifier: MIT
// Runs as a task and prints what it sees of itself, one "key=value" per line.
//   contract_worker_probe fds               the descriptors that it was given
//   contract_worker_probe worker DIR NAME LOG_DIR   the view of the ClusterWorkerNode of plugin NAME in DIR
#include <dirent.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "protocol/plugin_loader.h"

namespace {

int print_descriptors() {
  DIR* directory = ::opendir("/proc/self/fd");
  if (directory == nullptr) return 1;
  while (const dirent* entry = ::readdir(directory)) {
    if (entry->d_name[0] == '.' || std::atoi(entry->d_name) == ::dirfd(directory)) continue;
    char target[4096];
    const std::string link = std::string("/proc/self/fd/") + entry->d_name;
    const ssize_t length = ::readlink(link.c_str(), target, sizeof target);
    std::printf("%s=%.*s\n", entry->d_name, static_cast<int>(length < 0 ? 0 : length), target);
  }
  ::closedir(directory);
  return 0;
}

void print_log_file(allot::ClusterWorkerNode& node, const char* key, allot::LogType type,
                    const std::string& directory) {
  const auto path = node.initialize_logfile(type, directory, "probe");
  std::printf("%s=%s\n", key, path ? path->c_str() : ("error: " + path.error().message).c_str());
}

int print_worker_node(const std::string& plugin_directory, const std::string& name, const std::string& log_directory) {
  allot::PluginLoader loader({plugin_directory});
  const auto loaded = loader.load(name);
  if (!loaded.plugin) {
    std::fprintf(stderr, "%s\n", loaded.message.c_str());
    return 1;
  }
  const auto node = loaded.plugin->create_worker_node();
  if (!node) {
    std::fprintf(stderr, "%s\n", node.error().message.c_str());
    return 1;
  }
  const auto step = (*node)->array_step_id();
  std::printf("distributor_id=%s\n", (*node)->distributor_id().value_or("nothing").c_str());
  std::printf("array_step_id=%s\n", step ? std::to_string(*step).c_str() : "nothing");
  print_log_file(**node, "stdout_log", allot::LogType::standard_output, log_directory);
  print_log_file(**node, "stderr_log", allot::LogType::standard_error, log_directory);
  print_log_file(**node, "no_log", allot::LogType::standard_output, "");
  print_log_file(**node, "bad_log", allot::LogType::standard_output, "/dev/null/nowhere");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view mode = argc > 1 ? argv[1] : "";
  if (mode == "fds") return print_descriptors();
  if (mode == "worker" && argc == 5) return print_worker_node(argv[2], argv[3], argv[4]);
  std::fprintf(stderr, "contract_worker_probe: unknown arguments\n");
  return 2;
}
