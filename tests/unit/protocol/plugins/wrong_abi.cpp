// SPDX-License-Identifier: MIT
// Built for another ABI, whose entry is shorter and laid out otherwise: whoever reads past the number falls over.
#include <cstdint>

#include "protocol/plugin.h"

struct OtherEntry {
  std::uint32_t abi;
  std::uint32_t other;
  std::uintptr_t trap;
  std::uintptr_t second_trap;
};
extern "C" __attribute__((visibility("default")))
const OtherEntry allot_plugin_entry = {allot::kPluginAbi + 1, 7, 1, 1};
