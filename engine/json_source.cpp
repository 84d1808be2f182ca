// SPDX-License-Identifier: MIT
#include "engine/json_source.h"

#include <algorithm>
#include <functional>
#include <unordered_map>

#include <fmt/format.h>

#include "engine/driver_log.h"
#include "engine/json_task.h"
#include "engine/nearest_name.h"
#include "protocol/distributor_id.h"

namespace allot {
namespace {

class JsonSource final : public TaskSource {
 public:
  JsonSource(DelimitedReader reader, std::string base_directory)
      : reader_(std::move(reader)), base_directory_(std::move(base_directory)) {}

  Result<void> check() override {
    if (!reader_.is_seekable()) {
      if (auto copied = reader_.spool(); !copied) return copied;
    }
    InputFaults faults;
    auto read = for_each_task(faults, [this](JsonTask& task) -> Result<void> {
      const auto step = static_cast<std::uint32_t>(count_++);
      if (count_ > kMaxArrayStep + 1) {
        return fail(ErrorCode::fix_request, fmt::format("{}:{}: a batch may have {} tasks at most; split the input",
                                                        name(), task.spec.source_line, kMaxArrayStep + 1));
      }
      const auto line = static_cast<std::uint32_t>(task.spec.source_line);
      if (!task.spec.name.empty()) {
        const auto [known, is_new] = names_.try_emplace(std::move(task.spec.name), Name{step, line, 0});
        if (!is_new && known->second.second_line == 0) known->second.second_line = line;
      }
      for (auto& reference : task.after) waiting_.push_back({step, line, std::move(reference)});
      return {};
    });
    if (!read) return read;
    if (faults.empty()) resolve(faults);
    if (!faults.empty()) return fail(faults.error());
    return {};
  }

  Result<void> deliver(TaskCollector& to) override {
    if (auto again = reader_.rewind(); !again) return again;
    InputFaults faults;
    auto read = for_each_task(faults, [this, &to](JsonTask& task) -> Result<void> {
      for (const auto& reference : task.after) {
        const auto step = step_of(reference);
        if (step) task.spec.after.push_back({*step, reference.kind});
      }
      if (auto added = to.add(task.spec); !added) {
        return fail(added.error().with_context(fmt::format("{}:{}", name(), task.spec.source_line)));
      }
      return {};
    });
    if (!read) return read;
    if (!faults.empty()) return fail(faults.error());
    return {};
  }

  const std::string& name() const override { return reader_.name(); }

  std::vector<std::string> notes() const override {
    if (skipped_ == 0) return {};
    return {fmt::format("{}: {} blank line{} skipped", name(), skipped_, skipped_ == 1 ? "" : "s")};
  }

 private:
  struct Name {
    std::uint32_t step;
    std::uint32_t line;
    std::uint32_t second_line;  // of the next task with the same name; 0: none
  };
  struct Waiting {
    std::uint32_t step;
    std::uint32_t line;
    AfterReference reference;
  };

  Result<void> for_each_task(InputFaults& faults, const std::function<Result<void>(JsonTask&)>& use) {
    skipped_ = 0;
    for (;;) {
      auto item = reader_.next();
      if (!item) return fail(std::move(item.error()));
      if (!*item) return {};
      if ((*item)->find_first_not_of(" \t\r") == std::string_view::npos) {
        ++skipped_;
        continue;
      }
      auto task = read_json_task(**item, name(), reader_.number(), base_directory_, now_ns_, faults);
      if (!task) continue;
      if (auto used = use(*task); !used) return used;
    }
  }

  std::optional<std::uint32_t> step_of(const AfterReference& reference) const {
    if (reference.step) return static_cast<std::uint32_t>(*reference.step);
    const auto found = names_.find(reference.name);
    if (found == names_.end()) return std::nullopt;
    return found->second.step;
  }

  void resolve(InputFaults& faults) {
    const auto fault = [&](const Waiting& waiting, const std::string& what) {
      faults.add(fmt::format("{}:{}: after: {}", name(), waiting.line, what));
    };
    DependencyGraph graph;
    for (const auto& waiting : waiting_) {
      const auto& reference = waiting.reference;
      if (reference.step && *reference.step >= count_) {
        fault(waiting, fmt::format("there is no step {}; the steps are 0 to {}", *reference.step, count_ - 1));
        continue;
      }
      if (!reference.step) {
        const auto found = names_.find(reference.name);
        if (found == names_.end()) {
          fault(waiting, fmt::format("there is no task \"{}\"{}", reference.name, suggestion(reference.name)));
          continue;
        }
        if (found->second.second_line != 0) {
          fault(waiting,
                fmt::format("\"{}\" is the name of several tasks (lines {} and {}); wait for a step number, or "
                            "give them names of their own",
                            reference.name, found->second.line, found->second.second_line));
          continue;
        }
      }
      graph.add(waiting.step, {*step_of(reference), reference.kind});
    }
    if (!faults.empty()) return;
    graph.seal();
    if (const auto cycle = graph.find_cycle()) tell_cycle(*cycle, faults);
    waiting_ = {};
  }

  std::string suggestion(const std::string& wrong) const {
    constexpr std::size_t kMostCompared = 10'000;  // the comparison is slow, and a fault is told all the same
    if (names_.empty()) return "; no task has a name";
    if (names_.size() > kMostCompared) return {};
    std::vector<std::string> known;
    for (const auto& [known_name, unused] : names_) known.push_back(known_name);
    std::sort(known.begin(), known.end());
    const auto nearest = nearest_name(wrong, known);
    return nearest ? "; did you mean \"" + *nearest + "\"?" : std::string();
  }

  void tell_cycle(const std::vector<std::uint32_t>& cycle, InputFaults& faults) const {
    constexpr std::size_t kMostShown = 20;
    std::unordered_map<std::uint32_t, std::string> labels;
    for (const std::uint32_t step : cycle) labels[step] = fmt::format("step {}", step);
    for (const auto& [task_name, place] : names_) {
      if (const auto found = labels.find(place.step); found != labels.end()) found->second = "\"" + task_name + "\"";
    }
    std::uint32_t first_line = 0;
    for (const auto& waiting : waiting_) {
      const auto found = labels.find(waiting.step);
      if (found == labels.end()) continue;
      const std::string line = fmt::format(" (line {})", waiting.line);
      if (found->second.find(line) == std::string::npos) found->second += line;
      if (waiting.step == cycle.front()) first_line = waiting.line;
    }
    std::string path;
    for (std::size_t i = 0; i < cycle.size() && i < kMostShown; ++i) path += labels[cycle[i]] + " waits for ";
    if (cycle.size() > kMostShown) path += fmt::format("{} more, the last for ", cycle.size() - kMostShown);
    faults.add(fmt::format("{}:{}: after: a cycle, so that none of them could start: {}{}", name(), first_line, path,
                           labels[cycle.front()]));
  }

  DelimitedReader reader_;
  std::string base_directory_;
  const std::int64_t now_ns_ = unix_nanoseconds();  // one for all, whenever they are read
  std::uint64_t count_ = 0;
  std::uint64_t skipped_ = 0;
  std::unordered_map<std::string, Name> names_;
  std::vector<Waiting> waiting_;
};

}  // namespace

std::unique_ptr<TaskSource> make_json_source(DelimitedReader reader, std::string base_directory) {
  return std::make_unique<JsonSource>(std::move(reader), std::move(base_directory));
}

}  // namespace allot
