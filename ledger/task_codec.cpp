// SPDX-License-Identifier: MIT
#include "ledger/task_codec.h"

#include <cstring>
#include <initializer_list>

#include "ledger/bytes.h"
#include "ledger/checksum.h"

namespace allot {
namespace ledger {
namespace {

// The numbers are the format: append only, and raise kBatchFormat with each, because a reader that stepped over a field
// would run something else than what was asked for.
enum Tag : std::uint8_t {
  kArgument = 1,  // one field for each
  kShellLine = 2,
  kName = 3,
  kCwd = 4,
  kVariable = 5,  // name NUL value
  kStdin = 6,
  kStdout = 7,
  kStderr = 8,
  kCores = 9,
  kMemory = 10,
  kRuntime = 11,
  kGpus = 12,
  kRanks = 13,
  kNodes = 14,
  kQueue = 15,
  kAccount = 16,
  kConstraint = 17,
  kPassThrough = 18,  // key NUL value
  kAfter = 19,        // u8 kind, u32 step
  kSourceLine = 20,
  kRetry = 21,
  kSuccessCodes = 22,
  kPriority = 23,
  kMaxParallel = 24,
  kBegin = 25,
};

constexpr std::size_t kFieldHeadBytes = 5;
constexpr std::size_t kStepsBytes = 8;  // u32 first step, u32 last step

bool has_nul(std::string_view text) {
  return !text.empty() && std::memchr(text.data(), 0, text.size()) != nullptr;
}

tl::unexpected<Error> nul_in(const char* field) {
  return fail(ErrorCode::fix_request, std::string("a NUL byte in ") + field +
                                          ": no command line can hold one; take it out, or read input with -0");
}

tl::unexpected<Error> too_large(std::uint64_t bytes) {
  return fail(ErrorCode::fix_request, "a task of " + std::to_string(bytes) + " bytes is larger than the " +
                                          std::to_string(kMaxRowBytes) +
                                          " bytes that a row of the task table may have");
}

// Row header and steps first, once the payload's length is known; the payload's fields go behind.
class RowEncoder {
 public:
  RowEncoder(std::string& bytes, std::size_t payload_bytes, RowSteps steps)
      : bytes_(bytes), begin_(bytes.size()), payload_bytes_(payload_bytes) {
    bytes_.resize(begin_ + kRowHeaderBytes + payload_bytes);
    at_ = bytes_.data() + begin_ + kRowHeaderBytes;
    put(static_cast<std::uint32_t>(steps.first));
    put(static_cast<std::uint32_t>(steps.first + steps.count - 1));
  }
  void field(Tag tag, std::string_view text) {
    head(tag, text.size());
    bytes(text);
  }
  void pair(Tag tag, std::string_view key, std::string_view value) {
    head(tag, key.size() + 1 + value.size());
    bytes(key);
    *at_++ = 0;
    bytes(value);
  }
  template <class T>
  void number(Tag tag, T value) {
    head(tag, sizeof value);
    put(value);
  }
  void dependency(const Dependency& dependency) {
    head(kAfter, 5);
    put(static_cast<std::uint8_t>(dependency.kind));
    put(dependency.step);
  }
  void finish() {
    char* row = bytes_.data() + begin_;
    store(row, static_cast<std::uint32_t>(payload_bytes_));
    store(row + 4, checksum({row + kRowHeaderBytes, payload_bytes_}));
  }

 private:
  template <class T>
  void put(T value) {
    store(at_, value);
    at_ += sizeof value;
  }
  void head(Tag tag, std::size_t size) {
    put(static_cast<std::uint8_t>(tag));
    put(static_cast<std::uint32_t>(size));
  }
  void bytes(std::string_view text) {
    if (!text.empty()) std::memcpy(at_, text.data(), text.size());
    at_ += text.size();
  }

