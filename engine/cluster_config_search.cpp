// SPDX-License-Identifier: MIT
// The half of cluster_config_file.h that finds files; it opens none.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <boost/filesystem.hpp>
#include <cstdlib>
#include <set>
#include <string_view>

#include "engine/cluster_config_file.h"
#include "engine/nearest_name.h"

namespace allot {
namespace {

namespace fs = boost::filesystem;

constexpr std::string_view kSuffix = ".toml";

std::string_view environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string_view() : value;
}

bool is_there_and_no_directory(const fs::path& path) {
  boost::system::error_code error;
  const fs::file_status status = fs::symlink_status(path, error);
  if (status.type() == fs::symlink_file)
    return !fs::is_directory(path, error);  // a broken link is told when it is read
  return status.type() != fs::file_not_found && status.type() != fs::status_error &&
         status.type() != fs::directory_file;
}

}  // namespace

std::vector<std::string> cluster_config_directories(const std::string& built_in) {
  std::vector<std::string> directories;
  std::string_view listed = environment("ALLOT_CLUSTER_PATH");
  while (!listed.empty()) {
    const std::size_t colon = listed.find(':');
    if (colon != 0) directories.emplace_back(listed.substr(0, colon));
    listed = colon == std::string_view::npos ? "" : listed.substr(colon + 1);
  }
  const std::string_view config_home = environment("XDG_CONFIG_HOME");
  const std::string_view home = environment("HOME");
  if (config_home.starts_with('/')) {  // the XDG specification says to ignore relative ones
    directories.push_back(std::string(config_home) + "/allot/clusters");
  } else if (!home.empty()) {
    directories.push_back(std::string(home) + "/.config/allot/clusters");
  }
  if (!built_in.empty()) directories.push_back(built_in);
  return directories;
}

std::vector<ClusterFile> find_cluster_configs(const std::vector<std::string>& directories) {
  std::vector<ClusterFile> found;
  std::set<std::string> names;
  for (const std::string& directory : directories) {
    std::set<std::string> here;
    boost::system::error_code error;
    fs::directory_iterator entry(directory, error);
    for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
      const std::string file = entry->path().filename().string();
      if (file.size() > kSuffix.size() && file.ends_with(kSuffix) && file[0] != '.' &&
          is_there_and_no_directory(entry->path())) {
        here.insert(file.substr(0, file.size() - kSuffix.size()));
      }
    }
    for (const std::string& name : here)
      if (names.insert(name).second) found.push_back({name, directory + "/" + name + std::string(kSuffix)});
  }
  return found;
}

Result<ClusterFile> find_cluster_config(const std::vector<std::string>& directories, const std::string& name_or_path) {
  if (name_or_path.find('/') != std::string::npos)
    return ClusterFile{fs::path(name_or_path).stem().string(), name_or_path};
  std::vector<std::string> names;
  for (const ClusterFile& file : find_cluster_configs(directories)) {
    if (file.name == name_or_path) return file;
    names.push_back(file.name);
  }
  std::string message = fmt::format("there is no cluster \"{}\"", name_or_path);
  const auto nearest = nearest_name(name_or_path, names);
  if (nearest) message += fmt::format("; did you mean {}?", *nearest);
  if (!names.empty()) message += fmt::format("{} there are: {}", nearest ? "" : ";", fmt::join(names, ", "));
  message += fmt::format("; looked for {}{} in: {}", name_or_path, kSuffix,
                         directories.empty() ? "no directory" : fmt::format("{}", fmt::join(directories, ", ")));
  return fail(ErrorCode::fix_request, message + ". Give the name of one of these, or the path of a file (with a '/')");
}

}  // namespace allot
