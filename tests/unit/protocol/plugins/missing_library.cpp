// SPDX-License-Identifier: MIT
// Needs a library that is nowhere to be found when it is loaded.
#include "protocol/plugin.h"

extern "C" int allot_test_answer();

extern "C" __attribute__((visibility("default")))
const allot::PluginEntry allot_plugin_entry = {allot::kPluginAbi, ALLOT_TOOLCHAIN_TAG, []() -> allot::Plugin* {
                                                 static_cast<void>(allot_test_answer());
                                                 return nullptr;
                                               }};
