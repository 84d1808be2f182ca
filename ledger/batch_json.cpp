// SPDX-License-Identifier: MIT
#include "ledger/batch_json.h"

#include <ctime>
#include <limits>
#include <nlohmann/json.hpp>
#include <type_traits>

#include "ledger/time_text.h"

namespace allot::ledger {

using nlohmann::json;

json text_to_json(const std::string& text) {
  json value = text;
  try {
    [[maybe_unused]] const std::string checked = value.dump();
    return value;
  } catch (const json::exception&) {
    constexpr char kDigits[] = "0123456789abcdef";
    std::string hex;
    for (const char c : text) {
      hex += kDigits[static_cast<unsigned char>(c) >> 4];
      hex += kDigits[static_cast<unsigned char>(c) & 15];
    }
    return json{{"hex", hex}};
  }
}

std::optional<std::string> text_from_json(const json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_object() || value.size() != 1 || !value.contains("hex") || !value["hex"].is_string())
    return std::nullopt;
  const std::string hex = value["hex"].get<std::string>();
  if (hex.size() % 2 != 0 || hex.find_first_not_of("0123456789abcdef") != std::string::npos) return std::nullopt;
  std::string text;
  for (std::size_t i = 0; i < hex.size(); i += 2) text += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return text;
}

namespace {

std::string octal(std::uint32_t mask) {
  std::string text(4, '0');
  for (auto digit = text.rbegin(); digit != text.rend(); ++digit, mask >>= 3) *digit += static_cast<char>(mask & 7);
  return text;
}

std::optional<std::uint32_t> from_octal(const std::string& text) {
  if (text.size() != 4 || text[0] != '0' || text.find_first_not_of("01234567") != std::string::npos) {
    return std::nullopt;
  }
  return static_cast<std::uint32_t>(std::stoul(text, nullptr, 8));
}

json resources_to_json(const RequestedResources& r) {
  json value = json::object();
  if (r.cores) value["cores"] = *r.cores;
  if (r.memory_bytes) value["memory_bytes"] = *r.memory_bytes;
  if (r.runtime_milliseconds) value["runtime_milliseconds"] = *r.runtime_milliseconds;
  if (r.gpus) value["gpus"] = *r.gpus;
  if (r.ranks) value["ranks"] = *r.ranks;
  if (r.nodes) value["nodes"] = *r.nodes;
  if (!r.queue.empty()) value["queue"] = text_to_json(r.queue);
  if (!r.account.empty()) value["account"] = text_to_json(r.account);
  if (!r.constraint.empty()) value["constraint"] = text_to_json(r.constraint);
  if (!r.pass_through.empty()) {
    // A list of pairs, because keys, too, may be no UTF-8.
    json pairs = json::array();
    for (const auto& [key, option] : r.pass_through) pairs.push_back({text_to_json(key), text_to_json(option)});
    value["pass_through"] = std::move(pairs);
  }
  return value;
}

// Reads the keys of an object; keeps the first error.
class Fields {
 public:
  Fields(const json& object, std::string where) : object_(object), where_(std::move(where)) {}

  void read(const char* key, std::string& into) {
    const json* value = find(key);
    if (value == nullptr) return;
    auto text = text_from_json(*value);
    if (!text) return wrong(key, "a text");
    into = std::move(*text);
  }
  template <class T>
  requires std::is_integral_v<T>
  void read(const char* key, T& into) {
    const json* value = find(key);
    if (value == nullptr) return;
    if (value->is_number_unsigned()) {
      if (value->get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<T>::max())) {
        return wrong(key, "a smaller number");
      }
    } else if (!value->is_number_integer() || std::is_unsigned_v<T>) {
      return wrong(key, std::is_unsigned_v<T> ? "a whole number, 0 or more" : "a whole number");
    } else if (value->get<std::int64_t>() < static_cast<std::int64_t>(std::numeric_limits<T>::min())) {
      return wrong(key, "a larger number");
    }
    into = value->get<T>();
  }
  template <class T>
  void read_if_there(const char* key, std::optional<T>& into) {
    if (!object_.contains(key)) return;
    read(key, into.emplace());
  }
  void read_if_there(const char* key, std::string& into) {
    if (object_.contains(key)) read(key, into);
  }
  const json* find(const char* key) {
    if (error_) return nullptr;
    auto it = object_.find(key);
    if (it != object_.end()) return &*it;
    error_ = Error{ErrorCode::gave_up, where_ + ": damaged: there is no key \"" + key + "\""};
    return nullptr;
  }
  void wrong(const char* key, const char* expected) {
    if (!error_) error_ = Error{ErrorCode::gave_up, where_ + ": damaged: key \"" + key + "\" must be " + expected};
  }
  std::optional<Error>& error() { return error_; }

 private:
  const json& object_;
  std::string where_;
  std::optional<Error> error_;
};

// "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error while parsing value - …; last read:
// '…'; expected …" without the library's own words.
std::string words_of(const json::exception& error) {
  std::string text = error.what();
  const auto cut = [&text](std::string_view from, std::string_view to) {
    const auto begin = text.find(from);
    const auto end = begin == std::string::npos ? begin : text.find(to, begin);
    if (end != std::string::npos) text.erase(begin, end + to.size() - begin);
  };
  cut("[json.", "] ");
  cut("syntax error while", " - ");
  if (text.starts_with("parse error")) return "it is no JSON: " + text.substr(std::string_view("parse error ").size());
  const auto quote = text.find('\'');
  return quote == std::string::npos ? "it is no JSON" : "the number " + text.substr(quote) + " is too large";
}

