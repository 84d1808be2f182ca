// SPDX-License-Identifier: MIT
#include "cli/command_line.h"

#include <algorithm>

#include <fmt/format.h>

#include "cli/console.h"
#include "engine/nearest_name.h"

namespace allot::cli {
namespace {

constexpr std::size_t kOptionColumn = 30;

std::string option_line(const OptionText& option) {
  std::string flags;
  for (const auto& flag : option.flags) flags += (flags.empty() ? "" : ", ") + flag;
  if (option.is_positional) return option.value + (option.is_repeatable ? "..." : "");
  return option.value.empty() ? flags : flags + " " + option.value;
}

std::string options_text(const std::vector<OptionText>& options, bool positional) {
  std::string text;
  for (const auto& option : options) {
    if (option.is_positional != positional) continue;
    std::string line = "  " + option_line(option);
    if (line.size() + 2 > kOptionColumn) {
      text += line + "\n";
      line.clear();
    }
    const std::string description = wrap(option.description, kOptionColumn);
    text += line + description.substr(line.size());
  }
  return text;
}

}  // namespace

std::string wrap(const std::string& text, std::size_t indent, std::size_t width) {
  const std::string margin(indent, ' ');
  std::string wrapped;
  std::string line = margin;
  const auto end_line = [&] {
    if (line.size() > indent) wrapped += line + "\n";
    line = margin;
  };
  std::size_t at = 0;
  while (at < text.size()) {
    if (text[at] == '\n') {
      end_line();
      if (at + 1 < text.size() && text[at + 1] == '\n') wrapped += "\n";
      while (at < text.size() && text[at] == '\n') ++at;
      continue;
    }
    const std::size_t end = std::min(text.find_first_of(" \n", at), text.size());
    const std::string word = text.substr(at, end - at);
    if (line.size() > indent && line.size() + 1 + word.size() > width) end_line();
    if (line.size() > indent) line += ' ';
    line += word;
    at = end;
    while (at < text.size() && text[at] == ' ') ++at;
  }
  end_line();
  return wrapped;
}

CommandLine::CommandLine() : app_("Runs many shell commands and never lies about what became of them.", "allot") {
  verbs_.push_back(make_run_verb());
  verbs_.push_back(make_submit_verb());
  verbs_.push_back(make_resume_verb());
  verbs_.push_back(make_status_verb());
  verbs_.push_back(make_output_verb());
  verbs_.push_back(make_cancel_verb());
  verbs_.push_back(make_retry_verb());
  verbs_.push_back(make_hold_verb());
  verbs_.push_back(make_release_verb());
  verbs_.push_back(make_throttle_verb());
  verbs_.push_back(make_explain_verb());
  verbs_.push_back(make_list_verb());
  verbs_.push_back(make_wait_verb());
  verbs_.push_back(make_remove_verb());
  verbs_.push_back(make_add_verb());
  verbs_.push_back(make_worker_verb());
  verbs_.push_back(make_clusters_verb());
  verbs_.push_back(make_driver_verb());
  verbs_.push_back(make_docs_verb(*this));
  app_.set_version_flag("--version", std::string("allot ") + ALLOT_VERSION, "Print the version and leave");
  app_.set_help_flag("-h,--help", "Print this help and leave");
  app_.require_subcommand(0, 1);
  app_.formatter_fn([this](const CLI::App*, const std::string&, CLI::AppFormatMode) { return help(); });
  for (const auto& verb : verbs_) {
    CLI::App* app = app_.add_subcommand(verb->name(), verb->summary());
    app->set_help_flag("-h,--help", "Print this help and leave");
    app->formatter_fn(
        [this, &verb](const CLI::App*, const std::string&, CLI::AppFormatMode) { return help_of(*verb); });
    if (verb->is_hidden()) app->group("");
    verb->describe(*app);
    apps_[verb.get()] = app;
  }
}

std::vector<OptionText> CommandLine::options_of(const CLI::App& app) {
  std::vector<OptionText> texts;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_group().empty()) continue;
    OptionText text;
    for (const auto& name : option->get_snames()) text.flags.push_back("-" + name);
    for (const auto& name : option->get_lnames()) text.flags.push_back("--" + name);
    text.is_positional = option->get_positional();
    text.is_repeatable = option->get_expected_max() > 1;
    text.description = option->get_description();
    if (option->get_items_expected_max() > 0) text.value = option->get_type_name();
    texts.push_back(std::move(text));
  }
  // Those of every verb come last.
  std::stable_partition(texts.begin(), texts.end(), [](const OptionText& text) {
    return std::find(text.flags.begin(), text.flags.end(), "--help") == text.flags.end();
  });
  return texts;
}

