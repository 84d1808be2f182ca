// SPDX-License-Identifier: MIT
#include "ledger/batch_directory.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/filesystem.hpp>
#include <cerrno>
#include <chrono>

#include "ledger/batch_json.h"
#include "ledger/record_codec.h"
#include "ledger/record_file.h"
#include "ledger/time_text.h"
#include "process/fault_point.h"
#include "process/fd.h"
#include "process/identity.h"
#include "process/umask.h"

namespace allot {
namespace {

namespace fs = boost::filesystem;

constexpr std::size_t kMaxJsonBytes = 4u << 20;
constexpr const char* kSkeleton[] = {"epochs", "records", "output", "additions"};

std::int64_t unix_now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// Absolute, without ".", ".." and slashes at the end (which Boost turns into "/.").
std::string clean_path(const std::string& path) {
  fs::path clean = fs::absolute(path).lexically_normal();
  if (clean.filename() == ".") clean.remove_filename();
  std::string text = clean.string();
  while (text.size() > 1 && text.ends_with('/')) text.pop_back();
  return text;
}

// Removes what a create() that failed half-way has made, so that it can be tried again in the same place.
class Undo {
 public:
  void remember(std::string path) { made_.push_back(std::move(path)); }
  void forget() { made_.clear(); }
  ~Undo() {
    for (auto it = made_.rbegin(); it != made_.rend(); ++it) ::rmdir(it->c_str());
  }

 private:
  std::vector<std::string> made_;
};

// mkdir(2) with mode 0700 whatever the umask, which may take rights from the owner, too.
bool make_private_directory(const std::string& path) {
  return ::mkdir(path.c_str(), 0700) == 0 && ::chmod(path.c_str(), 0700) == 0;
}

// As mkdir -p, and whatever the umask for nobody else to write into: who could, could put another batch in a batch's
// place. Returns errno, 0 if all is there.
int make_parents(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) return S_ISDIR(status.st_mode) ? 0 : ENOTDIR;
  const std::size_t slash = path.rfind('/');
  if (errno != ENOENT || slash == std::string::npos) return errno;
  if (const int error = slash == 0 ? 0 : make_parents(path.substr(0, slash)); error != 0) return error;
  return ::mkdir(path.c_str(), 0755) == 0 || errno == EEXIST ? 0 : errno;
}

tl::unexpected<Error> refused_place(const std::string& path, const std::string& why) {
  return fail(ErrorCode::fix_request, "no batch can be made at " + path + ": " + why);
}

// About a path where something is.
Result<void> check_existing(const std::string& path) {
  boost::system::error_code error;
  if (!fs::is_directory(path, error)) return refused_place(path, "it exists and is no directory");
  if (fs::exists(fs::path(path) / "batch.json", error)) {
    return refused_place(path, "there is a batch already; resume that one, or name another directory");
  }
  const bool empty = fs::is_empty(path, error);
  if (error) return refused_place(path, errno_text(error.value()));
  if (!empty) return refused_place(path, "the directory is not empty; name one that is empty or does not exist");
  return {};
}

Result<void> make_batch_root(const std::string& path, Undo& undo) {
  const std::string parent = fs::path(path).parent_path().string();
  if (const int error = make_parents(parent); error != 0) {
    return refused_place(path, parent + ": " + errno_text(error));
  }
  if (make_private_directory(path)) {
    undo.remember(path);
    return {};
  }
  if (errno != EEXIST) return refused_place(path, errno_text(errno));
  return check_existing(path);
}

// Names that begin with a dot are claims in the making (or left by a killed one) and the file system's own.
Result<std::uint64_t> highest_epoch(const std::string& directory) {
  std::uint64_t highest = 0;  // none
  boost::system::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name[0] == '.') continue;
    const bool is_number =
        name.find_first_not_of("0123456789") == std::string::npos && name[0] != '0' && name.size() < 19;
    if (!is_number) {
      return fail(ErrorCode::gave_up, directory + "/" + name +
                                          ": no driver of this batch made this file, so it cannot be said who drives "
                                          "it; move the file away");
    }
    highest = std::max<std::uint64_t>(highest, std::stoull(name));
  }
  if (error) {
    return fail(ErrorCode::gave_up, directory + ": the batch's drivers cannot be listed: " + errno_text(error.value()));
  }
  return highest;
}

Result<DriverIdentity> read_epoch(const std::string& directory, std::uint64_t epoch) {
  const std::string path = directory + "/" + std::to_string(epoch);
  auto text = read_regular_file(path, kMaxJsonBytes);
  if (!text) return fail(Error{ErrorCode::gave_up, text.error().message});
  auto driver = ledger::parse_driver_identity(*text, path);
  if (!driver) return driver;
  if (driver->epoch != epoch) {
    return fail(ErrorCode::gave_up, path + ": damaged: it is the claim of epoch " + std::to_string(driver->epoch));
  }
  return driver;
}

