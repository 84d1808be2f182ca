// SPDX-License-Identifier: MIT
#include "worker_node/element_options.h"

#include <algorithm>
#include <charconv>
#include <functional>
#include <limits>
#include <string_view>
#include <vector>

#include "worker_node/shared_queue.h"

namespace allot {
namespace {

constexpr std::size_t kLongestNode = 200;  // with "-k.out" behind it the name of a file
constexpr std::int64_t kLongestMs = std::numeric_limits<std::int64_t>::max() / 4'000'000;  // in nanoseconds, with room

struct Argument {
  const char* name;
  std::function<bool(ElementOptions&, std::string_view)> set;  // false: not like that
  const char* expected;
  bool is_required = false;
  bool was_given = false;
};

template <class T, class Limit>
Argument number(const char* name, T ElementOptions::*member, Limit least, Limit most, const char* expected,
                bool is_required = false) {
  const auto set = [member, least, most](ElementOptions& options, std::string_view text) {
    T value{};
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    // from_chars takes a '-', too.
    if (error != std::errc() || stop != end || text[0] == '-' || value < static_cast<T>(least) ||
        value > static_cast<T>(most)) {
      return false;
    }
    options.*member = value;
    return true;
  };
  return {name, set, expected, is_required};
}

Argument milliseconds(const char* name, std::int64_t ElementOptions::*member) {
  return number(name, member, std::int64_t{0}, kLongestMs, "milliseconds");
}

Argument path(const char* name, std::string ElementOptions::*member, bool is_required) {
  const auto set = [member](ElementOptions& options, std::string_view text) {
    options.*member = text;
    return text.starts_with('/');
  };
  return {name, set, "an absolute path", is_required};
}

// It becomes the name of a file.
bool set_node(ElementOptions& options, std::string_view text) {
  options.node = text;
  const bool is_plain =
      std::all_of(text.begin(), text.end(), [](unsigned char c) { return c > 32 && c != 127 && c != '/'; });
  return is_plain && text.size() <= kLongestNode && !text.starts_with('.');
}

// It becomes an argument of `why`.
bool set_job(ElementOptions& options, std::string_view text) {
  options.job = text;
  return !text.starts_with('-');
}

bool set_control_groups(ElementOptions& options, std::string_view text) {
  options.control_groups = text == "auto";
  return text == "auto" || text == "none";
}

bool set_alone(ElementOptions& options, std::string_view text) {
  options.is_alone = text == "yes";
  return text == "yes" || text == "no";
}

std::vector<Argument> known_arguments() {
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint32_t>::max();
  return {
      path("batch", &ElementOptions::batch, true),
      number("submission", &ElementOptions::submission, std::uint64_t{1}, kMost, "a number from 1 on", true),
      number("try", &ElementOptions::try_number, std::uint64_t{0}, kMost, "a number"),
      number("element", &ElementOptions::element, std::uint64_t{0}, kMost, "a number"),
      number("pack", &ElementOptions::pack, std::uint64_t{1}, kMost, "a number from 1 on"),
      number("slots", &ElementOptions::slots, 1u, kMaxSlots, "a number from 1 to 64"),
      number("restart", &ElementOptions::restart, 0, 65535, "a number up to 65535"),
      {"node", set_node, "the name of a node: no slash, no space, no dot in front"},
      path("shell", &ElementOptions::shell, false),
      path("why", &ElementOptions::why, false),
      {"job", set_job, "the scheduler's name of a job"},
      {"cgroup", set_control_groups, "auto or none"},
      {"alone", set_alone, "yes or no"},
      milliseconds("kill_grace_ms", &ElementOptions::kill_grace_ms),
      milliseconds("term_grace_ms", &ElementOptions::term_grace_ms),
      milliseconds("leftover_grace_ms", &ElementOptions::leftover_grace_ms),
      milliseconds("sample_ms", &ElementOptions::sample_ms),
      milliseconds("commit_ms", &ElementOptions::commit_ms),
      milliseconds("allocation_ms", &ElementOptions::allocation_ms),
      milliseconds("space_ms", &ElementOptions::space_ms),
      milliseconds("requests_ms", &ElementOptions::requests_ms),
  };
}

}  // namespace

static_assert(kMaxSlots == 64, "the text of slots= says so");

Result<ElementOptions> ElementOptions::from_arguments(int argc, char** argv) {
  ElementOptions options;
  auto known = known_arguments();
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const std::size_t equals = argument.find('=');
    const auto it = std::find_if(known.begin(), known.end(),
                                 [&](const Argument& a) { return argument.substr(0, equals) == a.name; });
    const std::string quoted = "'" + std::string(argument) + "'";
    if (equals == std::string_view::npos || it == known.end()) {
      return fail(ErrorCode::fix_request, quoted +
                                              ": there is no such argument; the job script and allot-element are "
                                              "to be of the same version");
    }
    if (it->was_given) return fail(ErrorCode::fix_request, quoted + ": given twice");
    it->was_given = true;
    if (!it->set(options, argument.substr(equals + 1))) {
      return fail(ErrorCode::fix_request, quoted + ": expected " + it->expected);
    }
  }
  for (const Argument& argument : known) {
    if (argument.is_required && !argument.was_given) {
      return fail(ErrorCode::fix_request, std::string(argument.name) + "= is missing: expected " + argument.expected);
    }
  }
  return options;
}

}  // namespace allot
