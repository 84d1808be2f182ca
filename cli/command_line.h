// SPDX-License-Identifier: MIT
// The command line: verbs and their options, and the help that is made of them.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "cli/verb.h"

namespace allot::cli {

/// Options as help, man page and completion need them.
struct OptionText {
  std::vector<std::string> flags;  ///< "-j", "--slots"; empty: positional
  std::string value;               ///< "N", "DIR"; empty: a switch
  std::string description;
  bool is_positional = false;
  bool is_repeatable = false;
};

class CommandLine {
 public:
  CommandLine();
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;

  /// Parses and runs; returns the exit status.
  int run(int argc, const char* const* argv, Services& services);

  const std::vector<std::unique_ptr<Verb>>& verbs() const { return verbs_; }
  const CLI::App& app() const { return app_; }
  const CLI::App& app_of(const Verb& verb) const { return *apps_.at(&verb); }

  /// The visible options of the program or of a verb, in the order of their declaration.
  static std::vector<OptionText> options_of(const CLI::App& app);

  std::string help() const;
  std::string help_of(const Verb& verb) const;

 private:
  int refuse(const std::string& message, const std::string& verb) const;
  std::string explain(const CLI::ParseError& error, const CLI::App& app) const;

  CLI::App app_;
  std::vector<std::unique_ptr<Verb>> verbs_;
  std::map<const Verb*, CLI::App*> apps_;
};

/// Text in lines of at most `width` characters, each with `indent` blanks in front; empty lines part paragraphs.
std::string wrap(const std::string& text, std::size_t indent, std::size_t width = 100);

}  // namespace allot::cli