  std::string& bytes_;
  std::size_t begin_;
  std::size_t payload_bytes_;
  char* at_ = nullptr;
};

// Calls f(tag, text) for each text that is given and g(tag, number) for each number, in the order of the tags.
template <class Text, class Pair, class Number>
void visit_fields(const TaskSpec& task, Text&& text, Pair&& pair, Number&& number) {
  auto given = [&](Tag tag, const std::string& value) {
    if (!value.empty()) text(tag, value);
  };
  auto known = [&](Tag tag, const auto& value) {
    if (value) number(tag, *value);
  };
  for (const auto& argument : task.argv) text(kArgument, argument);
  given(kShellLine, task.shell_line);
  given(kName, task.name);
  given(kCwd, task.cwd);
  for (const auto& [name, value] : task.env) pair(kVariable, name, value);
  given(kStdin, task.stdin_path);
  given(kStdout, task.stdout_path);
  given(kStderr, task.stderr_path);
  const RequestedResources& r = task.resources;
  known(kCores, r.cores);
  known(kMemory, r.memory_bytes);
  known(kRuntime, r.runtime_milliseconds);
  known(kGpus, r.gpus);
  known(kRanks, r.ranks);
  known(kNodes, r.nodes);
  given(kQueue, r.queue);
  given(kAccount, r.account);
  given(kConstraint, r.constraint);
  for (const auto& [key, value] : r.pass_through) pair(kPassThrough, key, value);
  given(kRetry, task.retry);
  given(kSuccessCodes, task.success_codes);
  if (task.priority != 0) number(kPriority, task.priority);
  if (task.max_parallel != 0) number(kMaxParallel, task.max_parallel);
  if (task.begin_ns != 0) number(kBegin, task.begin_ns);
  if (task.source_line != 0) number(kSourceLine, task.source_line);
}

const char* name_of(Tag tag) {
  switch (tag) {
    case kArgument:
      return "an argument";
    case kShellLine:
      return "the command line";
    case kName:
      return "the task's name";
    case kCwd:
      return "the working directory";
    case kVariable:
      return "the task's environment";
    case kStdin:
      return "the path of stdin";
    case kStdout:
      return "the path of stdout";
    case kStderr:
      return "the path of stderr";
    case kRetry:
      return "the retry rules";
    case kSuccessCodes:
      return "the exit codes of success";
    default:
      return "a requested resource";
  }
}

// Assigns the next element of a list, keeping the strings that are there already.
template <class List>
auto& next_of(List& list, std::size_t& used) {
  if (used == list.size()) list.emplace_back();
  return list[used++];
}

bool split_pair(std::string_view bytes, std::string_view& key, std::string_view& value) {
  const std::size_t nul = bytes.find('\0');
  if (nul == std::string_view::npos) return false;
  key = bytes.substr(0, nul);
  value = bytes.substr(nul + 1);
  return true;
}

template <class T>
bool number_of(std::string_view bytes, std::optional<T>& into) {
  if (bytes.size() != sizeof(T)) return false;
  into = load<T>(bytes.data());
  return true;
}

struct Used {
  std::size_t arguments = 0;
  std::size_t variables = 0;
  std::size_t dependencies = 0;
};

bool decode_field(std::uint8_t tag, std::string_view bytes, TaskSpec& task, Used& used) {
  RequestedResources& r = task.resources;
  std::string_view key;
  std::string_view value;
  switch (tag) {
    case kArgument:
      next_of(task.argv, used.arguments) = bytes;
      return true;
    case kShellLine:
      task.shell_line = bytes;
      return true;
    case kName:
      task.name = bytes;
      return true;
    case kCwd:
      task.cwd = bytes;
      return true;
    case kVariable: {
      if (!split_pair(bytes, key, value)) return false;
      auto& variable = next_of(task.env, used.variables);
      variable.first = key;
      variable.second = value;
      return true;
    }
    case kStdin:
      task.stdin_path = bytes;
      return true;
    case kStdout:
      task.stdout_path = bytes;
      return true;
    case kStderr:
      task.stderr_path = bytes;
      return true;
    case kCores:
      return number_of(bytes, r.cores);
    case kMemory:
      return number_of(bytes, r.memory_bytes);
    case kRuntime:
      return number_of(bytes, r.runtime_milliseconds);
    case kGpus:
      return number_of(bytes, r.gpus);
    case kRanks:
      return number_of(bytes, r.ranks);
    case kNodes:
      return number_of(bytes, r.nodes);
    case kQueue:
      r.queue = bytes;
      return true;
    case kAccount:
      r.account = bytes;
      return true;
    case kConstraint:
      r.constraint = bytes;
      return true;
    case kPassThrough:
      if (!split_pair(bytes, key, value)) return false;
      r.pass_through[std::string(key)] = value;
      return true;
    case kAfter: {
      if (bytes.size() != 5 || static_cast<std::uint8_t>(bytes[0]) > 2) return false;
      next_of(task.after, used.dependencies) = {load<std::uint32_t>(bytes.data() + 1),
                                                static_cast<DependencyKind>(bytes[0])};
      return true;
    }
    case kRetry:
      task.retry = bytes;
      return true;
    case kSuccessCodes:
      task.success_codes = bytes;
      return true;
    case kPriority:
      if (bytes.size() != sizeof task.priority) return false;
      task.priority = load<std::int32_t>(bytes.data());
      return true;
    case kMaxParallel:
      if (bytes.size() != sizeof task.max_parallel) return false;
      task.max_parallel = load<std::uint32_t>(bytes.data());
      return true;
    case kBegin:
      if (bytes.size() != sizeof task.begin_ns) return false;
      task.begin_ns = load<std::int64_t>(bytes.data());
      return true;
    case kSourceLine:
      if (bytes.size() != sizeof task.source_line) return false;
      task.source_line = load<std::uint64_t>(bytes.data());
      return true;
    default:
      return false;
  }
}

}  // namespace

Result<void> append_row(std::string& bytes, const TaskSpec& task, RowSteps steps) {
  if (task.argv.empty() && task.shell_line.empty()) {
    return fail(ErrorCode::fix_request, "a task without a command: give either arguments or a shell line");
  }
  if (!task.argv.empty() && !task.shell_line.empty()) {
    return fail(ErrorCode::fix_request, "a task with both arguments and a shell line: give only one of them");
  }
  std::uint64_t size = kStepsBytes + task.after.size() * (kFieldHeadBytes + 5);
  const char* nul_field = nullptr;
  visit_fields(
      task,
      [&](Tag tag, std::string_view text) {
        size += kFieldHeadBytes + text.size();
        if (has_nul(text)) nul_field = name_of(tag);
      },
      [&](Tag tag, std::string_view key, std::string_view value) {
        size += kFieldHeadBytes + key.size() + 1 + value.size();
        if (has_nul(key) || has_nul(value)) nul_field = name_of(tag);
      },
      [&](Tag, auto value) { size += kFieldHeadBytes + sizeof value; });
  if (nul_field != nullptr) return nul_in(nul_field);
  if (size > kMaxRowBytes) return too_large(size);

  RowEncoder row(bytes, size, steps);
  visit_fields(
      task, [&](Tag tag, std::string_view text) { row.field(tag, text); },
      [&](Tag tag, std::string_view key, std::string_view value) { row.pair(tag, key, value); },
      [&](Tag tag, auto value) { row.number(tag, value); });
  for (const Dependency& dependency : task.after) row.dependency(dependency);
  row.finish();
  return {};
}

Result<void> append_shell_row(std::string& bytes, std::string_view line, std::uint64_t source_line, RowSteps steps) {
  if (line.empty()) return fail(ErrorCode::fix_request, "a task without a command: the shell line is empty");
  if (has_nul(line)) return nul_in(name_of(kShellLine));
  const std::uint64_t size =
      kStepsBytes + kFieldHeadBytes + line.size() + (source_line != 0 ? kFieldHeadBytes + sizeof source_line : 0);
  if (size > kMaxRowBytes) return too_large(size);
  RowEncoder row(bytes, size, steps);
  row.field(kShellLine, line);
  if (source_line != 0) row.number(kSourceLine, source_line);
  row.finish();
  return {};
}

bool decode_row(std::string_view payload, TaskSpec& task, RowSteps& steps) {
  task.shell_line.clear();
  task.name.clear();
  task.cwd.clear();
  task.stdin_path.clear();
  task.stdout_path.clear();
  task.stderr_path.clear();
  task.retry.clear();
  task.success_codes.clear();
  task.resources = RequestedResources();
  task.source_line = 0;
  task.priority = 0;
  task.max_parallel = 0;
  task.begin_ns = 0;
  Decoder in(payload);
  const auto first = in.get<std::uint32_t>();
  const auto last = in.get<std::uint32_t>();
  if (!in.good() || last < first) return false;
  steps = {first, std::uint64_t{last} - first + 1};
  Used used;
  while (in.left() > 0) {
    const auto tag = in.get<std::uint8_t>();
    const std::string_view bytes = in.get_text();
    if (!in.good() || !decode_field(tag, bytes, task, used)) return false;
  }
  task.argv.resize(used.arguments);
  task.env.resize(used.variables);
  task.after.resize(used.dependencies);
  return true;
}

}  // namespace ledger

namespace {

bool is_plain(std::string_view argument) {
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-";
  return !argument.empty() && argument.find_first_not_of(kPlain) == std::string_view::npos;
}

void append_quoted(std::string& text, std::string_view argument) {
  text += '\'';
  for (char c : argument) {
    if (c == '\'') {
      text += "'\\''";
    } else {
      text += c;
    }
  }
  text += '\'';
}

}  // namespace

std::string_view to_string(DependencyKind kind) {
  switch (kind) {
    case DependencyKind::after_ok:
      return "ok";
    case DependencyKind::after_any:
      return "any";
    case DependencyKind::after_not_ok:
      break;
  }
  return "not_ok";
}

std::string TaskSpec::command_text() const {
  if (is_shell()) return shell_line;
  std::string text;
  for (std::size_t i = 0; i < argv.size(); ++i) {
    if (i > 0) text += ' ';
    // As the first word a plain NAME=VALUE would be an assignment.
    if (is_plain(argv[i]) && (i > 0 || argv[i].find('=') == std::string::npos)) {
      text += argv[i];
    } else {
      append_quoted(text, argv[i]);
    }
  }
  return text;
}

}  // namespace allot
