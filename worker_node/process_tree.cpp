// SPDX-License-Identifier: MIT
#include "worker_node/process_tree.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "process/fd.h"
#include "process/identity.h"

namespace allot {
namespace {

std::string read_proc(pid_t pid, const char* name) {
  auto text = read_file("/proc/" + std::to_string(pid) + "/" + name, 1u << 20);
  return text ? *text : std::string();
}

std::uint64_t resident_bytes(pid_t pid) {
  const std::string text = read_proc(pid, "statm");
  const char* second = std::strchr(text.c_str(), ' ');
  return second == nullptr ? 0
                           : std::strtoull(second, nullptr, 10) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

std::uint64_t proportional_bytes(pid_t pid) {
  const std::string text = read_proc(pid, "smaps_rollup");
  const std::size_t at = text.find("\nPss:");
  return at == std::string::npos ? resident_bytes(pid) : std::strtoull(text.c_str() + at + 5, nullptr, 10) * 1024;
}

void add(timeval& sum, const timeval& more) {
  timeval total;
  timeradd(&sum, &more, &total);
  sum = total;
}

}  // namespace

void add_usage(rusage& sum, const rusage& more) {
  add(sum.ru_utime, more.ru_utime);
  add(sum.ru_stime, more.ru_stime);
  sum.ru_maxrss = std::max(sum.ru_maxrss, more.ru_maxrss);
  sum.ru_minflt += more.ru_minflt;
  sum.ru_majflt += more.ru_majflt;
  sum.ru_inblock += more.ru_inblock;
  sum.ru_oublock += more.ru_oublock;
  sum.ru_nvcsw += more.ru_nvcsw;
  sum.ru_nivcsw += more.ru_nivcsw;
}

std::size_t signal_tree(pid_t root, int signal) {
  const auto pids = descendants_of(root);
  // The walk and the kill are two steps, but every process here is below this guard and zombies keep their pids until
  // it reaps them; a grandchild's pid can be reused only if its parent reaped it and the kernel wrapped around since.
  for (pid_t pid : pids) ::kill(pid, signal);
  return pids.size();
}

std::uint64_t tree_memory_bytes(pid_t root, bool exact) {
  std::uint64_t sum = 0;
  for (pid_t pid : descendants_of(root)) sum += exact ? proportional_bytes(pid) : resident_bytes(pid);
  return sum;
}

bool reap_orphans(pid_t main, rusage& usage, std::uint32_t& reaped) {
  for (;;) {
    siginfo_t info;
    info.si_pid = 0;
    if (::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0) return errno != ECHILD;
    if (info.si_pid == 0) return true;     // children, none of them ended
    if (info.si_pid == main) return true;  // its status is for someone else; orphans behind it wait their turn
    int status = 0;
    rusage used;
    if (::wait4(info.si_pid, &status, 0, &used) == info.si_pid) {
      add_usage(usage, used);
      ++reaped;
    }
  }
}

std::string describe_tree(pid_t root, std::size_t limit) {
  std::string text;
  std::size_t shown = 0;
  for (pid_t pid : descendants_of(root)) {
    if (shown++ == limit) return text + ", …";
    const std::string stat = read_proc(pid, "stat");
    const std::size_t open = stat.find('('), close = stat.rfind(')');
    if (open == std::string::npos || close == std::string::npos || close + 2 >= stat.size()) continue;
    if (!text.empty()) text += ", ";
    text += std::to_string(pid) + " (" + stat.substr(open + 1, close - open - 1) + ", state " + stat[close + 2] + ")";
  }
  return text;
}

}  // namespace allot
