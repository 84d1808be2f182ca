// SPDX-License-Identifier: MIT
#include "engine/json_task.h"

#include <cmath>
#include <stdexcept>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "engine/begin_time.h"
#include "engine/nearest_name.h"
#include "engine/retry_policy.h"
#include "protocol/units.h"

namespace allot {
namespace {

using Json = nlohmann::json;

// Deeper than any valid task; deeper input is refused before it costs memory.
constexpr std::size_t kMaxDepth = 6;
// nlohmann's number for a number beyond the range of a double.
constexpr int kOutOfRange = 406;

// Thrown out of the reader and caught in parse().
struct RefusedJson : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct InvalidJson : std::runtime_error {
  InvalidJson(std::size_t at_byte, int error_id, const std::string& read_last, const char* what)
      : std::runtime_error(what), byte(at_byte), id(error_id), last_read(read_last) {}
  std::size_t byte;  // of the last one read, from 1
  int id;
  std::string last_read;
};

// Makes a value of what the parser reads. Unlike nlohmann's own it keeps numbers that are no 64-bit integers as they
// are written (as binary; a double would round them), refuses a second value for a key, and does not go deep.
class JsonReader final : public nlohmann::json_sax<Json> {
 public:
  Json take() { return std::move(root_); }

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(std::int64_t value) override { return add(value); }
  bool number_unsigned(std::uint64_t value) override { return add(value); }
  bool number_float(double value, const std::string& text) override {
    // Of so few digits a double of this size is exact.
    const bool has_exponent = text.find_first_of("eE") != std::string::npos;
    if (has_exponent && text.size() <= 15 && value >= 0 && value < 1e15 && std::floor(value) == value)
      return add(static_cast<std::uint64_t>(value));
    return add(Json::binary({text.begin(), text.end()}));
  }
  bool string(std::string& value) override { return add(std::move(value)); }
  bool binary(Json::binary_t&) override { return false; }  // no such thing in text
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(std::string& name) override {
    if (open_.back()->contains(name)) throw RefusedJson(fmt::format("the key \"{}\" comes twice", name));
    key_ = std::move(name);
    return true;
  }
  bool parse_error(std::size_t position, const std::string& last_read, const Json::exception& error) override {
    throw InvalidJson(position, error.id, last_read, error.what());
  }

 private:
  Json& place(Json value) {
    if (open_.empty()) return root_ = std::move(value);
    Json& parent = *open_.back();
    if (!parent.is_array()) return parent[key_] = std::move(value);
    parent.push_back(std::move(value));
    return parent.back();
  }
  bool add(Json value) {
    place(std::move(value));
    return true;
  }
  bool open(Json value) {
    if (open_.size() >= kMaxDepth) throw RefusedJson("nested too deeply");
    open_.push_back(&place(std::move(value)));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  Json root_;
  std::vector<Json*> open_;  // objects and arrays; nothing is added to one while a later one is open
  std::string key_;
};

// A number as it is written; of a 64-bit integer this is what dump() gives.
std::string number_text(const Json& value) {
  if (!value.is_binary()) return value.dump(-1, ' ', false, Json::error_handler_t::replace);
  return {value.get_binary().begin(), value.get_binary().end()};
}

bool is_number(const Json& value) {
  return value.is_number() || value.is_binary();
}

std::string type_of(const Json& value) {
  if (is_number(value)) return "a number";
  if (value.is_null()) return "null";
  if (value.is_boolean()) return "true or false";
  if (value.is_object()) return "an object";
  return value.is_array() ? "an array" : "a string";
}

class TaskReader {
 public:
  TaskReader(const std::string& source_name, std::uint64_t line_number, const std::string& base_directory,
             std::int64_t now_ns, InputFaults& faults)
      : source_name_(source_name),
        line_number_(line_number),
        base_directory_(base_directory),
        now_ns_(now_ns),
        faults_(faults) {}

  std::optional<JsonTask> read(std::string_view line) {
    const std::optional<Json> value = parse(line);
    if (!value) return std::nullopt;
    if (!value->is_object()) {
      fault("", "must be an object such as {\"command\": \"…\"}, not " + type_of(*value));
      return std::nullopt;
    }
    task_.spec.source_line = line_number_;
    read_keys(*value);
    if (!value->contains("command"))
      fault("command", "is missing: a string (a line for sh) or an array (the arguments)");
    if (task_.spec.max_parallel > 0 && task_.spec.name.empty()) {
      fault("max_parallel", "needs a \"name\": the tasks of one name share it");
    }
    settle_paths();
    if (is_bad_) return std::nullopt;
    return std::move(task_);
  }

 private:
  void fault(const std::string& key, const std::string& what) {
    is_bad_ = true;
    faults_.add(fmt::format("{}:{}: {}{}{}", source_name_, line_number_, key, key.empty() ? "" : ": ", what));
  }

