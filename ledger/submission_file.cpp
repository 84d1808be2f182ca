// SPDX-License-Identifier: MIT
#include "ledger/submission_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <optional>
#include <string_view>

#include "ledger/record.h"
#include "ledger/record_file.h"
#include "process/fd.h"

namespace allot {
namespace {

constexpr std::string_view kDirectory = "/submissions";
constexpr std::string_view kFenceSuffix = ".fence";
constexpr std::string_view kStopSuffix = ".stop";
constexpr std::string_view kSlurmSuffix = ".slurm";  // of the plugin: what was sent to Slurm
constexpr std::string_view kJobSuffix = ".job";      // worker_node/script_job.h
constexpr std::string_view kBegunMark = ".begun.";
constexpr std::string_view kDraftMark = ".tmp.";  // of write_file_durably
constexpr std::size_t kMaxFileBytes = 1u << 30;   // an intent of as many ranges as a batch may have
constexpr std::size_t kMaxStopBytes = 64u << 20;  // millions of requests

std::string directory_of(const std::string& batch_path) {
  return batch_path + std::string(kDirectory);
}

Result<void> make_directory(const std::string& batch_path) {
  const std::string path = directory_of(batch_path);
  if (::mkdir(path.c_str(), 0700) != 0) return errno == EEXIST ? Result<void>() : fail(errno_error(errno, path));
  ::chmod(path.c_str(), 0700);  // whatever the umask
  return sync_directory(batch_path);
}

// All of `text` as a number; nothing for a sign, a space, or what is too large.
template <class T>
std::optional<T> number_of(std::string_view text) {
  T value{};
  if (text.empty() || text[0] < '0' || text[0] > '9') return std::nullopt;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

bool has_digits_only(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

std::optional<StopRequest> request_of(std::string_view line) {
  const std::size_t space = line.find(' ');
  if (space == std::string_view::npos) return std::nullopt;
  const auto grace = number_of<std::int64_t>(line.substr(space + 1));
  const std::string_view what = line.substr(0, space);
  StopRequest request;
  request.grace_milliseconds = grace.value_or(0);
  request.all = what == "all";
  request.is_preemption = what == "preempted";
  if (!grace || request.all || request.is_preemption) return grace ? std::optional(request) : std::nullopt;
  const std::size_t dash = what.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto first = number_of<std::uint32_t>(what.substr(0, dash));
  const auto last = number_of<std::uint32_t>(what.substr(dash + 1));
  if (!first || !last || *first > *last) return std::nullopt;
  request.first = *first;
  request.last = *last;
  return request;
}

std::string line_of(const StopRequest& request) {
  const std::string what = request.all             ? "all"
                           : request.is_preemption ? "preempted"
                                                   : std::to_string(request.first) + "-" + std::to_string(request.last);
  return what + " " + std::to_string(std::max<std::int64_t>(0, request.grace_milliseconds)) + "\n";
}

}  // namespace

std::string submission_file_path(const std::string& batch_path, std::uint32_t submission) {
  return directory_of(batch_path) + "/" + std::to_string(submission);
}
std::string fence_path(const std::string& batch_path, std::uint32_t submission) {
  return submission_file_path(batch_path, submission) + std::string(kFenceSuffix);
}
std::string stop_requests_path(const std::string& batch_path, std::uint32_t submission) {
  return submission_file_path(batch_path, submission) + std::string(kStopSuffix);
}

bool is_submission_file(std::string_view name) {
  if (const std::size_t draft = name.rfind(kDraftMark); draft != std::string_view::npos) {
    if (!has_digits_only(name.substr(draft + kDraftMark.size()))) return false;
    name = name.substr(0, draft);
  }
  for (const std::string_view suffix : {kFenceSuffix, kStopSuffix, kSlurmSuffix, kJobSuffix}) {
    if (name.ends_with(suffix)) return has_digits_only(name.substr(0, name.size() - suffix.size()));
  }
  // N.begun.SHARE.COUNT: a worker node of a user's own job has begun with its share of the steps.
  if (const std::size_t begun = name.find(kBegunMark); begun != std::string_view::npos) {
    const std::string_view counts = name.substr(begun + kBegunMark.size());
    const std::size_t dot = counts.find('.');
    return dot != std::string_view::npos && has_digits_only(name.substr(0, begun)) &&
           has_digits_only(counts.substr(0, dot)) && has_digits_only(counts.substr(dot + 1));
  }
  return has_digits_only(name);
}

Result<void> write_submission_file(const std::string& batch_path, const IntentRecord& intent) {
  if (auto made = make_directory(batch_path); !made) return made;
  std::string bytes = kRecordFileHeader;
  append_frame(bytes, intent, 1, bytes.size());
  return write_file_durably(submission_file_path(batch_path, intent.submission), bytes);
}

Result<IntentRecord> read_submission_file(const std::string& batch_path, std::uint32_t submission) {
  const std::string path = submission_file_path(batch_path, submission);
  const auto damaged = [&path](const std::string& how) {
    return fail(ErrorCode::gave_up, path + ": damaged: " + how + "; what the job is to run cannot be told");
  };
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    if (errno != ENOENT) return fail(errno_error(errno, path));
    return fail(ErrorCode::gone, path + ": there is no such submission");
  }
  if (static_cast<std::uint64_t>(info.st_size) > kMaxFileBytes) return damaged("it is too large");
  std::optional<IntentRecord> intent;
  std::string fault;
  auto report = scan_record_file(path, 0, [&](const DecodedRecord& decoded, std::uint64_t) {
    const auto* part = std::get_if<IntentRecord>(&decoded.record);
    if (part == nullptr) {
      fault = "it holds another record";
    } else if (part->submission != submission) {
      fault = "it is of submission " + std::to_string(part->submission);
    } else if (!intent) {
      intent = *part;
    } else if (part->token != intent->token || part->steps.empty() ||
               (!intent->steps.empty() && intent->steps.back() >= part->steps.front())) {
      fault = "its parts do not belong together";
    } else {  // ranges that did not fit into one frame
      for (const StepRange& range : part->steps.ranges()) intent->steps.append_range(range.first, range.count);
    }
    return fault.empty();
  });
  if (!report) return fail(std::move(report.error()));
  if (!fault.empty()) return damaged(fault);
  // A part of the steps would be taken for all of them.
  if (!report->damaged.empty() || report->torn_bytes > 0) return damaged("a part of it cannot be read");
  if (!intent || report->unknown_records > 0) return damaged("it holds no intent");
  return std::move(*intent);
}

Result<void> write_fence(const std::string& batch_path, std::uint32_t submission, std::uint32_t first_valid_try) {
  auto standing = read_fence(batch_path, submission);
  if (!standing) return fail(std::move(standing.error()));
  if (*standing >= first_valid_try) return {};
  if (auto made = make_directory(batch_path); !made) return made;
  return write_file_durably(fence_path(batch_path, submission), std::to_string(first_valid_try) + "\n");
}

Result<std::uint32_t> read_fence(const std::string& batch_path, std::uint32_t submission) {
  const std::string path = fence_path(batch_path, submission);
  // To open a directory makes NFS ask the server whether it has changed; to look up a name in it may not, and "no such
  // file" is remembered for a minute.
  const Fd directory(::open(directory_of(batch_path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return errno == ENOENT ? Result<std::uint32_t>(0) : fail(errno_error(errno, path));
  auto text = read_regular_file(path, 64);
  if (!text) {
    struct stat info {};
    if (::lstat(path.c_str(), &info) != 0 && errno == ENOENT) return 0;
    return fail(std::move(text.error()));
  }
  const bool is_whole = text->ends_with('\n');
  const auto fence = number_of<std::uint32_t>(std::string_view(*text).substr(0, text->size() - (is_whole ? 1 : 0)));
  if (!is_whole || !fence) return fail(ErrorCode::gave_up, path + ": damaged: there is no number in it");
  return *fence;
}

Result<void> append_stop_requests(const std::string& batch_path, std::uint32_t submission,
                                  const std::vector<StopRequest>& requests) {
  if (requests.empty()) return {};
  if (auto made = make_directory(batch_path); !made) return made;
  const std::string path = stop_requests_path(batch_path, submission);
  const Fd fd = open_private(path, O_RDWR | O_APPEND);
  struct stat info {};
  if (!fd || ::fstat(fd.get(), &info) != 0) return fail(errno_error(errno, path));
  std::string text;
  char last = '\n';
  if (info.st_size > 0 && pread_all(fd.get(), &last, 1, info.st_size - 1) != 1) return fail(errno_error(errno, path));
  // The beginning of a line that was never finished must not become the beginning of this one: it would name others.
  if (last != '\n') text = "\n";
  for (const StopRequest& request : requests) text += line_of(request);
  if (!write_all(fd.get(), text) || ::fsync(fd.get()) != 0) return fail(errno_error(errno, path));
  return info.st_size == 0 ? sync_directory(directory_of(batch_path)) : Result<void>();
}

Result<StopRequests> read_stop_requests(const std::string& batch_path, std::uint32_t submission, std::uint64_t from) {
  const std::string path = stop_requests_path(batch_path, submission);
  StopRequests read;
  read.end = from;
  const Fd directory(::open(directory_of(batch_path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));  // as read_fence
  const Fd fd = open_regular(path, O_RDONLY);
  struct stat info {};
  if (!fd && errno == ENOENT) return read;
  if (!fd || ::fstat(fd.get(), &info) != 0) return fail(errno_error(errno, path));
  const auto size = static_cast<std::uint64_t>(info.st_size);
  if (size <= from) return read;
  if (size - from > kMaxStopBytes) return fail(ErrorCode::gave_up, path + ": is too large");
  std::string text(static_cast<std::size_t>(size - from), '\0');
  const ssize_t n = pread_all(fd.get(), text.data(), text.size(), static_cast<off_t>(from));
  if (n < 0) return fail(errno_error(errno, path));
  std::string_view rest = std::string_view(text).substr(0, static_cast<std::size_t>(n));
  for (std::size_t end; (end = rest.find('\n')) != std::string_view::npos; rest.remove_prefix(end + 1)) {
    if (const auto request = request_of(rest.substr(0, end))) {
      read.requests.push_back(*request);
    } else {
      ++read.unreadable;
    }
    read.end += end + 1;
  }
  return read;
}

}  // namespace allot
