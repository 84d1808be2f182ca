// SPDX-License-Identifier: MIT
#include <cstdlib>
#include <cstring>
#include <functional>

#include "worker_node/guard.h"

namespace allot {
namespace {

// One place for both directions: what is written is what is read.
struct Field {
  const char* name;
  std::function<std::string(const GuardOptions&)> get;
  std::function<void(GuardOptions&, const char*)> set;
};

template <class T>
Field number(const char* name, T GuardOptions::*member) {
  return {name, [member](const GuardOptions& o) { return std::to_string(o.*member); },
          [member](GuardOptions& o, const char* text) { o.*member = static_cast<T>(std::strtoll(text, nullptr, 10)); }};
}

Field text(const char* name, std::string GuardOptions::*member) {
  return {name, [member](const GuardOptions& o) { return o.*member; },
          [member](GuardOptions& o, const char* value) { o.*member = value; }};
}

std::vector<Field> fields() {
  return {
      number("slot", &GuardOptions::slot),
      text("writer", &GuardOptions::writer),
      text("batch", &GuardOptions::batch_directory),
      text("cwd", &GuardOptions::cwd),
      text("shell", &GuardOptions::shell),
      text("scratch", &GuardOptions::scratch),
      text("host", &GuardOptions::host),
      text("node", &GuardOptions::node),
      text("cgroup", &GuardOptions::cgroup),
      number("worker_pid", &GuardOptions::worker_pid),
      number("worker_ticks", &GuardOptions::worker_start_ticks),
      number("shared_fd", &GuardOptions::shared_fd),
      number("poke_fd", &GuardOptions::poke_fd),
      number("wake_fd", &GuardOptions::wake_fd),
      number("lifeline_fd", &GuardOptions::lifeline_fd),
      number("lock_fd", &GuardOptions::lock_fd),
      number("kill_grace_ms", &GuardOptions::kill_grace_milliseconds),
      number("leftover_grace_ms", &GuardOptions::leftover_grace_milliseconds),
      number("sample_ms", &GuardOptions::sample_milliseconds),
      number("umask", &GuardOptions::umask),
      {"cores",
       [](const GuardOptions& o) {
         std::string list;
         for (int core : o.cores) list += (list.empty() ? "" : ",") + std::to_string(core);
         return list;
       },
       [](GuardOptions& o, const char* list) {
         while (*list != 0) {
           char* end = nullptr;
           o.cores.push_back(static_cast<int>(std::strtol(list, &end, 10)));
           list = *end == ',' ? end + 1 : end + std::strlen(end);
         }
       }},
  };
}

}  // namespace

std::vector<std::string> GuardOptions::to_arguments() const {
  std::vector<std::string> arguments;
  for (const Field& field : fields()) arguments.push_back(std::string(field.name) + "=" + field.get(*this));
  return arguments;
}

std::optional<GuardOptions> GuardOptions::from_arguments(int argc, char** argv) {
  const auto known = fields();
  if (argc != static_cast<int>(known.size()) + 1) return std::nullopt;
  GuardOptions options;
  for (std::size_t i = 0; i < known.size(); ++i) {
    const std::size_t length = std::strlen(known[i].name);
    const char* argument = argv[i + 1];
    if (std::strncmp(argument, known[i].name, length) != 0 || argument[length] != '=') return std::nullopt;
    known[i].set(options, argument + length + 1);
  }
  return options;
}

}  // namespace allot