  std::optional<Json> parse(std::string_view line) {
    JsonReader reader;
    try {
      if (Json::sax_parse(line.begin(), line.end(), &reader)) return reader.take();
      fault("", "cannot be read as JSON");
    } catch (const InvalidJson& error) {
      is_bad_ = true;
      if (error.id == kOutOfRange) {
        faults_.add(fmt::format("{}:{}:{}: the number {} is larger than any that can be meant", source_name_,
                                line_number_, error.byte - error.last_read.size() + 1, error.last_read));
      } else {
        // "…: syntax error while parsing value - invalid literal; last read: '…'": what follows the place is of use.
        std::string text = error.what();
        const auto from = text.find(": ", text.find("column"));
        if (from != std::string::npos) text = text.substr(from + 2);
        faults_.add(fmt::format("{}:{}:{}: invalid JSON: {}", source_name_, line_number_, error.byte, text));
      }
    } catch (const RefusedJson& error) {
      fault("", error.what());
    }
    return std::nullopt;
  }

  void read_keys(const Json& object) {
    static const std::vector<std::string> kKeys = {"command", "name",       "env",       "cwd",          "stdin",
                                                   "stdout",  "stderr",     "resources", "timeout",      "after",
                                                   "retry",   "exit_codes", "priority",  "max_parallel", "begin"};
    const bool has_runtime =
        object.contains("resources") && object["resources"].is_object() && object["resources"].contains("runtime");
    for (const auto& [key, value] : object.items()) {
      if (key == "command") {
        read_command(value);
      } else if (key == "name") {
        take_text(key, value, task_.spec.name);
      } else if (key == "env") {
        read_environment(value);
      } else if (key == "cwd") {
        take_text(key, value, task_.spec.cwd);
      } else if (key == "stdin") {
        take_text(key, value, task_.spec.stdin_path);
      } else if (key == "stdout") {
        take_text(key, value, task_.spec.stdout_path);
      } else if (key == "stderr") {
        take_text(key, value, task_.spec.stderr_path);
      } else if (key == "resources") {
        read_resources(value);
      } else if (key == "timeout") {
        if (has_runtime) {
          fault(key, "says the same as resources.runtime; give one of them");
        } else {
          take_duration(key, value, task_.spec.resources.runtime_milliseconds);
        }
      } else if (key == "after") {
        read_after(value);
      } else if (key == "retry") {
        read_retry(value);
      } else if (key == "priority") {
        read_priority(value);
      } else if (key == "max_parallel") {
        read_max_parallel(value);
      } else if (key == "begin") {
        read_begin(value);
      } else if (key == "exit_codes") {
        read_exit_codes(value);
      } else {
        refuse_key("", key, kKeys);
      }
    }
  }

  void refuse_key(const std::string& prefix, const std::string& key, const std::vector<std::string>& known) {
    const auto nearest = nearest_name(key, known);
    fault(prefix + key, "no such key" + (nearest ? "; did you mean \"" + *nearest + "\"?"
                                                 : "; known: " + fmt::format("{}", fmt::join(known, ", "))));
  }

  bool take_text(const std::string& key, const Json& value, std::string& to) {
    if (!value.is_string()) {
      fault(key, "must be a string, not " + type_of(value));
      return false;
    }
    to = value.get_ref<const std::string&>();
    if (to.find('\0') != std::string::npos) {
      fault(key, "holds a NUL (\\u0000), which no command, path or variable can");
      return false;
    }
    if (to.empty()) {
      fault(key, "must not be empty; leave it out instead");
      return false;
    }
    return true;
  }

  void read_command(const Json& value) {
    if (value.is_string()) {
      if (take_text("command", value, task_.spec.shell_line) &&
          task_.spec.shell_line.find_first_not_of(" \t\r\n") == std::string::npos) {
        fault("command", "is blank");
      }
      return;
    }
    if (!value.is_array() || value.empty()) {
      fault("command", "must be a string (a line for sh) or an array of strings (the arguments), not " +
                           (value.is_array() ? std::string("an empty array") : type_of(value)));
      return;
    }
    for (std::size_t i = 0; i < value.size(); ++i) {
      const std::string key = fmt::format("command[{}]", i);
      if (!value[i].is_string()) {
        fault(key, "must be a string, not " + type_of(value[i]));
      } else if (value[i].get_ref<const std::string&>().find('\0') != std::string::npos) {
        fault(key, "holds a NUL (\\u0000), which no argument can");
      } else {
        task_.spec.argv.push_back(value[i]);
      }
    }
    if (!task_.spec.argv.empty() && task_.spec.argv[0].empty()) fault("command[0]", "the program's name is empty");
  }

