// SPDX-License-Identifier: MIT
#include "protocol/plugin.h"

namespace allot {

const char* toolchain_tag() {
  return ALLOT_TOOLCHAIN_TAG;
}

}  // namespace allot
