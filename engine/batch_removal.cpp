// SPDX-License-Identifier: MIT
#include "engine/batch_removal.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/filesystem.hpp>
#include <cerrno>
#include <memory>
#include <optional>

#include <fmt/format.h>

#include "engine/addition.h"
#include "engine/driver_log.h"
#include "ledger/submission_file.h"
#include "ledger/writer_name.h"
#include "process/fault_point.h"
#include "process/fd.h"
#include "process/identity.h"
#include "worker_node/local_distributor.h"

namespace allot {
namespace {

namespace fs = boost::filesystem;

// A batch without a driver that is younger than this may be in the making.
constexpr std::int64_t kMakingNanoseconds = std::int64_t{60} * 1'000'000'000;
constexpr int kLeavingMilliseconds = 10'000;
constexpr int kLookMilliseconds = 20;

bool has_digits_only(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

// "host-3" or "driver-1".
bool is_writer_name(std::string_view name) {
  const std::size_t dash = name.rfind('-');
  return dash != std::string_view::npos && dash > 0 && name[0] != '.' && has_digits_only(name.substr(dash + 1));
}

// NAME, or what a writer of NAME that was killed has left (write_file_durably).
bool is_file_or_its_draft(std::string_view file, std::string_view name) {
  if (!file.starts_with(name)) return false;
  file.remove_prefix(name.size());
  constexpr std::string_view kDraft = ".tmp.";
  return file.empty() || (file.starts_with(kDraft) && has_digits_only(file.substr(kDraft.size())));
}

bool is_root_file(std::string_view name) {
  for (const char* known : {"batch.json", kRemovalMark, "environment", "tasks.data", "tasks.index", "worker.log"}) {
    if (is_file_or_its_draft(name, known)) return true;
  }
  return false;
}

bool is_claim(std::string_view name) {
  return has_digits_only(name) || name.starts_with(".claim-");
}

bool is_output(std::string_view name) {
  return (name.ends_with(".out") || name.ends_with(".err")) && is_writer_name(name.substr(0, name.size() - 4));
}

struct Part {
  const char* name;
  bool (*is_ours)(std::string_view);
};
// In the order in which they go.
constexpr const char* kMovedClaims = "removing.epochs";
constexpr Part kParts[] = {{"epochs", is_claim},  {kMovedClaims, is_claim},        {"records", is_writer_name},
                           {"output", is_output}, {"additions", is_addition_file}, {"submissions", is_submission_file}};

std::string absolute(const std::string& path) {
  std::string text = fs::absolute(path).lexically_normal().string();
  while (text.size() > 1 && (text.ends_with('/') || text.ends_with("/."))) text.pop_back();
  return text;
}

Error removal_error(int error, const std::string& path) {
  Error told = errno_error(error, path);
  if (told.code == ErrorCode::fix_request) told.code = ErrorCode::gave_up;
  told.message += "; the removal has begun: remove it again once that is mended";
  return told;
}

// Before each change; false: it stops there.
bool passes(const std::function<bool()>& goes_on) {
  ALLOT_FAULT_POINT("removal_change");
  return !goes_on || goes_on();
}

// Removes, or only counts.
class Remover {
 public:
  Remover(std::string path, Fd root, bool dry_run, const std::function<bool()>& goes_on)
      : path_(std::move(path)), root_(std::move(root)), dry_run_(dry_run), goes_on_(goes_on) {}

  Result<Removal> run();

 private:
  struct Entry {
    std::string name;
    struct stat status;
  };

  std::optional<std::vector<Entry>> entries_of(int directory, const std::string& path);
  void remove_files(int directory, const std::string& path, bool (*is_ours)(std::string_view), bool is_root);
  void remove_part(const Part& part);
  void change(int directory, const std::string& name, const std::string& path, int flags);
  void note(int error, const std::string& path) {
    if (!fault_) fault_ = removal_error(error, path);
  }
  bool may_change() {
    if (dry_run_ || is_stopped_) return false;
    is_stopped_ = !passes(goes_on_);
    return !is_stopped_;
  }

  const std::string path_;
  const Fd root_;
  const bool dry_run_;
  const std::function<bool()>& goes_on_;
  bool is_stopped_ = false;
  Removal removal_;
  std::optional<Error> fault_;
};

std::optional<std::vector<Remover::Entry>> Remover::entries_of(int directory, const std::string& path) {
  const int copy = ::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(copy < 0 ? nullptr : ::fdopendir(copy), ::closedir);
  if (!stream) {
    note(errno, path);
    if (copy >= 0) ::close(copy);
    return std::nullopt;
  }
  std::vector<Entry> entries;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(stream.get());
    if (entry == nullptr) break;
    const std::string name = entry->d_name;
    struct stat status {};
    if (name == "." || name == ".." || ::fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
    entries.push_back({name, status});
  }
  if (errno != 0) note(errno, path);
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.name < b.name; });
  return entries;
}

void Remover::change(int directory, const std::string& name, const std::string& path, int flags) {
  if (!may_change()) return;
  if (::unlinkat(directory, name.c_str(), flags) == 0 || errno == ENOENT) return;
  // Somebody has put something into it since it was looked at.
  if (flags == AT_REMOVEDIR && (errno == ENOTEMPTY || errno == EEXIST)) {
    removal_.foreign.push_back(path);
    return;
  }
  note(errno, path);
}

void Remover::remove_files(int directory, const std::string& path, bool (*is_ours)(std::string_view), bool is_root) {
  const auto entries = entries_of(directory, path);
  if (!entries) return;
  for (const Entry& entry : *entries) {
    const bool is_part = is_root && std::any_of(std::begin(kParts), std::end(kParts), [&](const Part& part) {
                           return entry.name == part.name && S_ISDIR(entry.status.st_mode);
                         });
    if (is_part) continue;
    if (!S_ISREG(entry.status.st_mode) || !is_ours(entry.name)) {
      removal_.foreign.push_back(path + "/" + entry.name);
      continue;
    }
    ++removal_.files;
    removal_.bytes += static_cast<std::uint64_t>(entry.status.st_size);
    if (is_root && (entry.name == kRemovalMark || entry.name == "batch.json")) continue;  // last
    change(directory, entry.name, path + "/" + entry.name, 0);
  }
}

void Remover::remove_part(const Part& part) {
  const std::string path = path_ + "/" + part.name;
  const Fd directory(::openat(root_.get(), part.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!directory) {
    // What is no directory is among the files of the root.
    if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP) note(errno, path);
    return;
  }
  const std::size_t foreign = removal_.foreign.size();
  remove_files(directory.get(), path, part.is_ours, false);
  if (removal_.foreign.size() == foreign) change(root_.get(), part.name, path, AT_REMOVEDIR);
}

Result<Removal> Remover::run() {
  for (const Part& part : kParts) remove_part(part);
  remove_files(root_.get(), path_, is_root_file, true);
  if (fault_) return fail(std::move(*fault_));
  if (dry_run_) return std::move(removal_);
  change(root_.get(), kRemovalMark, path_ + "/" + kRemovalMark, 0);
  if (!fault_ && removal_.foreign.empty() && may_change() && ::rmdir(path_.c_str()) != 0 && errno != ENOENT) {
    if (errno != ENOTEMPTY && errno != EEXIST) return fail(errno_error(errno, path_));
    removal_.foreign.push_back(path_);
  }
  if (fault_) return fail(std::move(*fault_));
  return std::move(removal_);
}

bool has(const Fd& root, const char* name) {
  struct stat status {};
  return ::fstatat(root.get(), name, &status, AT_SYMLINK_NOFOLLOW) == 0;
}

// Without its claims nobody becomes its driver, whoever has it open.
Result<void> take_claims(const BatchDirectory& batch, const Fd& root) {
  // Until they are gone nobody does either, since this process does.
  if (auto claimed = batch.claim(); !claimed) return fail(claimed.error());
  if (::renameat(root.get(), "epochs", root.get(), kMovedClaims) == 0) return {};
  return fail(
      Error{ErrorCode::gave_up, errno_error(errno, batch.path() + "/epochs").message + "; nothing was removed"});
}

// From here on it is no batch any more.
Result<void> mark(const std::string& path, const Fd& root) {
  if (::renameat(root.get(), "batch.json", root.get(), kRemovalMark) != 0) {
    return fail(removal_error(errno, path + "/batch.json"));
  }
  // On disk before anything that a resumed batch would miss is gone.
  return sync_directory(path);
}

// When the youngest of the files that are written while a batch is made was written.
std::int64_t last_written_ns(const BatchDirectory& batch) {
  std::int64_t last = 0;
  for (const std::string& path : {batch.path() + "/batch.json", batch.task_data_path()}) {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) continue;
    last = std::max<std::int64_t>(last, status.st_mtim.tv_sec * std::int64_t{1'000'000'000} + status.st_mtim.tv_nsec);
  }
  return last;
}

}  // namespace

Result<void> check_unused(const BatchDirectory& batch) {
  const auto refuse = [&batch](const std::string& why) {
    return fail(ErrorCode::fix_request, batch.path() + ": " + why);
  };
  auto driver = batch.current_driver();
  if (!driver) return fail(std::move(driver.error()));
  if (!*driver) {
    const std::int64_t age = unix_nanoseconds() - last_written_ns(batch);
    if (age < kMakingNanoseconds && batch.info().host == host_name() && batch.info().boot_id == boot_id()) {
      return refuse("has no driver yet and was written less than a minute ago: it may be in the making");
    }
  } else if (!batch.has_left((*driver)->epoch)) {
    const DriverIdentity& holder = **driver;
    const std::string who = fmt::format("process {} on {}", holder.pid, holder.host);
    if (holder.host != host_name()) {
      return refuse("is driven by " + who +
                    ", and from here it cannot be seen whether that one still runs; remove it there, or take it over "
                    "first (allot resume --take-over)");
    }
    if (holder.boot_id == boot_id() && is_alive({static_cast<pid_t>(holder.pid), holder.start_ticks})) {
      return refuse("is driven by " + who + "; allot cancel ends it");
    }
  }
  // Where the driver has left in order its worker nodes are leaving, too.
  const bool may_be_leaving = *driver && batch.has_left((*driver)->epoch);
  for (int waited = 0;; waited += kLookMilliseconds) {
    const auto sessions = sessions_of(batch);
    if (!sessions) return fail(sessions.error());
    if (sessions->state == Sessions::State::gone) break;
    const bool is_to_wait =
        may_be_leaving && sessions->state == Sessions::State::alive && waited < kLeavingMilliseconds;
    if (!is_to_wait) return refuse("is in use: " + sessions->text);
    ::poll(nullptr, 0, kLookMilliseconds);  // no descriptor tells of processes that are nobody's children here
  }
  return {};
}

Result<Removal> remove_batch(const std::string& given, bool dry_run, const std::function<bool()>& goes_on) {
  if (given.empty()) return fail(ErrorCode::fix_request, "there is no batch at an empty path");
  const std::string path = absolute(given);
  Fd root(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!root) {
    struct stat status {};
    if (::lstat(path.c_str(), &status) == 0 && S_ISLNK(status.st_mode)) {
      return fail(ErrorCode::fix_request, path + ": is a symbolic link; name the directory that it leads to");
    }
    return fail(errno_error(errno, path));
  }
  if (has(root, "batch.json")) {
    if (!has(root, kMovedClaims)) {
      auto batch = BatchDirectory::open(path);
      if (!batch) return fail(batch.error().with_context("not removed"));
      if (auto unused = check_unused(*batch); !unused) return fail(unused.error());
      if (!dry_run) {
        if (!passes(goes_on)) return Removal{};
        if (auto taken = take_claims(*batch, root); !taken) return fail(taken.error());
      }
    }
    if (!dry_run) {
      if (!passes(goes_on)) return Removal{};
      if (auto marked = mark(path, root); !marked) return fail(marked.error());
    }
  } else if (boost::system::error_code error; !has(root, kRemovalMark) && !fs::is_empty(path, error)) {
    return fail(ErrorCode::fix_request, path + ": is no batch: it has no batch.json; nothing was removed");
  }
  return Remover(path, std::move(root), dry_run, goes_on).run();
}

}  // namespace allot
