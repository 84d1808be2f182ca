// SPDX-License-Identifier: MIT
#include "process/umask.h"

#include <sys/stat.h>

#include <cstdlib>

#include "process/fd.h"

namespace allot {

mode_t own_umask() {
  if (const auto status = read_file("/proc/self/status")) {
    constexpr std::string_view kKey = "\nUmask:\t";
    const auto at = status->find(kKey);
    if (at != std::string::npos) {
      return static_cast<mode_t>(std::strtoul(status->c_str() + at + kKey.size(), nullptr, 8));
    }
  }
  const mode_t mask = ::umask(077);
  ::umask(mask);
  return mask;
}

}  // namespace allot
