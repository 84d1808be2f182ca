// SPDX-License-Identifier: MIT
// What a verb of the command line is, and what it works with.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "protocol/plugin_loader.h"

namespace CLI {
class App;
}

namespace allot::cli {

/// Exit statuses. After a signal stopped a run: 128 + its number, as a shell shows it.
inline constexpr int kSuccess = 0;       ///< run, resume: every task is done
inline constexpr int kNotAll = 1;        ///< run, resume, wait: some task is not done; output: some output is missing;
                                         ///< remove: some batch was left alone
inline constexpr int kMisuse = 2;        ///< wrong usage, bad input, no such batch
inline constexpr int kEnvironment = 3;   ///< no plugin, no place for the batch, an output that cannot be written
inline constexpr int kTimeIsOver = 124;  ///< wait: as timeout(1) has it

/// Made by main; passed down.
struct Services {
  PluginLoader& plugins;
  std::vector<std::string> cluster_directories;  ///< searched in this order
  char* const* environment = nullptr;            ///< of this process
};

/// What help and man page say beyond the options.
struct VerbText {
  std::vector<std::string> usage;                             ///< behind "allot ": "run [OPTIONS] FILE"
  std::string details;                                        ///< paragraphs separated by empty lines
  std::vector<std::pair<std::string, std::string>> examples;  ///< command, and what it is for
};

/// Call order: describe, then, if it is the one, take_command (where the line has a "--"), then run.
class Verb {
 public:
  virtual ~Verb() = default;
  virtual std::string name() const = 0;
  virtual std::string summary() const = 0;  ///< half a line
  virtual VerbText text() const = 0;
  virtual bool is_hidden() const { return false; }
  /// Declares the options on `app`; the verb outlives it.
  virtual void describe(CLI::App& app) = 0;
  /// True if everything behind "--" is a command and not for the option parser.
  virtual bool takes_command() const { return false; }
  virtual void take_command(std::vector<std::string>&&) {}
  /// Returns the exit status; has told every error.
  virtual int run(Services& services) = 0;
};

std::unique_ptr<Verb> make_run_verb();
std::unique_ptr<Verb> make_submit_verb();
std::unique_ptr<Verb> make_resume_verb();
std::unique_ptr<Verb> make_status_verb();
std::unique_ptr<Verb> make_output_verb();
std::unique_ptr<Verb> make_clusters_verb();
std::unique_ptr<Verb> make_cancel_verb();
std::unique_ptr<Verb> make_retry_verb();
std::unique_ptr<Verb> make_hold_verb();
std::unique_ptr<Verb> make_release_verb();
std::unique_ptr<Verb> make_throttle_verb();
std::unique_ptr<Verb> make_explain_verb();
std::unique_ptr<Verb> make_driver_verb();
std::unique_ptr<Verb> make_list_verb();
std::unique_ptr<Verb> make_wait_verb();
std::unique_ptr<Verb> make_remove_verb();
std::unique_ptr<Verb> make_add_verb();
std::unique_ptr<Verb> make_worker_verb();

class CommandLine;
/// Generates man page and completion from `line`, which outlives it.
std::unique_ptr<Verb> make_docs_verb(const CommandLine& line);

}  // namespace allot::cli
