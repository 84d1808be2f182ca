// SPDX-License-Identifier: MIT
#include "process/machine.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <sstream>

#include "process/fd.h"

namespace allot {
namespace {

struct CgroupPath {
  std::string controller;  // "" for the unified hierarchy
  std::string path;
};

// Lines of /proc/self/cgroup: "4:memory:/a/b" or "0::/a/b".
std::vector<CgroupPath> own_cgroups() {
  std::vector<CgroupPath> found;
  auto text = read_file("/proc/self/cgroup", 1u << 20);
  if (!text) return found;
  std::istringstream lines(*text);
  for (std::string line; std::getline(lines, line);) {
    const auto first = line.find(':');
    const auto second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    std::istringstream names(line.substr(first + 1, second - first - 1));
    std::string path = line.substr(second + 1);
    if (second == first + 1) found.push_back({"", path});
    for (std::string name; std::getline(names, name, ',');) found.push_back({name, path});
  }
  return found;
}

std::optional<std::uint64_t> read_number(const std::string& path) {
  auto text = read_file(path, 4096);
  if (!text || text->empty() || (*text)[0] < '0' || (*text)[0] > '9') return std::nullopt;  // "max", "-1"
  return std::strtoull(text->c_str(), nullptr, 10);
}

// Calls visit(directory) for the cgroup and every parent of it: a parent's limit binds the child.
template <class F>
void for_each_level(const std::string& root, std::string path, F&& visit) {
  for (;;) {
    visit(root + (path == "/" ? "" : path));
    if (path.empty() || path == "/") return;
    path.resize(path.rfind('/'));
    if (path.empty()) path = "/";
  }
}

double cgroup_cpu_quota() {
  double quota = 1e9;
  for (const auto& group : own_cgroups()) {
    if (group.controller.empty()) {
      for_each_level("/sys/fs/cgroup", group.path, [&](const std::string& dir) {
        auto text = read_file(dir + "/cpu.max", 4096);
        if (!text) return;
        double limit = 0, period = 0;
        std::istringstream in(*text);
        if (in >> limit >> period && period > 0) quota = std::min(quota, limit / period);
      });
    } else if (group.controller == "cpu") {
      for_each_level("/sys/fs/cgroup/cpu", group.path, [&](const std::string& dir) {
        auto limit = read_number(dir + "/cpu.cfs_quota_us");
        auto period = read_number(dir + "/cpu.cfs_period_us");
        if (limit && period && *period > 0) {
          quota = std::min(quota, static_cast<double>(*limit) / static_cast<double>(*period));
        }
      });
    }
  }
  return quota;
}

}  // namespace

std::vector<int> usable_cores() {
  std::vector<int> cores;
  // Machines with more than 1024 cores need a larger set than cpu_set_t.
  for (int capacity = 1024; capacity <= 1 << 20; capacity *= 2) {
    cpu_set_t* set = CPU_ALLOC(static_cast<std::size_t>(capacity));
    const std::size_t bytes = CPU_ALLOC_SIZE(static_cast<std::size_t>(capacity));
    CPU_ZERO_S(bytes, set);
    const bool good = ::sched_getaffinity(0, bytes, set) == 0;
    if (good) {
      for (int core = 0; core < capacity; ++core) {
        if (CPU_ISSET_S(static_cast<std::size_t>(core), bytes, set)) cores.push_back(core);
      }
    }
    CPU_FREE(set);
    if (good || errno != EINVAL) break;
  }
  if (cores.empty()) cores.push_back(0);
  const double quota = cgroup_cpu_quota();
  if (quota < static_cast<double>(cores.size())) {
    const auto whole = static_cast<std::size_t>(quota);
    const std::size_t limit = static_cast<double>(whole) < quota ? whole + 1 : whole;
    cores.resize(std::max<std::size_t>(1, limit));
  }
  return cores;
}

std::uint64_t usable_memory_bytes() {
  std::uint64_t bytes =
      static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  for (const auto& group : own_cgroups()) {
    const bool unified = group.controller.empty();
    if (!unified && group.controller != "memory") continue;
    for_each_level(unified ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory", group.path, [&](const std::string& dir) {
      auto limit = read_number(dir + (unified ? "/memory.max" : "/memory.limit_in_bytes"));
      if (limit) bytes = std::min(bytes, *limit);
    });
  }
  return bytes;
}

}  // namespace allot
