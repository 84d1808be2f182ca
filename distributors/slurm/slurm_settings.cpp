// SPDX-License-Identifier: MIT
#include "distributors/slurm/slurm_settings.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "protocol/units.h"

namespace allot::slurm {
namespace {

using std::chrono::milliseconds;

constexpr std::uint64_t kMostPacked = 100'000;
constexpr std::uint32_t kMostSlots = 64;
constexpr std::int32_t kMostNice = 2'000'000'000;
constexpr std::uint64_t kSlotsByItself = 4;
constexpr double kPackedSeconds = 20;  // an element that lasts so long makes Slurm's own share small

std::optional<std::uint64_t> number_in(const std::string& text, std::uint64_t most) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number == 0 || number > most) return std::nullopt;
  return number;
}

tl::unexpected<Error> wrong_option(const std::string& key, const std::string& value, const std::string& what) {
  return fail(ErrorCode::fix_request, "pass-through option " + key + " = \"" + value + "\": " + what);
}

// What a task may pass through, and where it goes.
constexpr const char* kKnownOptions = "comment, exclude, gres, nice, output, pack, pack_slots, qos, reservation";

Result<void> take_option(const std::string& key, const std::string& value, JobRequest& request) {
  constexpr std::size_t kMostText = 1024;  // Slurm's own bound of names and comments
  if (value.empty() || value.size() > kMostText) return wrong_option(key, value, "1 to 1024 characters are taken");
  if (key == "pack" || key == "pack_slots") return {};  // of the layout
  if (key == "comment") {
    request.comment = value;
  } else if (key == "exclude") {
    request.excluded_nodes += (request.excluded_nodes.empty() ? "" : ",") + value;
  } else if (key == "gres") {
    request.gres = value.rfind("gres:", 0) == 0 ? value : "gres:" + value;
  } else if (key == "nice") {
    const auto nice = value == "0" ? std::optional<std::uint64_t>(0) : number_in(value, kMostNice);
    if (!nice) return wrong_option(key, value, "0 to 2000000000 is taken");
    request.nice = request.nice.value_or(0) + static_cast<std::uint32_t>(*nice);
  } else if (key == "output") {
    if (value[0] != '/') return wrong_option(key, value, "an absolute path is taken");
    request.standard_output = request.standard_error = value;
  } else if (key == "qos") {
    request.qos = value;
  } else if (key == "reservation") {
    request.reservation = value;
  } else {
    return wrong_option(key, value, std::string("this cluster does not know it; it knows ") + kKnownOptions);
  }
  return {};
}

// How many such tasks a node, and what one job may have of it, takes at once.
std::uint64_t slots_that_fit(const RequestedResources& asked, const Pace& pace) {
  std::uint64_t slots = kSlotsByItself;
  const auto bound = [&slots](std::uint64_t there, std::uint64_t of_a_task) {
    if (of_a_task > 0) slots = std::min(slots, there / of_a_task);
  };
  bound(pace.cores_of_a_node, asked.cores.value_or(1));
  if (pace.megabytes_of_a_node && asked.memory_bytes) {
    const std::uint64_t left = *pace.megabytes_of_a_node - std::min(kElementMegabytes, *pace.megabytes_of_a_node);
    bound(left, (*asked.memory_bytes + kMegabyte - 1) / kMegabyte);
  }
  if (pace.gpus_of_a_node) bound(*pace.gpus_of_a_node, asked.gpus.value_or(0));
  return std::max<std::uint64_t>(1, slots);
}

}  // namespace

