// SPDX-License-Identifier: MIT
#include "engine/addition.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/filesystem.hpp>
#include <cerrno>

#include <nlohmann/json.hpp>

#include "engine/batch_maker.h"
#include "process/fd.h"
#include "protocol/distributor_id.h"

namespace allot {
namespace {

namespace fs = boost::filesystem;
using nlohmann::json;

constexpr std::uint32_t kFormat = 1;
constexpr std::size_t kMostBytes = 1u << 20;
constexpr const char* kEndings[] = {".data", ".index", ".json", ".taken", ".answer"};

std::string directory_of(const BatchDirectory& batch) {
  return batch.path() + "/additions";
}

std::string path_of(const BatchDirectory& batch, const std::string& token, const char* ending) {
  return directory_of(batch) + "/" + token + ending;
}

Result<json> read_object(const std::string& path) {
  auto text = read_file(path, kMostBytes);
  if (!text) return fail(std::move(text.error()));
  json object = json::parse(*text, nullptr, false);
  if (!object.is_object()) return fail(ErrorCode::gave_up, path + ": damaged: it is no JSON object");
  return object;
}

template <class T>
bool take(const json& object, const char* key, T& into) {
  const auto found = object.find(key);
  if (found == object.end()) return false;
  if constexpr (std::is_same_v<T, std::string>) {
    if (!found->is_string()) return false;
  } else if constexpr (std::is_same_v<T, bool>) {
    if (!found->is_boolean()) return false;
  } else {
    if (!found->is_number_unsigned()) return false;
  }
  into = found->template get<T>();
  return true;
}

Result<AdditionRequest> read_request(const BatchDirectory& batch, const std::string& token) {
  const std::string path = path_of(batch, token, ".taken");
  auto object = read_object(path);
  if (!object) return fail(std::move(object.error()));
  AdditionRequest request;
  request.token = token;
  std::uint32_t format = 0;
  std::string when;
  const bool is_whole = take(*object, "format", format) && take(*object, "parent", request.parent) &&
                        take(*object, "name", request.name) && take(*object, "cwd", request.cwd) &&
                        take(*object, "again", request.again) && take(*object, "when", when);
  if (!is_whole) return fail(ErrorCode::gave_up, path + ": damaged: its members do not add up");
  if (format != kFormat) {
    return fail(ErrorCode::fix_request, path + ": format " + std::to_string(format) + " is not known to this driver");
  }
  request.when = when == to_string(DependencyKind::after_any) ? DependencyKind::after_any : DependencyKind::after_ok;
  return request;
}

bool exists(const std::string& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0;
}

}  // namespace

bool is_addition_file(std::string_view name) {
  // What a writer that was killed has left of it ends with ".tmp.PID" (write_file_durably).
  if (const auto draft = name.find(".tmp."); draft != std::string_view::npos) name = name.substr(0, draft);
  const std::size_t dot = name.find('.');
  if (dot == std::string_view::npos || !id_base_seconds(name.substr(0, dot))) return false;
  return std::any_of(std::begin(kEndings), std::end(kEndings),
                     [&](const char* ending) { return name.substr(dot) == ending; });
}

Result<void> post_addition(const BatchDirectory& batch, const AdditionRequest& request, TaskSource& source) {
  if (auto checked = source.check(); !checked) return fail(std::move(checked.error()));
  const std::string directory = directory_of(batch);
  // Batches made before tasks could be added have none.
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) return fail(errno_error(errno, directory));
  auto written = write_tasks(addition_data_path(batch, request.token), addition_index_path(batch, request.token),
                             batch.info(), source);
  if (!written) {
    remove_addition(batch, request.token);
    return fail(std::move(written.error()));
  }
  const json object = {{"format", kFormat},  {"parent", request.parent}, {"name", request.name},
                       {"cwd", request.cwd}, {"again", request.again},   {"when", to_string(request.when)}};
  const std::string text = object.dump(-1, ' ', false, json::error_handler_t::replace);
  if (auto posted = write_file_durably(path_of(batch, request.token, ".json"), text); !posted) {
    remove_addition(batch, request.token);
    return posted;
  }
  return {};
}

Result<std::optional<AdditionAnswer>> find_answer(const BatchDirectory& batch, const std::string& token) {
  const std::string path = path_of(batch, token, ".answer");
  if (!exists(path)) return std::optional<AdditionAnswer>();
  auto object = read_object(path);
  if (!object) return fail(std::move(object.error()));
  std::string error;
  if (take(*object, "error", error)) return fail(ErrorCode::fix_request, error);
  AdditionAnswer answer;
  if (!take(*object, "first_step", answer.first_step) || !take(*object, "count", answer.count) ||
      !take(*object, "was_there", answer.was_there)) {
    return fail(ErrorCode::gave_up, path + ": damaged: its members do not add up");
  }
  return std::optional(answer);
}

bool take_back_addition(const BatchDirectory& batch, const std::string& token) {
  return ::unlink(path_of(batch, token, ".json").c_str()) == 0;
}

void remove_addition(const BatchDirectory& batch, const std::string& token) {
  for (const char* ending : kEndings) ::unlink(path_of(batch, token, ending).c_str());
}

Result<std::vector<TakenAddition>> take_requests(const BatchDirectory& batch) {
  const std::string directory = directory_of(batch);
  boost::system::error_code error;
  std::vector<std::string> tokens;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (!is_addition_file(name)) continue;
    const std::string token = name.substr(0, name.find('.'));
    if (name == token + ".json") {
      const std::string taken = path_of(batch, token, ".taken");
      if (::rename((directory + "/" + name).c_str(), taken.c_str()) == 0) tokens.push_back(token);
    } else if (name == token + ".taken" && !exists(path_of(batch, token, ".answer"))) {
      tokens.push_back(token);
    }
  }
  if (error && error.value() != ENOENT) return fail(errno_error(error.value(), directory));
  // As they were asked for: ids of one host grow with time. A renamed one may have been listed twice.
  std::sort(tokens.begin(), tokens.end());
  tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
  std::vector<TakenAddition> taken;
  for (std::string& token : tokens) {
    auto request = read_request(batch, token);
    taken.push_back({std::move(token), std::move(request)});
  }
  return taken;
}

std::string addition_data_path(const BatchDirectory& batch, const std::string& token) {
  return path_of(batch, token, ".data");
}

std::string addition_index_path(const BatchDirectory& batch, const std::string& token) {
  return path_of(batch, token, ".index");
}

Result<void> answer_addition(const BatchDirectory& batch, const std::string& token,
                             const Result<AdditionAnswer>& answer) {
  json object;
  if (answer) {
    object = {{"first_step", answer->first_step}, {"count", answer->count}, {"was_there", answer->was_there}};
  } else {
    object = {{"error", answer.error().message}};
  }
  return write_file_durably(path_of(batch, token, ".answer"),
                            object.dump(-1, ' ', false, json::error_handler_t::replace));
}

void remove_all_additions(const BatchDirectory& batch) {
  const std::string directory = directory_of(batch);
  boost::system::error_code error;
  std::vector<std::string> names;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    std::string name = it->path().filename().string();
    if (is_addition_file(name)) names.push_back(std::move(name));
  }
  for (const std::string& name : names) ::unlink((directory + "/" + name).c_str());
}

}  // namespace allot
