// SPDX-License-Identifier: MIT
#include "process/fault_point.h"

#ifdef ALLOT_FAULT_POINTS
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace allot {
namespace {

constexpr int kMaxFaults = 16;

struct Fault {
  char name[64] = {};
  long at = 0;
  std::atomic<long> passed{0};
};

struct Faults {
  Fault list[kMaxFaults];
  int count = 0;
  Faults() {
    const char* text = std::getenv("ALLOT_FAULT");
    while (text != nullptr && *text != 0 && count < kMaxFaults) {
      const char* end = std::strchr(text, ',');
      const std::size_t length = end != nullptr ? static_cast<std::size_t>(end - text) : std::strlen(text);
      const char* colon = std::find(text, text + length, ':');
      if (colon != text + length && static_cast<std::size_t>(colon - text) < sizeof list[0].name) {
        std::copy(text, colon, list[count].name);
        list[count].at = std::strtol(colon + 1, nullptr, 10);
        ++count;
      }
      text = end != nullptr ? end + 1 : nullptr;
    }
  }
};

Faults& faults() {
  static Faults instance;
  return instance;
}

bool may_fire() {
  const char* role = std::getenv("ALLOT_FAULT_ROLE");
  if (role != nullptr && std::strcmp(role, ::program_invocation_short_name) != 0) return false;
  const char* flag = std::getenv("ALLOT_FAULT_FLAG");
  if (flag == nullptr) return true;
  const int fd = ::open(flag, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd >= 0) ::close(fd);
  return fd >= 0;
}

}  // namespace

void pass_fault_point(const char* name) {
  Faults& all = faults();
  for (int i = 0; i < all.count; ++i) {
    if (std::strcmp(all.list[i].name, name) != 0) continue;
    if (all.list[i].passed.fetch_add(1) + 1 == all.list[i].at && may_fire()) ::kill(::getpid(), SIGKILL);
  }
}

bool is_sabotaged(const char* name) {
  const char* text = std::getenv("ALLOT_SABOTAGE");
  const std::size_t length = std::strlen(name);
  while (text != nullptr) {
    if (std::strncmp(text, name, length) == 0 && (text[length] == 0 || text[length] == ',')) return true;
    text = std::strchr(text, ',');
    if (text != nullptr) ++text;
  }
  return false;
}

}  // namespace allot
#endif
