// SPDX-License-Identifier: MIT
// Which permissions new files do not get.
#pragma once

#include <sys/types.h>

namespace allot {

/// This process's umask. Asked of /proc, because umask(2) tells only while it sets another one, which other threads
/// would meet; where /proc does not say, by umask(2).
mode_t own_umask();

}  // namespace allot
