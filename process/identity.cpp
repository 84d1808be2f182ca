// SPDX-License-Identifier: MIT
#include "process/identity.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <unordered_map>

#include "process/fd.h"

namespace allot {
namespace {

struct StatFields {
  char state = 0;
  pid_t ppid = 0;
  bool is_kernel_thread = false;
  std::uint64_t start_ticks = 0;
  bool has_environment = false;  // false also for a kernel thread, a zombie, and while it is in execve(2)
};
constexpr unsigned long kKernelThreadFlag = 0x0020'0000;  // PF_KTHREAD

// The command name (field 2) may hold spaces and parentheses: fields are counted from its last ")".
std::optional<StatFields> read_stat(pid_t pid) {
  char path[48];
  std::snprintf(path, sizeof path, "/proc/%d/stat", static_cast<int>(pid));
  Fd fd(::open(path, O_RDONLY | O_CLOEXEC));
  if (!fd) return std::nullopt;
  char text[2048];
  ssize_t n = ::read(fd.get(), text, sizeof text - 1);
  if (n <= 0) return std::nullopt;
  text[n] = 0;
  const char* p = std::strrchr(text, ')');
  if (p == nullptr || p[1] != ' ') return std::nullopt;
  p += 2;
  StatFields fields;
  fields.state = *p;
  for (int field = 3; *p != 0; ++field) {
    if (field == 4) fields.ppid = static_cast<pid_t>(std::strtol(p, nullptr, 10));
    if (field == 9) fields.is_kernel_thread = (std::strtoul(p, nullptr, 10) & kKernelThreadFlag) != 0;
    if (field == 22) fields.start_ticks = std::strtoull(p, nullptr, 10);
    if (field == 51) {
      fields.has_environment = std::strtoull(p, nullptr, 10) != 0;  // env_end: where it lies
      return fields;
    }
    p = std::strchr(p, ' ');
    // Whether a process lives does not hang on what comes behind its start.
    if (p == nullptr) return field >= 22 ? std::optional(fields) : std::nullopt;
    ++p;
  }
  return std::nullopt;
}

template <class F>
void for_each_pid(F&& visit) {
  DIR* proc = ::opendir("/proc");
  if (proc == nullptr) return;
  while (const dirent* entry = ::readdir(proc)) {
    if (entry->d_name[0] < '1' || entry->d_name[0] > '9') continue;
    visit(static_cast<pid_t>(std::strtol(entry->d_name, nullptr, 10)));
  }
  ::closedir(proc);
}

// What /proc shows of a process's environment, between NULs. Nothing: it cannot be opened, with errno. A process in
// execve(2) shows none until the new program has its own: it is looked at again for a while. `is_whole` false: it still
// had none.
std::optional<std::string> read_environment_of(pid_t pid, bool& is_whole) {
  constexpr int kMostLooks = 200;
  constexpr timespec kPause = {0, 1'000'000};
  char path[48];
  std::snprintf(path, sizeof path, "/proc/%d/environ", static_cast<int>(pid));
  bool was_empty = false;
  for (int look = 1;; ++look) {
    const Fd fd(::open(path, O_RDONLY | O_CLOEXEC));
    if (!fd) return std::nullopt;
    std::string bytes(1, '\0');
    char block[65536];
    for (ssize_t n; (n = ::read(fd.get(), block, sizeof block)) > 0;) bytes.append(block, static_cast<std::size_t>(n));
    const auto fields = bytes.size() > 1 ? std::nullopt : read_stat(pid);
    const bool may_have_one = fields && !fields->is_kernel_thread && fields->state != 'Z' && fields->state != 'X';
    bytes.push_back('\0');
    // Nothing twice in a row is nothing; once it may have been the memory of the program before, which was gone by
    // then.
    is_whole = !may_have_one || (fields->has_environment && was_empty);
    was_empty = may_have_one && fields->has_environment;
    if (is_whole || look == kMostLooks) return bytes;
    ::nanosleep(&kPause, nullptr);
  }
}

}  // namespace

const std::string& boot_id() {
  static const std::string id = [] {
    auto text = read_file("/proc/sys/kernel/random/boot_id", 4096);
    if (!text) return std::string();
    while (!text->empty() && text->back() == '\n') text->pop_back();
    return *text;
  }();
  return id;
}

const std::string& host_name() {
  static const std::string name = [] {
    char text[HOST_NAME_MAX + 1] = {};
    if (::gethostname(text, sizeof text - 1) != 0 || text[0] == 0) return std::string("localhost");
    return std::string(text);
  }();
  return name;
}

std::optional<std::uint64_t> process_start_ticks(pid_t pid) {
  auto fields = read_stat(pid);
  if (!fields || fields->state == 'Z' || fields->state == 'X') return std::nullopt;
  return fields->start_ticks;
}

ProcessIdentity own_identity() {
  const pid_t pid = ::getpid();
  return {pid, process_start_ticks(pid).value_or(0)};
}

bool is_alive(const ProcessIdentity& identity) {
  if (identity.pid <= 0) return false;
  auto ticks = process_start_ticks(identity.pid);
  return ticks && *ticks == identity.start_ticks;
}

std::vector<pid_t> descendants_of(pid_t root, const std::vector<pid_t>& except) {
  std::unordered_map<pid_t, std::vector<pid_t>> children;
  for_each_pid([&](pid_t pid) {
    if (auto fields = read_stat(pid)) children[fields->ppid].push_back(pid);
  });
  std::vector<pid_t> found;
  std::vector<pid_t> open = {root};
  while (!open.empty()) {
    const pid_t parent = open.back();
    open.pop_back();
    auto it = children.find(parent);
    if (it == children.end()) continue;
    for (pid_t child : it->second) {
      if (std::find(except.begin(), except.end(), child) != except.end()) continue;
      found.push_back(child);
      open.push_back(child);
    }
    children.erase(it);  // a pid reused between two reads could close a circle
  }
  return found;
}

std::vector<pid_t> ancestors_of(pid_t pid) {
  std::vector<pid_t> found;
  for (auto fields = read_stat(pid); fields && fields->ppid > 0; fields = read_stat(fields->ppid)) {
    // A pid reused between two reads could close a circle.
    if (std::find(found.begin(), found.end(), fields->ppid) != found.end()) break;
    found.push_back(fields->ppid);
  }
  return found;
}

EnvironmentScan scan_environments(const std::string& name, const std::function<bool(std::string_view)>& wanted) {
  const std::string needle = std::string(1, '\0') + name + "=";
  EnvironmentScan scan;
  for_each_pid([&](pid_t pid) {
    bool is_whole = true;
    const auto read = read_environment_of(pid, is_whole);
    if (!read) {
      const bool is_refused = errno == EACCES || errno == EPERM;
      const auto fields = is_refused ? read_stat(pid) : std::nullopt;
      if (fields && !fields->is_kernel_thread && fields->state != 'Z') scan.unreadable.push_back(pid);
      return;
    }
    if (!is_whole) scan.unreadable.push_back(pid);
    const std::string& bytes = *read;
    // A name that is there twice: any of its values counts.
    for (std::size_t at = bytes.find(needle); at != std::string::npos; at = bytes.find(needle, at + 1)) {
      const std::size_t from = at + needle.size();
      if (!wanted(std::string_view(bytes).substr(from, bytes.find('\0', from) - from))) continue;
      scan.found.push_back(pid);
      return;
    }
  });
  return scan;
}

std::vector<pid_t> processes_with_environment(const std::string& entry) {
  const std::size_t equals = entry.find('=');
  if (equals == std::string::npos) return {};
  const std::string_view value = std::string_view(entry).substr(equals + 1);
  return scan_environments(entry.substr(0, equals), [value](std::string_view found) { return found == value; }).found;
}

}  // namespace allot