  void read_environment(const Json& value) {
    if (!value.is_object()) return fault("env", "must be an object of strings, not " + type_of(value));
    for (const auto& [name, text] : value.items()) {
      if (name.empty() || name.find('=') != std::string::npos || name.find('\0') != std::string::npos) {
        fault("env", fmt::format("\"{}\" cannot be the name of a variable", name));
      } else if (!text.is_string()) {
        fault("env." + name, "must be a string, not " + type_of(text) + "; put it in quotes");
      } else if (text.get_ref<const std::string&>().find('\0') != std::string::npos) {
        fault("env." + name, "holds a NUL (\\u0000), which no variable can");
      } else {
        task_.spec.env.emplace_back(name, text);
      }
    }
  }

  void read_resources(const Json& value) {
    static const std::vector<std::string> kKeys = {"cores", "memory", "runtime", "gpus",       "ranks",
                                                   "nodes", "queue",  "account", "constraint", "options"};
    if (!value.is_object()) return fault("resources", "must be an object, not " + type_of(value));
    auto& resources = task_.spec.resources;
    for (const auto& [key, entry] : value.items()) {
      const std::string path = "resources." + key;
      if (key == "cores") {
        take_count(path, entry, 1, resources.cores);
      } else if (key == "gpus") {
        take_count(path, entry, 0, resources.gpus);
      } else if (key == "ranks") {
        take_count(path, entry, 1, resources.ranks);
      } else if (key == "nodes") {
        take_count(path, entry, 1, resources.nodes);
      } else if (key == "memory") {
        take_size(path, entry, resources.memory_bytes);
      } else if (key == "runtime") {
        take_duration(path, entry, resources.runtime_milliseconds);
      } else if (key == "queue") {
        take_text(path, entry, resources.queue);
      } else if (key == "account") {
        take_text(path, entry, resources.account);
      } else if (key == "constraint") {
        take_text(path, entry, resources.constraint);
      } else if (key == "options") {
        if (!entry.is_object()) {
          fault(path, "must be an object of strings, not " + type_of(entry));
          continue;
        }
        for (const auto& [option, text] : entry.items()) {
          if (text.is_string()) {
            resources.pass_through[option] = text;
          } else {
            fault(path + "." + option, "must be a string, not " + type_of(text));
          }
        }
      } else {
        refuse_key("resources.", key, kKeys);
      }
    }
  }

  void take_count(const std::string& key, const Json& value, std::uint32_t least, std::optional<std::uint32_t>& to) {
    constexpr std::uint64_t kMost = 1'000'000;
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() < least || value.get<std::uint64_t>() > kMost) {
      fault(key, fmt::format("must be a whole number from {} to {}, not {}", least, kMost, number_text(value)));
      return;
    }
    to = value.get<std::uint32_t>();
  }

  void take_size(const std::string& key, const Json& value, std::optional<std::uint64_t>& to) {
    if (!value.is_string() && !is_number(value)) {
      return fault(key, "must be a size such as \"1.5G\" or a number of bytes, not " + type_of(value));
    }
    const auto size = parse_size(value.is_string() ? value.get<std::string>() : number_text(value));
    if (!size) return fault(key, size.error().message);
    if (*size == 0) return fault(key, "must be more than 0");
    to = *size;
  }

  void take_duration(const std::string& key, const Json& value, std::optional<std::int64_t>& to) {
    if (!value.is_string() && !is_number(value)) {
      return fault(key, "must be a duration such as \"1h30m\" or a number of seconds, not " + type_of(value));
    }
    const auto duration = parse_duration(value.is_string() ? value.get<std::string>() : number_text(value));
    if (!duration) return fault(key, duration.error().message);
    if (*duration == 0) return fault(key, "must be more than 0");
    to = *duration;
  }

  // "retry": {"error": 2, "out_of_memory": "3:10s"}: the text behind '=' of engine/retry_policy.h.
  void read_retry(const Json& value) {
    if (!value.is_object()) return fault("retry", "must be an object such as {\"error\": 3}, not " + type_of(value));
    for (const auto& [name, rule] : value.items()) {
      if (!rule.is_string() && !rule.is_number_unsigned()) {
        fault("retry." + name, "must be a number or a text such as \"3:10s:2\", not " + type_of(rule));
        continue;
      }
      add_rule("retry." + name, name + "=" + (rule.is_string() ? rule.get<std::string>() : rule.dump()));
    }
  }

  void read_priority(const Json& value) {
    if (!value.is_number_integer() || value < INT32_MIN || value > INT32_MAX) {
      return fault("priority", "must be a whole number such as 10 or -5, not " + shown(value));
    }
    task_.spec.priority = value.get<std::int32_t>();
  }

