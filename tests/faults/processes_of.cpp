// SPDX-License-Identifier: MIT
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <system_error>

#include "tests/faults/judge.h"

namespace allot::faults {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> split_at_nul(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::vector<std::string> parts;
  for (std::string part; std::getline(file, part, '\0');) parts.push_back(part);
  return parts;
}

bool same_directory(const std::string& path, const std::string& wanted) {
  std::error_code error;
  return path == wanted || (!path.empty() && path[0] == '/' && fs::weakly_canonical(path, error).string() == wanted);
}

// "" when the process has nothing to do with the batch; else why it has.
std::string claim_on(const fs::path& process, const std::string& batch) {
  const std::vector<std::string> arguments = split_at_nul(process / "cmdline");
  if (arguments.empty()) return "";  // a zombie, or the kernel's
  std::string name = fs::path(arguments[0]).filename().string();
  if (name.rfind("allot", 0) == 0) {
    for (const std::string& argument : arguments) {
      const auto equals = argument.find('=');
      if (same_directory(argument, batch) ||
          (equals != std::string::npos && same_directory(argument.substr(equals + 1), batch))) {
        return name;
      }
    }
  }
  for (const std::string& entry : split_at_nul(process / "environ")) {
    const std::string key = "ALLOT_BATCH_DIR=";
    if (entry.rfind(key, 0) == 0 && same_directory(entry.substr(key.size()), batch))
      return name + ", a process of a task";
  }
  return "";
}

}  // namespace

std::vector<std::string> processes_of(const BatchDirectory& batch) {
  std::vector<std::string> found;
  std::error_code error;
  const std::string path = fs::weakly_canonical(batch.path(), error).string();
  for (fs::directory_iterator at("/proc", error), end; !error && at != end; at.increment(error)) {
    const std::string pid = at->path().filename().string();
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string why = claim_on(at->path(), path);
    if (!why.empty()) found.push_back("left_behind: pid " + pid + " (" + why + ") lives");
  }
  return found;
}

}  // namespace allot::faults
