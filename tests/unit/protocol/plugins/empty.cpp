// SPDX-License-Identifier: MIT
// Breaks its contract: create() makes nothing.
#include "protocol/plugin.h"

extern "C" __attribute__((visibility("default"))) const allot::PluginEntry allot_plugin_entry = {
    allot::kPluginAbi, ALLOT_TOOLCHAIN_TAG, []() -> allot::Plugin* { return nullptr; }};
