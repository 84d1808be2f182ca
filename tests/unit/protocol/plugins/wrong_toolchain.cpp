// SPDX-License-Identifier: MIT
// The right ABI number from another compiler; its create() must not be called.
#include <cstdlib>

#include "protocol/plugin.h"

extern "C" __attribute__((visibility("default"))) const allot::PluginEntry allot_plugin_entry = {
    allot::kPluginAbi, "gnu-abi0000-libother1", []() -> allot::Plugin* { std::abort(); }};