  void read_max_parallel(const Json& value) {
    if (!value.is_number_unsigned() || value == 0 || value > UINT32_MAX) {
      return fault("max_parallel", "must be a whole number, 1 or more, not " + shown(value));
    }
    task_.spec.max_parallel = value.get<std::uint32_t>();
  }

  void read_begin(const Json& value) {
    if (!value.is_string() && !is_number(value)) {
      return fault("begin",
                   "must be a time such as \"2027-01-31T20:00\", or how long from now, such as \"10m\" or a "
                   "number of seconds, not " +
                       type_of(value));
    }
    const auto begin = parse_begin(value.is_string() ? value.get<std::string>() : number_text(value), now_ns_);
    if (!begin) return fault("begin", begin.error().message);
    task_.spec.begin_ns = *begin;
  }

  static std::string shown(const Json& value) { return is_number(value) ? number_text(value) : type_of(value); }

  // "exit_codes": {"75": "retry"}
  void read_exit_codes(const Json& value) {
    if (!value.is_object()) {
      return fault("exit_codes", "must be an object such as {\"75\": \"retry\"}, not " + type_of(value));
    }
    for (const auto& [code, meaning] : value.items()) {
      if (!meaning.is_string()) {
        fault("exit_codes." + code, "must be \"retry\", \"fatal\", \"success\" or \"defer\", not " + type_of(meaning));
        continue;
      }
      add_rule("exit_codes." + code, code + "=" + meaning.get<std::string>());
    }
  }

  void add_rule(const std::string& key, const std::string& rule) {
    const auto parsed = rule.find(',') == std::string::npos
                            ? parse_retry_rules(rule)
                            : fail(ErrorCode::fix_request, "one rule is expected here, and no comma");
    if (!parsed) return fault(key, parsed.error().message);
    const bool is_code = key.starts_with("exit_codes.");
    if (is_code == parsed->codes.empty()) return fault(key, is_code ? "is no exit code" : "is no exit class");
    rules_ = merged(rules_, *parsed);
    task_.spec.retry = to_text(rules_);
  }

  void read_after(const Json& value) {
    if (!value.is_array()) return read_reference("after", value);
    for (std::size_t i = 0; i < value.size(); ++i) read_reference(fmt::format("after[{}]", i), value[i]);
  }

  void read_reference(const std::string& key, const Json& value) {
    AfterReference reference;
    const Json* task = &value;
    if (value.is_object()) {
      for (const auto& [part, entry] : value.items()) {
        if (part == "when") {
          read_condition(key + ".when", entry, reference.kind);
        } else if (part != "task") {
          refuse_key(key + ".", part, {"task", "when"});
        }
      }
      if (!value.contains("task")) return fault(key, "\"task\" is missing: the name or step of the task to wait for");
      task = &value["task"];
    }
    if (task->is_number_unsigned()) {
      reference.step = task->get<std::uint64_t>();
    } else if (!task->is_string()) {
      return fault(key, "must be a task's name or its step (0 is the first), or {\"task\": …, \"when\": …}, not " +
                            (is_number(*task) ? number_text(*task) : type_of(*task)));
    } else if (!take_text(key, *task, reference.name)) {
      return;
    }
    task_.after.push_back(std::move(reference));
  }

  void read_condition(const std::string& key, const Json& value, DependencyKind& to) {
    const std::string text = value.is_string() ? value.get<std::string>() : std::string();
    if (text == "ok") {
      to = DependencyKind::after_ok;
    } else if (text == "any") {
      to = DependencyKind::after_any;
    } else if (text == "not_ok") {
      to = DependencyKind::after_not_ok;
    } else {
      fault(key,
            "must be \"ok\", \"any\" or \"not_ok\", not " + value.dump(-1, ' ', false, Json::error_handler_t::replace));
    }
  }

  void settle_paths() {
    auto& spec = task_.spec;
    const auto settle = [](std::string& path, const std::string& from) {
      if (!path.empty() && path[0] != '/') path = from + "/" + path;
    };
    settle(spec.cwd, base_directory_);
    const std::string& own = spec.cwd.empty() ? base_directory_ : spec.cwd;
    settle(spec.stdin_path, own);
    settle(spec.stdout_path, own);
    settle(spec.stderr_path, own);
  }

  const std::string& source_name_;
  std::uint64_t line_number_;
  const std::string& base_directory_;
  const std::int64_t now_ns_;
  InputFaults& faults_;
  JsonTask task_;
  RetryRules rules_;
  bool is_bad_ = false;
};

}  // namespace

std::optional<JsonTask> read_json_task(std::string_view line, const std::string& source_name, std::uint64_t line_number,
                                       const std::string& base_directory, std::int64_t now_ns, InputFaults& faults) {
  return TaskReader(source_name, line_number, base_directory, now_ns, faults).read(line);
}

}  // namespace allot