std::string description_of(const DriverIdentity& driver) {
  return "process " + std::to_string(driver.pid) + " on host " + driver.host + " (since " +
         ledger::utc_text(driver.since_ns) + ")";
}

// Nothing if the batch may be taken over from `holder`.
std::optional<Error> refusal(const std::string& batch, const DriverIdentity& holder, bool take_over_other_host) {
  // Containers of one machine share its boot id; their pids say nothing to each other.
  const bool same_host = holder.host == host_name();
  if (same_host && holder.boot_id == boot_id() && !boot_id().empty()) {
    if (!is_alive({static_cast<pid_t>(holder.pid), holder.start_ticks})) return std::nullopt;
    return Error{ErrorCode::fix_request, batch + ": is driven by " + description_of(holder) +
                                             "; wait until it has ended, or end it (kill " +
                                             std::to_string(holder.pid) + "), and try again"};
  }
  if (same_host || take_over_other_host) return std::nullopt;  // the host has been booted since: its processes are gone
  return Error{ErrorCode::fix_request,
               batch + ": is driven by " + description_of(holder) + ", and from " + host_name() +
                   " it cannot be seen whether that one still runs; make sure that it does not, then take the batch "
                   "over with allot resume --take-over"};
}

// A file of our own in epochs/, linked to its number once it is whole: link(2) fails if the number is taken, on NFS
// too.
class ClaimFile {
 public:
  explicit ClaimFile(const std::string& directory) : path_(directory + "/.claim-XXXXXX") {}
  ClaimFile(const ClaimFile&) = delete;
  ClaimFile& operator=(const ClaimFile&) = delete;
  ~ClaimFile() {
    if (fd_) ::unlink(path_.c_str());
  }

  Result<void> write(const std::string& text) {
    fd_.reset(::mkostemp(path_.data(), O_CLOEXEC));
    if (!fd_) return fail(errno_error(errno, path_ + ": the batch cannot be claimed"));
    ::fchmod(fd_.get(), 0600);  // whatever the umask
    if (!write_all(fd_.get(), text) || ::fsync(fd_.get()) != 0) {
      return fail(errno_error(errno, path_ + ": the batch cannot be claimed"));
    }
    return {};
  }

  /// False if someone else has that number.
  Result<bool> link_to(const std::string& target) {
    ALLOT_FAULT_POINT("epoch_link_before");
    const int result = ::link(path_.c_str(), target.c_str());
    const int error = errno;
    ALLOT_FAULT_POINT("epoch_link_after");
    if (result == 0) return true;
    // An NFS server whose answer was lost has made the link and says EEXIST to the repetition.
    struct stat status {};
    if (::fstat(fd_.get(), &status) == 0 && status.st_nlink == 2) return true;
    if (error == EEXIST) return false;
    return fail(errno_error(error, target + ": the batch cannot be claimed"));
  }

 private:
  std::string path_;
  Fd fd_;
};

}  // namespace

Result<void> BatchDirectory::check_place(const std::string& path) {
  if (path.empty()) return fail(ErrorCode::fix_request, "no batch can be made: its directory's path is empty");
  const std::string clean = clean_path(path);
  struct stat status {};
  if (::lstat(clean.c_str(), &status) == 0) return check_existing(clean);
  fs::path parent = fs::path(clean).parent_path();
  while (::lstat(parent.c_str(), &status) != 0 && parent.has_relative_path()) parent = parent.parent_path();
  boost::system::error_code ignored;
  if (!fs::is_directory(parent, ignored)) return refused_place(clean, parent.string() + ": " + errno_text(ENOTDIR));
  if (::access(parent.c_str(), W_OK | X_OK) != 0) {
    return refused_place(clean, parent.string() + ": " + errno_text(errno));
  }
  return {};
}

