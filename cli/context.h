// SPDX-License-Identifier: MIT
// What main makes once and every verb gets.
#pragma once

#include <string>
#include <vector>

#include "protocol/plugin_loader.h"

namespace CLI {
class App;
}

namespace allot {

inline constexpr int kExitDone = 0;     ///< everything asked for is so
inline constexpr int kExitNotDone = 1;  ///< some task is not done, or an answer is incomplete
inline constexpr int kExitMisuse = 2;   ///< wrong usage or bad input: nothing was started
inline constexpr int kExitEnvironment =
    3;  ///< allot cannot work here: no such batch, cluster or plugin, no place to write

struct CliContext {
  PluginLoader plugins;
  std::vector<std::string> cluster_directories;
  int exit_status = kExitDone;
};

// Each adds its subcommand to `app`; the callback sets `exit_status`. Both outlive the parse.
void add_status_verb(CLI::App& app, CliContext& context);
void add_output_verb(CLI::App& app, CliContext& context);
void add_clusters_verb(CLI::App& app, CliContext& context);

/// "allot: TEXT" on stderr; returns `status`.
int complain(int status, const std::string& text);

}  // namespace allot