Result<json> parse_object(std::string_view text, const std::string& path) {
  try {
    json object = json::parse(text);
    if (object.is_object()) return object;
    return fail(ErrorCode::gave_up, path + ": damaged: it holds no JSON object");
  } catch (const json::exception& e) {
    return fail(ErrorCode::gave_up, path + ": damaged: " + words_of(e));
  }
}

void read_resources(const json& object, const std::string& path, RequestedResources& r, Fields& outer) {
  if (!object.is_object()) return outer.wrong("default_resources", "an object");
  Fields fields(object, path + ": default_resources");
  fields.read_if_there("cores", r.cores);
  fields.read_if_there("memory_bytes", r.memory_bytes);
  fields.read_if_there("runtime_milliseconds", r.runtime_milliseconds);
  fields.read_if_there("gpus", r.gpus);
  fields.read_if_there("ranks", r.ranks);
  fields.read_if_there("nodes", r.nodes);
  fields.read_if_there("queue", r.queue);
  fields.read_if_there("account", r.account);
  fields.read_if_there("constraint", r.constraint);
  if (object.contains("pass_through")) {
    constexpr char kExpected[] = "a list of [key, value]";
    const json& pairs = object["pass_through"];
    if (!pairs.is_array()) fields.wrong("pass_through", kExpected);
    for (const json& pair : pairs) {
      if (!pair.is_array() || pair.size() != 2) {
        fields.wrong("pass_through", kExpected);
        break;
      }
      auto key = text_from_json(pair[0]);
      auto value = text_from_json(pair[1]);
      if (!key || !value) {
        fields.wrong("pass_through", kExpected);
        break;
      }
      r.pass_through[std::move(*key)] = std::move(*value);
    }
  }
  if (fields.error() && !outer.error()) outer.error() = std::move(fields.error());
}

}  // namespace

std::string utc_text(std::int64_t unix_ns) {
  const std::time_t seconds = unix_ns / 1'000'000'000;
  std::tm parts{};
  char text[64];
  if (::gmtime_r(&seconds, &parts) == nullptr) return "an unknown time";
  const std::size_t size = std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &parts);
  return std::string(text, size);
}

std::string to_json(const BatchInfo& info) {
  json object = {
      {"format", info.format},           {"batch_id", text_to_json(info.batch_id)},
      {"name", text_to_json(info.name)}, {"cluster", text_to_json(info.cluster)},
      {"host", text_to_json(info.host)}, {"boot_id", text_to_json(info.boot_id)},
      {"cwd", text_to_json(info.cwd)},   {"allot_version", text_to_json(info.allot_version)},
      {"created_ns", info.created_ns},   {"default_resources", resources_to_json(info.default_resources)},
  };
  if (!info.retry.empty()) object["retry"] = text_to_json(info.retry);
  if (info.max_running) object["max_running"] = *info.max_running;
  if (info.priority != 0) object["priority"] = info.priority;
  if (info.begin_ns != 0) object["begin_ns"] = info.begin_ns;
  if (info.umask) object["umask"] = octal(*info.umask);
  return object.dump(2) + "\n";
}

std::string to_json(const DriverIdentity& driver) {
  json object = {
      {"epoch", driver.epoch}, {"host", text_to_json(driver.host)}, {"boot_id", text_to_json(driver.boot_id)},
      {"pid", driver.pid},     {"start_ticks", driver.start_ticks}, {"since_ns", driver.since_ns},
  };
  if (driver.tasks) object["tasks"] = *driver.tasks;
  return object.dump(2) + "\n";
}

Result<BatchInfo> parse_batch_info(std::string_view text, const std::string& path) {
  auto object = parse_object(text, path);
  if (!object) return fail(std::move(object.error()));
  Fields fields(*object, path);
  BatchInfo info;
  fields.read("format", info.format);
  if (!fields.error() && info.format > kBatchFormat) {
    return fail(ErrorCode::fix_request, path + ": the batch has format " + std::to_string(info.format) +
                                            ", this allot reads up to " + std::to_string(kBatchFormat) +
                                            ": use the version of allot that made it, or a newer one");
  }
  fields.read("batch_id", info.batch_id);
  fields.read("name", info.name);
  fields.read("cluster", info.cluster);
  fields.read("host", info.host);
  fields.read("boot_id", info.boot_id);
  fields.read("cwd", info.cwd);
  fields.read("allot_version", info.allot_version);
  fields.read("created_ns", info.created_ns);
  fields.read_if_there("retry", info.retry);
  fields.read_if_there("max_running", info.max_running);
  if (object->contains("priority")) fields.read("priority", info.priority);
  if (object->contains("begin_ns")) fields.read("begin_ns", info.begin_ns);
  if (std::string mask; object->contains("umask")) {
    fields.read("umask", mask);
    info.umask = from_octal(mask);
    if (!info.umask) fields.wrong("umask", "a text of four octal digits");
  }
  if (const json* resources = fields.find("default_resources")) {
    read_resources(*resources, path, info.default_resources, fields);
  }
  if (fields.error()) return fail(std::move(*fields.error()));
  return info;
}

Result<DriverIdentity> parse_driver_identity(std::string_view text, const std::string& path) {
  auto object = parse_object(text, path);
  if (!object) return fail(std::move(object.error()));
  Fields fields(*object, path);
  DriverIdentity driver;
  fields.read("epoch", driver.epoch);
  fields.read("host", driver.host);
  fields.read("boot_id", driver.boot_id);
  fields.read("pid", driver.pid);
  fields.read("start_ticks", driver.start_ticks);
  fields.read("since_ns", driver.since_ns);
  fields.read_if_there("tasks", driver.tasks);
  if (fields.error()) return fail(std::move(*fields.error()));
  return driver;
}

}  // namespace allot::ledger