Result<BatchDirectory> BatchDirectory::create(const std::string& path, BatchInfo info) {
  if (path.empty()) return fail(ErrorCode::fix_request, "no batch can be made: its directory's path is empty");
  BatchDirectory batch;
  batch.path_ = clean_path(path);
  info.format = kBatchFormat;
  if (info.host.empty()) info.host = host_name();
  if (info.boot_id.empty()) info.boot_id = boot_id();
  if (info.allot_version.empty()) info.allot_version = ALLOT_VERSION;
  if (!info.umask) info.umask = own_umask();
  if (info.created_ns == 0) info.created_ns = unix_now_ns();
  batch.info_ = std::move(info);

  Undo undo;
  if (auto made = make_batch_root(batch.path_, undo); !made) return fail(std::move(made.error()));
  for (const char* name : kSkeleton) {
    const std::string directory = batch.path_ + "/" + name;
    if (!make_private_directory(directory)) {
      return fail(errno_error(errno, "no batch can be made at " + batch.path_ + ": " + directory));
    }
    undo.remember(directory);
  }
  // Last, so that a directory with a batch.json is a whole batch.
  auto written = write_file_durably(batch.path_ + "/batch.json", ledger::to_json(batch.info_));
  if (!written) return fail(written.error().with_context("no batch can be made at " + batch.path_));
  undo.forget();
  auto synced = sync_directory(fs::path(batch.path_).parent_path().string());
  if (!synced && synced.error().code == ErrorCode::retry_later) return fail(std::move(synced.error()));
  return batch;
}

Result<BatchDirectory> BatchDirectory::open(const std::string& path) {
  BatchDirectory batch;
  boost::system::error_code error;
  const fs::path given(path);
  const fs::file_status status = path.empty() ? fs::file_status() : fs::status(given, error);
  if (error && error.value() != ENOENT && error.value() != ENOTDIR) return fail(errno_error(error.value(), path));
  if (path.empty() || status.type() != fs::directory_file) {
    return fail(ErrorCode::fix_request, "there is no batch at " + (path.empty() ? "an empty path" : path) + ": " +
                                            (error ? errno_text(error.value()) : "it is no directory"));
  }
  batch.path_ = clean_path(path);
  const std::string json_path = batch.path_ + "/batch.json";
  if (!fs::exists(json_path, error)) {
    // A directory that may not be searched says nothing of what is in it.
    if (error && error.value() != ENOENT) return fail(errno_error(error.value(), json_path));
    return fail(ErrorCode::fix_request, batch.path_ + ": is no batch: it has no batch.json");
  }
  auto text = read_regular_file(json_path, kMaxJsonBytes);
  if (!text) return fail(text.error());  // a passing fault (no descriptors) is no damage
  auto info = ledger::parse_batch_info(*text, json_path);
  if (!info) return fail(std::move(info.error()));
  batch.info_ = std::move(*info);
  return batch;
}

Result<std::optional<DriverIdentity>> BatchDirectory::current_driver() const {
  const std::string directory = path_ + "/epochs";
  auto highest = highest_epoch(directory);
  if (!highest) return fail(std::move(highest.error()));
  if (*highest == 0) return std::optional<DriverIdentity>();
  auto driver = read_epoch(directory, *highest);
  if (!driver) return fail(std::move(driver.error()));
  return std::optional(std::move(*driver));
}

bool BatchDirectory::has_left(std::uint64_t epoch) const {
  bool left = false;
  const std::string path = record_path("driver-" + std::to_string(epoch));
  auto report = scan_record_payloads(path, 0, [&](std::string_view payload, std::uint64_t) {
    left = ledger::payload_type(payload) == static_cast<std::uint8_t>(ledger::RecordType::ended);
    return PayloadAnswer::next;
  });
  return report && left;
}

Result<DriverIdentity> BatchDirectory::claim(bool take_over_other_host, std::optional<std::uint64_t> tasks) const {
  auto holder = current_driver();
  if (!holder) return fail(std::move(holder.error()));
  if (*holder && !has_left((*holder)->epoch)) {
    if (auto error = refusal(path_, **holder, take_over_other_host)) return fail(std::move(*error));
  }
  const ProcessIdentity self = own_identity();
  DriverIdentity driver;
  driver.epoch = *holder ? (*holder)->epoch + 1 : 1;
  driver.host = host_name();
  driver.boot_id = boot_id();
  driver.pid = self.pid;
  driver.start_ticks = self.start_ticks;
  driver.since_ns = unix_now_ns();
  driver.tasks = tasks || !*holder ? tasks : (*holder)->tasks;

  const std::string directory = path_ + "/epochs";
  ClaimFile file(directory);
  if (auto written = file.write(ledger::to_json(driver)); !written) return fail(std::move(written.error()));
  auto linked = file.link_to(directory + "/" + std::to_string(driver.epoch));
  if (!linked) return fail(std::move(linked.error()));
  if (!*linked) {
    auto winner = current_driver();
    const std::string who = winner && *winner ? description_of(**winner) : "another driver";
    return fail(ErrorCode::retry_later, path_ + ": " + who + " became the driver at the same moment");
  }
  if (auto synced = sync_directory(directory); !synced) return fail(std::move(synced.error()));
  return driver;
}

}  // namespace allot
