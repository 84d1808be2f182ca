// SPDX-License-Identifier: MIT
#include "worker_node/memory_witness.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <string_view>

#include "process/fd.h"

namespace allot {
namespace {

std::uint64_t field(std::string_view text, const std::string& name) {
  const std::string lines = "\n" + std::string(text);
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

MemoryKillCount::MemoryKillCount() {
  const std::string unified = own_group("0::");
  const std::string memory = own_group(":memory:");
  // Where the memory controller is the old hierarchy's, the file of the new one is not there.
  if (!unified.empty()) file_ = open_regular("/sys/fs/cgroup" + unified + "/memory.events", O_RDONLY);
  if (!file_ && !memory.empty()) {
    file_ = open_regular("/sys/fs/cgroup/memory" + memory + "/memory.oom_control", O_RDONLY);
  }
}

std::uint64_t MemoryKillCount::operator()() const {
  char text[1024];
  const ssize_t n = file_ ? ::pread(file_.get(), text, sizeof text, 0) : 0;  // made anew at each read from the start
  return n > 0 ? field({text, static_cast<std::size_t>(n)}, "oom_kill") : 0;
}

std::uint64_t own_peak_bytes() {
  auto text = read_file("/proc/self/status", 65536);
  const std::size_t at = text ? text->find("\nVmHWM:") : std::string::npos;
  return at == std::string::npos ? 0 : std::strtoull(text->c_str() + at + 7, nullptr, 10) * 1024;
}

}  // namespace allot