std::string CommandLine::help() const {
  std::string text = "usage: allot COMMAND [OPTIONS] ...\n\n" + wrap(app_.get_description(), 0) + "\nCommands:\n";
  for (const auto& verb : verbs_) {
    if (!verb->is_hidden()) text += fmt::format("  {:<12}{}\n", verb->name(), verb->summary());
  }
  text += "\nOptions:\n" + options_text(options_of(app_), false);
  text += "\n`allot COMMAND --help` tells more about each, with examples; so does `man allot`.\n";
  return text;
}

std::string CommandLine::help_of(const Verb& verb) const {
  const VerbText verb_text = verb.text();
  const auto options = options_of(app_of(verb));
  std::string text;
  for (const auto& usage : verb_text.usage) text += (text.empty() ? "usage: allot " : "       allot ") + usage + "\n";
  text += "\n" + wrap(verb_text.details, 0);
  const std::string positionals = options_text(options, true);
  if (!positionals.empty()) text += "\nArguments:\n" + positionals;
  text += "\nOptions:\n" + options_text(options, false);
  if (!verb_text.examples.empty()) text += "\nExamples:\n";
  for (const auto& [command, purpose] : verb_text.examples) text += "  # " + purpose + "\n  " + command + "\n";
  return text;
}

int CommandLine::refuse(const std::string& message, const std::string& verb) const {
  tell_error(message);
  tell(fmt::format("try: allot {}--help", verb.empty() ? "" : verb + " "));
  return kMisuse;
}

std::string CommandLine::explain(const CLI::ParseError& error, const CLI::App& app) const {
  if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::ConversionError)) {
    // "Could not convert: --array = 1e3". All that is converted are whole numbers.
    const std::string text = error.what();
    const auto name = text.find(": ");
    const auto equals = text.find(" = ");
    if (name != std::string::npos && equals != std::string::npos && name < equals) {
      return fmt::format("{} {}: must be a whole number such as 8", text.substr(name + 2, equals - name - 2),
                         text.substr(equals + 3));
    }
  }
  if (error.get_exit_code() != static_cast<int>(CLI::ExitCodes::ExtrasError)) return error.what();
  for (const auto& extra : app.remaining(true)) {
    if (extra.size() < 2 || extra[0] != '-') return fmt::format("unexpected argument \"{}\"", extra);
    std::vector<std::string> known;
    for (const auto& option : options_of(app)) known.insert(known.end(), option.flags.begin(), option.flags.end());
    const std::string flag = extra.substr(0, extra.find('='));
    const auto nearest = extra.starts_with("--") ? nearest_name(flag, known) : std::nullopt;
    return fmt::format("no such option: {}{}", flag, nearest ? "; did you mean " + *nearest + "?" : "");
  }
  return error.what();
}

int CommandLine::run(int argc, const char* const* argv, Services& services) {
  std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
  // Snakemake takes its --cluster-cancel, whatever is in it, for the name of one program.
  if (argc > 0 && std::string_view(argv[0]).ends_with("allot cancel")) arguments.insert(arguments.begin(), "cancel");
  if (arguments.empty()) {
    tell(help());
    return kMisuse;
  }
  const auto named =
      std::find_if(verbs_.begin(), verbs_.end(), [&](const auto& verb) { return verb->name() == arguments[0]; });
  if (named == verbs_.end() && arguments[0][0] != '-') {
    std::vector<std::string> known;
    for (const auto& verb : verbs_) {
      if (!verb->is_hidden()) known.push_back(verb->name());
    }
    const auto nearest = nearest_name(arguments[0], known);
    return refuse(fmt::format("no such command: {}{}", arguments[0],
                              nearest ? "; did you mean " + *nearest + "?"
                                      : "; known: " + fmt::format("{}", fmt::join(known, ", "))),
                  "");
  }
  Verb* verb = named == verbs_.end() ? nullptr : named->get();
  if (verb != nullptr && verb->takes_command()) {
    const auto dashes = std::find(arguments.begin(), arguments.end(), "--");
    if (dashes != arguments.end()) {
      verb->take_command(std::vector<std::string>(dashes + 1, arguments.end()));
      arguments.erase(dashes, arguments.end());
    }
  }
  const CLI::App& app = verb == nullptr ? app_ : app_of(*verb);
  try {
    std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants them
    app_.parse(arguments);
  } catch (const CLI::CallForHelp&) {
    return print_or_fail(verb == nullptr ? help() : help_of(*verb));
  } catch (const CLI::CallForVersion& version) {
    return print_or_fail(std::string(version.what()) + "\n");
  } catch (const CLI::ParseError& error) {
    return refuse(explain(error, app), verb == nullptr ? "" : verb->name());
  }
  if (verb == nullptr) return refuse("a command is missing", "");
  return verb->run(services);
}

}  // namespace allot::cli
