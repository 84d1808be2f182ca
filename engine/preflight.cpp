// SPDX-License-Identifier: MIT
#include "engine/preflight.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "process/fd.h"

namespace allot {
namespace {

constexpr const char* kElsewhere = "; if only the nodes have it, set check_paths = false in the cluster's [parameters]";

std::string absolute(const std::string& path, const std::string& cwd) {
  return path[0] == '/' ? path : cwd + "/" + path;
}

// Such a path names another file in each process.
bool is_of_a_process(const std::string& path) {
  return path.rfind("/dev/", 0) == 0 || path.rfind("/proc/", 0) == 0;
}

std::string parent_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == 0 ? "/" : path.substr(0, slash);
}

// The kernel's MAX_ARG_STRLEN, the NUL included.
std::size_t longest_string() {
  static const auto kLongest = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)) * 32;
  return kLongest;
}

// What no stack limit makes room for: three quarters of the kernel's _STK_LIM.
constexpr std::size_t kMostBytes = std::size_t{6} << 20;

std::optional<std::string> size_fault(const TaskSpec& task) {
  std::size_t total = 0;
  const auto add = [&total](std::size_t length) {
    total += length + 1;
    return length + 1 > longest_string();
  };
  for (std::size_t i = 0; i < task.argv.size(); ++i) {
    if (add(task.argv[i].size())) {
      return fmt::format("its argument {} has {} bytes, and the kernel takes {}: put it into a file", i,
                         task.argv[i].size(), longest_string() - 1);
    }
  }
  if (add(task.shell_line.size())) {
    return fmt::format("its shell line has {} bytes, and the kernel takes {}: put it into a script",
                       task.shell_line.size(), longest_string() - 1);
  }
  for (const auto& [name, value] : task.env) {
    const std::size_t length = name.size() + 1 + value.size();
    if (add(length)) {
      return fmt::format(
          "its variable {} has {} bytes with its name, and the kernel takes {}: put the value into a file", name,
          length, longest_string() - 1);
    }
  }
  if (total <= kMostBytes) return std::nullopt;
  return fmt::format("its arguments and variables have {} bytes together, and the kernel takes {}: put them into files",
                     total, kMostBytes);
}

}  // namespace

const std::optional<std::string>& Preflight::directory_fault(const std::string& path) {
  const auto [found, is_new] = directories_.try_emplace(path);
  if (!is_new) return found->second;
  struct stat status {};
  int error = 0;
  if (::stat(path.c_str(), &status) != 0) {
    error = errno;
  } else if (!S_ISDIR(status.st_mode)) {
    error = ENOTDIR;
  } else if (::access(path.c_str(), X_OK) != 0) {
    error = errno;
  }
  if (error != 0) {
    found->second = fmt::format("its working directory {}: {}{}", path, errno_text(error), kElsewhere);
  }
  return found->second;
}

const std::optional<std::string>& Preflight::output_fault(const std::string& path) {
  const auto [found, is_new] = outputs_.try_emplace(path);
  if (!is_new || is_of_a_process(path)) return found->second;
  struct stat status {};
  int error = 0;
  if (::stat(path.c_str(), &status) == 0) {
    const int needed = S_ISDIR(status.st_mode) ? W_OK | X_OK : W_OK;
    if (::access(path.c_str(), needed) != 0) error = errno;
  } else if (errno != ENOENT || ::access(parent_of(path).c_str(), W_OK | X_OK) != 0) {
    error = errno;
  }
  if (error != 0) found->second = fmt::format("{}: {}{}", path, errno_text(error), kElsewhere);
  return found->second;
}

std::optional<std::string> Preflight::file_fault(const TaskSpec& task, const std::string& cwd) {
  if (!task.stdin_path.empty()) {
    const std::string path = absolute(task.stdin_path, cwd);
    if (!is_of_a_process(path) && ::access(path.c_str(), R_OK) != 0) {
      return fmt::format("its standard input {}: {}{}", path, errno_text(errno), kElsewhere);
    }
  }
  if (!task.stdout_path.empty()) {
    if (const auto& fault = output_fault(absolute(task.stdout_path, cwd))) return "its standard output " + *fault;
  }
  if (!task.stderr_path.empty()) {
    if (const auto& fault = output_fault(absolute(task.stderr_path, cwd))) return "its standard error " + *fault;
  }
  return std::nullopt;
}

std::optional<std::string> Preflight::fault_of(const TaskSpec& task) {
  const std::string& cwd = task.cwd.empty() ? batch_cwd_ : task.cwd;
  auto fault = size_fault(task);
  if (!fault) fault = directory_fault(cwd);
  if (!fault) fault = file_fault(task, cwd);
  if (fault) *fault = "it could not start: " + *fault;
  return fault;
}

std::map<std::string, StepRanges> Preflight::take_faulty(TaskTableReader& table, StepRanges& steps) {
  std::map<std::string, StepRanges> faulty;
  StepRanges good;
  for (const StepRange& range : steps.ranges()) {
    for (std::uint64_t step = range.first; step < range.first + range.count; ++step) {
      const auto row = table.row(step);
      const auto fault = row ? fault_of(**row) : std::nullopt;
      (fault ? faulty[*fault] : good).append(step);
    }
  }
  steps = std::move(good);
  return faulty;
}

}  // namespace allot
