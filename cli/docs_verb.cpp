// SPDX-License-Identifier: MIT
// Man page and shell completion, made of the same descriptions as --help.
#include <algorithm>
#include <boost/filesystem.hpp>
#include <memory>

#include <fmt/format.h>

#include "cli/command_line.h"
#include "cli/console.h"
#include "engine/batch_home.h"
#include "engine/cluster_config_file.h"

namespace allot::cli {
namespace {

// Text for man(7): nothing in it is a request or an escape, hyphens can be searched for.
std::string roff(const std::string& text) {
  std::string escaped;
  bool at_line_start = true;
  for (const char c : text) {
    if (at_line_start && (c == '.' || c == '\'')) escaped += "\\&";
    if (c == '\\') {
      escaped += "\\e";
    } else if (c == '-') {
      escaped += "\\-";
    } else {
      escaped += c;
    }
    at_line_start = c == '\n';
  }
  return escaped;
}

std::string roff_paragraphs(const std::string& text) {
  std::string paragraphs;
  std::size_t from = 0;
  while (from < text.size()) {
    const std::size_t end = std::min(text.find("\n\n", from), text.size());
    paragraphs += ".PP\n" + roff(text.substr(from, end - from)) + "\n";
    from = end + 2;
  }
  return paragraphs;
}

std::string roff_options(const CLI::App& app) {
  std::string text;
  for (const auto& option : CommandLine::options_of(app)) {
    text += ".TP\n";
    if (option.is_positional) {
      text += "\\fI" + roff(option.value) + "\\fR" + (option.is_repeatable ? "..." : "") + "\n";
    } else {
      for (std::size_t i = 0; i < option.flags.size(); ++i)
        text += (i > 0 ? ", " : "") + ("\\fB" + roff(option.flags[i])) + "\\fR";
      text += option.value.empty() ? "\n" : " \\fI" + roff(option.value) + "\\fR\n";
    }
    text += roff(option.description) + "\n";
  }
  return text;
}

std::string man_page(const CommandLine& line) {
  std::string text = fmt::format(".TH ALLOT 1 \"\" \"allot {}\" \"User Commands\"\n", ALLOT_VERSION);
  text += ".SH NAME\nallot \\- run many shell commands, and say truly what became of them\n.SH SYNOPSIS\n.nf\n";
  for (const auto& verb : line.verbs()) {
    if (verb->is_hidden()) continue;
    for (const auto& usage : verb->text().usage) text += "\\fBallot\\fR " + roff(usage) + "\n";
  }
  text += ".fi\n.SH DESCRIPTION\n" + roff_paragraphs(line.app().get_description()) + ".SH OPTIONS\n" +
          roff_options(line.app());
  for (const auto& verb : line.verbs()) {
    if (verb->is_hidden()) continue;
    const VerbText verb_text = verb->text();
    text += fmt::format(".SH \"ALLOT {}\"\n", verb->name()) + roff(verb->summary()) + ".\n";
    text += roff_paragraphs(verb_text.details) + roff_options(line.app_of(*verb));
    if (!verb_text.examples.empty()) text += ".PP\nExamples:\n";
    for (const auto& [command, purpose] : verb_text.examples) {
      text += ".TP\n" + roff(purpose) + "\n.nf\n" + roff(command) + "\n.fi\n";
    }
  }
  text += ".SH ENVIRONMENT\n";
  const std::pair<const char*, const char*> variables[] = {
      {"ALLOT_CLUSTER_PATH", "Directories with cluster files, searched first, separated by colons."},
      {"ALLOT_PLUGIN_PATH", "Directories with plugins, searched first, separated by colons."},
      {"XDG_STATE_HOME", "Batches lie below its allot/batches; unset: ~/.local/state/allot/batches."},
      {"XDG_CONFIG_HOME", "The user's cluster files lie in its allot/clusters; unset: ~/.config/allot/clusters."},
      {"ALLOT_LOG", "debug: tell on stderr what is done."}};
  for (const auto& [name, meaning] : variables) text += fmt::format(".TP\n\\fB{}\\fR\n{}\n", name, roff(meaning));
  text += ".SH TASK ENVIRONMENT\n" +
          roff_paragraphs(
              "A task finds in its environment ALLOT_DISTRIBUTOR_ID, ALLOT_ARRAY_STEP_ID (not for a task that is "
              "no array element), ALLOT_TASK_NAME, ALLOT_ATTEMPT and ALLOT_BATCH_DIR.");
  return text;
}

std::string words_of(const std::vector<std::string>& words) {
  return fmt::format("{}", fmt::join(words, " "));
}

std::string bash_completion(const CommandLine& line) {
  std::vector<std::string> names;
  std::string cases;
  for (const auto& verb : line.verbs()) {
    if (verb->is_hidden()) continue;
    names.push_back(verb->name());
    std::vector<std::string> flags;
    std::vector<std::string> with_cluster, with_file, with_directory, with_state, with_other;
    for (const auto& option : CommandLine::options_of(line.app_of(*verb))) {
      flags.insert(flags.end(), option.flags.begin(), option.flags.end());
      auto* kind = option.value == "CLUSTER" ? &with_cluster
                   : option.value == "FILE"  ? &with_file
                   : option.value == "DIR"   ? &with_directory
                   : option.value == "STATE" ? &with_state
                                             : &with_other;
      if (!option.value.empty()) kind->insert(kind->end(), option.flags.begin(), option.flags.end());
    }
    std::string values;
    const auto add = [&values](const std::vector<std::string>& with, const std::string& action) {
      if (!with.empty()) values += fmt::format("        {}) {} ;;\n", fmt::join(with, "|"), action);
    };
    add(with_cluster,
        "mapfile -t COMPREPLY < <(compgen -W \"$(allot docs names clusters 2>/dev/null)\" -- \"$current\"); return");
    add(with_file, "compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- \"$current\"); return");
    add(with_directory, "compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- \"$current\"); return");
    add(with_state,
        "COMPREPLY=($(compgen -W \"waiting queued running done failed abandoned\" -- \"$current\")); return");
    add(with_other, "return");
    const bool takes_batch = verb->text().usage[0].find("BATCH") != std::string::npos;
    const bool takes_file = verb->text().usage[0].find("FILE") != std::string::npos;
    cases += fmt::format("    {})\n", verb->name());
    if (!values.empty()) cases += "      case $previous in\n" + values + "      esac\n";
    cases += fmt::format(
        "      if [[ $current == -* ]]; then COMPREPLY=($(compgen -W \"{}\" -- \"$current\")); return; fi\n",
        words_of(flags));
    cases += "      compopt -o filenames\n";
    if (takes_batch) {
      cases +=
          "      mapfile -t COMPREPLY < <(compgen -d -- \"$current\"; compgen -W \"$(allot docs names batches "
          "2>/dev/null)\" -- \"$current\")\n";
    } else if (takes_file) {
      cases += "      mapfile -t COMPREPLY < <(compgen -f -- \"$current\")\n";
    }
    cases += "      ;;\n";
  }
  return "# bash completion for allot: made by `allot docs completion bash`\n_allot() {\n"
         "  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} word\n  COMPREPLY=()\n"
         "  if [[ $COMP_CWORD -eq 1 ]]; then\n"
         "    COMPREPLY=($(compgen -W \"" +
         words_of(names) +
         " --help --version\" -- \"$current\"))\n    return\n  fi\n"
         "  # behind \"--\" stands the user's own command\n"
         "  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
         "    if [[ $word == -- ]]; then compopt -o filenames; mapfile -t COMPREPLY < <(compgen -cf -- "
         "\"$current\"); return; "
         "fi\n  done\n"
         "  case ${COMP_WORDS[1]} in\n" +
         cases + "  esac\n}\ncomplete -F _allot allot\n";
}

std::string names_of_clusters(const Services& services) {
  std::string text;
  for (const auto& file : find_cluster_configs(services.cluster_directories)) text += file.name + "\n";
  return text;
}

std::string names_of_batches() {
  namespace fs = boost::filesystem;
  const auto home = batch_home();
  if (!home) return "";
  std::vector<std::string> names;
  boost::system::error_code error;
  for (fs::directory_iterator it(*home, error), end; !error && it != end; it.increment(error)) {
    names.push_back(it->path().filename().string());
  }
  std::sort(names.rbegin(), names.rend());  // the newest first: ids begin with their time
  return names.empty() ? "" : fmt::format("{}\n", fmt::join(names, "\n"));
}

class DocsVerb final : public Verb {
 public:
  explicit DocsVerb(const CommandLine& line) : line_(line) {}
  std::string name() const override { return "docs"; }
  std::string summary() const override { return "Print the man page, shell completion, or names for it"; }
  bool is_hidden() const override { return true; }
  VerbText text() const override {
    return {{"docs man", "docs completion bash", "docs names clusters|batches"},
            "Prints what is made of the same descriptions as --help.",
            {}};
  }
  void describe(CLI::App& app) override {
    app.add_option("WHAT", what_, "man, completion or names")->type_name("WHAT")->required();
    app.add_option("OF", of_, "bash for completion; clusters or batches for names")->type_name("OF");
  }
  int run(Services& services) override {
    if (what_ == "man" && of_.empty()) return print_or_fail(man_page(line_));
    if (what_ == "completion" && of_ == "bash") return print_or_fail(bash_completion(line_));
    if (what_ == "names" && of_ == "clusters") return print_or_fail(names_of_clusters(services));
    if (what_ == "names" && of_ == "batches") return print_or_fail(names_of_batches());
    tell_error("docs: there is only: man, completion bash, names clusters, names batches");
    return kMisuse;
  }

 private:
  const CommandLine& line_;
  std::string what_, of_;
};

}  // namespace

std::unique_ptr<Verb> make_docs_verb(const CommandLine& line) {
  return std::make_unique<DocsVerb>(line);
}

}  // namespace allot::cli
