// SPDX-License-Identifier: MIT
// Breaks its contract: create() throws.
#include <stdexcept>

#include "protocol/plugin.h"

extern "C" __attribute__((visibility("default"))) const allot::PluginEntry allot_plugin_entry = {
    allot::kPluginAbi, ALLOT_TOOLCHAIN_TAG, []() -> allot::Plugin* { throw std::runtime_error("thrown by a plugin"); }};