std::vector<ParameterSpec> slurm_parameter_specs() {
  using Type = ParameterType;
  return {
      {"slurm_conf", Type::text, "A slurm.conf. Default: SLURM_CONF of the environment, else the site's.", {}, {}, {}},
      {"account", Type::text, "Account of tasks that name none. Default: the user's own.", {}, {}, {}},
      {"qos", Type::text, "QOS of tasks that name none. Default: the user's own.", {}, {}, {}},
      {"constraint", Type::text, "Node features for tasks that name none. Default: none at all.", {}, {}, {}},
      {"reservation", Type::text, "Reservation of tasks that name none. Default: none at all.", {}, {}, {}},
      {"pack", Type::text, "Tasks that share an element, or auto. Default 1.", {}, {}, {}},
      {"pack_slots",
       Type::integer,
       "Of these, so many run at once. Default: one, or with pack auto up to four.",
       1,
       kMostSlots,
       {}},
      {"shell", Type::text, "Absolute path of the shell for shell lines, on the nodes. Default /bin/sh.", {}, {}, {}},
      {"check_paths",
       Type::boolean,
       "Look here at tasks' directories and files before they are submitted. Default true.",
       {},
       {},
       {}},
      {"cgroup",
       Type::text,
       "A control group for each slot: auto (where one can be made) or never. Default auto.",
       {},
       {},
       {"auto", "never"}},
      {"priority_base",
       Type::integer,
       "Slurm's nice of a task of priority 0: what is above it can go first. Default 0.",
       0,
       1'000'000'000,
       {}},
      {"requests_per_minute", Type::integer, "Most queries to the controller in a minute. Default 60.", 1, 6000, {}},
      {"start_timeout",
       Type::duration,
       "Longest wait for the controller's first answer. Default 10s.",
       100,
       600'000,
       {}},
      {"kill_grace", Type::duration, "From TERM to KILL when a task is ended. Default 5s.", 0, 3'600'000, {}},
      {"sample_interval", Type::duration, "First sample of what a task's tree uses. Default 1s.", 10, 3'600'000, {}},
      {"record_interval", Type::duration, "Between two looks at the records. Default 500ms.", 10, 600'000, {}},
      {"shortest_poll",
       Type::duration,
       "Shortest time between two polls of the controller. Default 2s.",
       100,
       600'000,
       {}},
      {"longest_poll",
       Type::duration,
       "Longest time between two polls of the controller. Default 60s.",
       100,
       3'600'000,
       {}},
      {"record_patience",
       Type::duration,
       "How long records of an element that has ended may take to show. Default 10s.",
       0,
       600'000,
       {}},
      {"answer_timeout",
       Type::duration,
       "Longest wait for an answer of the controller. Default 30s.",
       100,
       600'000,
       {}},
      {"ambiguity_window",
       Type::duration,
       "How long after a submission without an answer the controller may still take it. Default 30s.",
       0,
       3'600'000,
       {}},
  };
}

Result<SlurmSettings> slurm_settings(const ClusterConfig& config) {
  SlurmSettings settings;
  const auto text = [&config](const char* key, std::string& value) { value = config.get<std::string>(key, value); };
  const auto duration = [&config](const char* key, milliseconds& value) {
    value = milliseconds(config.get<std::int64_t>(key, value.count()));
  };
  const auto number = [&config](const char* key, auto& value) {
    value = static_cast<std::remove_reference_t<decltype(value)>>(
        config.get<std::int64_t>(key, static_cast<std::int64_t>(value)));
  };
  text("slurm_conf", settings.configuration);
  text("account", settings.account);
  text("qos", settings.qos);
  text("constraint", settings.constraint);
  text("reservation", settings.reservation);
  text("pack", settings.pack);
  text("shell", settings.shell);
  number("pack_slots", settings.pack_slots);
  number("priority_base", settings.priority_base);
  number("requests_per_minute", settings.requests_per_minute);
  duration("start_timeout", settings.start_timeout);
  duration("kill_grace", settings.kill_grace);
  duration("sample_interval", settings.sample_interval);
  duration("record_interval", settings.record_interval);
  duration("shortest_poll", settings.shortest_poll);
  duration("longest_poll", settings.longest_poll);
  duration("record_patience", settings.record_patience);
  duration("answer_timeout", settings.answer_timeout);
  duration("ambiguity_window", settings.ambiguity_window);
  settings.checks_paths = config.get<bool>("check_paths", true);
  settings.control_groups = config.get<std::string>("cgroup", "auto") != "never";
  const auto wrong = [&config](const std::string& what) {
    return fail(ErrorCode::fix_request,
                (config.source.empty() ? "cluster " + config.name : config.source) + ": parameters." + what);
  };
  if (settings.pack != "auto" && !number_in(settings.pack, kMostPacked)) {
    return wrong("pack: \"" + settings.pack + "\" is neither auto nor a number from 1 to 100000");
  }
  if (settings.shell.empty() || settings.shell[0] != '/') {
    return wrong("shell: \"" + settings.shell + "\" is no absolute path");
  }
  if (settings.longest_poll < settings.shortest_poll) return wrong("longest_poll is below shortest_poll");
  if (!settings.configuration.empty() && ::access(settings.configuration.c_str(), R_OK) != 0) {
    return wrong("slurm_conf: " + settings.configuration + " cannot be read");
  }
  return settings;
}

Result<Layout> layout_of(const SlurmSettings& settings, const Submission& submission, const Pace& pace) {
  const auto& options = submission.resources.pass_through;
  const auto option = [&options](const char* key, std::string fallback) {
    const auto found = options.find(key);
    return found == options.end() ? fallback : found->second;
  };
  Layout layout;
  const std::string pack = option("pack", settings.pack);
  const bool is_auto = pack == "auto";
  const std::uint64_t tasks = submission.steps.size();
  const std::uint64_t cores = submission.resources.cores.value_or(1);
  std::uint64_t slots = settings.pack_slots;
  if (const std::string asked = option("pack_slots", ""); !asked.empty()) {
    const auto number = number_in(asked, kMostSlots);
    if (!number) return wrong_option("pack_slots", asked, "1 to 64 is taken");
    slots = *number;
  }
  if (slots == 0) slots = is_auto ? slots_that_fit(submission.resources, pace) : 1;
  if (is_auto) {
    // By what was measured an element lasts its time; before, each core of the queue gets one share of the tasks. More
    // than that share would leave cores without work.
    const std::uint64_t elements = std::max<std::uint64_t>(1, pace.cores / (cores * slots));
    layout.pack = std::max<std::uint64_t>(1, (tasks + elements - 1) / elements);
    if (pace.mean_seconds) {
      const double fitting = kPackedSeconds * static_cast<double>(slots) / std::max(*pace.mean_seconds, 1e-4);
      layout.pack = std::min(layout.pack, static_cast<std::uint64_t>(std::clamp(fitting, 1.0, 1e5)));
    }
    layout.pack = std::min(layout.pack, kMostPacked);
  } else {
    const auto number = number_in(pack, kMostPacked);
    if (!number) return wrong_option("pack", pack, "auto or 1 to 100000 is taken");
    layout.pack = *number;
  }
  layout.pack = std::min(layout.pack, tasks);
  layout.slots = static_cast<std::uint32_t>(std::min(slots, layout.pack));
  return layout;
}

Result<JobRequest> job_request(const SlurmSettings& settings, const Submission& submission, const Layout& layout,
                               const std::string& queue) {
  const RequestedResources& asked = submission.resources;
  JobRequest request;
  request.partition = asked.queue.empty() ? queue : asked.queue;
  request.account = asked.account.empty() ? settings.account : asked.account;
  request.constraint = asked.constraint.empty() ? settings.constraint : asked.constraint;
  request.qos = settings.qos;
  request.reservation = settings.reservation;
  request.comment = submission.name;
  request.cores = asked.cores.value_or(1) * layout.slots;
  request.nodes = asked.nodes;
  request.ranks = asked.ranks;
  if (asked.memory_bytes) {
    if (*asked.memory_bytes > std::numeric_limits<std::uint64_t>::max() / kMostSlots / 2) {
      return fail(ErrorCode::fix_request,
                  "memory: " + format_size_exact(*asked.memory_bytes) + " is more than any node has");
    }
    const std::uint64_t bytes = *asked.memory_bytes * layout.slots;
    request.memory_megabytes = (bytes + kMegabyte - 1) / kMegabyte + kElementMegabytes;
  }
  if (asked.gpus && *asked.gpus > 0) request.gres = "gres:gpu:" + std::to_string(*asked.gpus * layout.slots);
  if (asked.runtime_milliseconds) {
    // The worker node ends a task at its limit and writes that down; Slurm's own limit, in minutes, is for when it
    // cannot. One turn of its slots after the other.
    constexpr double kSlackMs = 60'000;
    constexpr double kMostMinutes = 50.0 * 365 * 24 * 60;  // fifty years: longer than any job is let run
    const double turns = static_cast<double>((layout.pack + layout.slots - 1) / layout.slots);
    const double total = static_cast<double>(*asked.runtime_milliseconds) * turns +
                         static_cast<double>(settings.kill_grace.count()) * turns + kSlackMs;
    request.minutes = static_cast<std::uint32_t>(std::min(std::ceil(total / 60'000), kMostMinutes));
  }
  const std::int64_t nice =
      std::clamp<std::int64_t>(std::int64_t{settings.priority_base} - submission.priority, 0, kMostNice);
  if (nice > 0) request.nice = static_cast<std::uint32_t>(nice);
  for (const std::string& node : submission.excluded_nodes) {
    request.excluded_nodes += (request.excluded_nodes.empty() ? "" : ",") + node;
  }
  for (const auto& [key, value] : asked.pass_through) {
    if (auto taken = take_option(key, value, request); !taken) return fail(taken.error());
  }
  constexpr std::size_t kMostComment = 1024;
  if (request.comment.size() > kMostComment) request.comment.resize(kMostComment);
  return request;
}

}  // namespace allot::slurm
