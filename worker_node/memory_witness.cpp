// SPDX-License-Identifier: MIT
#include "worker_node/memory_witness.h"

#include <csignal>
#include <cstdlib>
#include <string>

#include "process/fd.h"

namespace allot {
namespace {

std::uint64_t field(const std::string& path, const std::string& name) {
  auto text = read_file(path, 65536);
  if (!text) return 0;
  const std::string lines = "\n" + *text;
  const std::size_t at = lines.find("\n" + name + " ");
  return at == std::string::npos ? 0 : std::strtoull(lines.c_str() + at + name.size() + 2, nullptr, 10);
}

// The path behind `prefix` in /proc/self/cgroup ("0::" or "…:memory:").
std::string own_group(const std::string& prefix) {
  auto text = read_file("/proc/self/cgroup", 1u << 16);
  if (!text) return {};
  const std::size_t at = text->find(prefix);
  if (at == std::string::npos) return {};
  const std::size_t from = at + prefix.size();
  return text->substr(from, text->find('\n', from) - from);
}

}  // namespace

std::uint64_t kernel_memory_kills() {
  const std::string unified = own_group("0::");
  if (!unified.empty()) {
    const std::uint64_t kills = field("/sys/fs/cgroup" + unified + "/memory.events", "oom_kill");
    if (kills > 0) return kills;
  }
  const std::string memory = own_group(":memory:");
  return memory.empty() ? 0 : field("/sys/fs/cgroup/memory" + memory + "/memory.oom_control", "oom_kill");
}

std::uint64_t own_peak_bytes() {
  auto text = read_file("/proc/self/status", 65536);
  const std::size_t at = text ? text->find("\nVmHWM:") : std::string::npos;
  return at == std::string::npos ? 0 : std::strtoull(text->c_str() + at + 7, nullptr, 10) * 1024;
}

bool KillWitness::after_end(const ExitInfo& end) {
  if (end.exit_class == ExitClass::done) return false;
  const std::uint64_t before = seen_;
  look();
  return seen_ > before && end.signal && *end.signal == SIGKILL;
}

}  // namespace allot
