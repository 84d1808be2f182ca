// SPDX-License-Identifier: MIT
#include "engine/background_queue.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/filesystem.hpp>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <utility>

#include <fmt/format.h>

#include "engine/batch_home.h"
#include "ledger/checksum.h"
#include "process/machine.h"

namespace allot {
namespace {

namespace fs = boost::filesystem;

constexpr int kAskMilliseconds = 20;
constexpr std::size_t kLongestPath = 64 * 1024;

Error cannot(const std::string& path, int error) {
  return errno_error(error, path + ": batches cannot be left to the background");
}

}  // namespace

Result<BackgroundQueue> BackgroundQueue::at(const std::string& cluster) {
  auto home = batch_home();
  if (!home) {
    return fail(ErrorCode::fix_request,
                "neither XDG_STATE_HOME nor HOME is an absolute path, so there is no place for the queue of the "
                "background driver; set one of them");
  }
  const std::string runtime = runtime_directory();
  if (runtime.empty()) return fail(ErrorCode::fix_request, "no private directory for locks; set XDG_RUNTIME_DIR");
  BackgroundQueue queue;
  const std::uint32_t hash = ledger::checksum(cluster);
  queue.directory_ = fmt::format("{}/background/{}/{}-{:08x}", fs::path(*home).parent_path().string(), host_name(),
                                 fs::path(cluster).stem().string(), hash);
  // Of a place of its own for batches: who has another state directory has another driver.
  queue.lock_path_ = fmt::format("{}/background-{:08x}", runtime, ledger::checksum(queue.directory_));
  return queue;
}

Result<BackgroundQueue> BackgroundQueue::open(const std::string& cluster) {
  auto queue = at(cluster);
  if (!queue) return queue;
  const std::string& directory = queue->directory_;
  boost::system::error_code error;
  fs::create_directories(directory, error);
  if (error) return fail(cannot(directory, error.value()));
  if (::chmod(directory.c_str(), 0700) != 0) return fail(cannot(directory, errno));
  return queue;
}

Result<void> BackgroundQueue::check_place() const {
  // What is to be made is made in the last directory of the path that is there.
  fs::path place = directory_;
  while (::access(place.c_str(), F_OK) != 0 && errno == ENOENT && place.has_parent_path()) place = place.parent_path();
  if (::access(place.c_str(), W_OK | X_OK) == 0) return {};
  return fail(ErrorCode::fix_request, cannot(directory_, errno).message);
}

Result<void> BackgroundQueue::add(const Entry& entry) const {
  return write_file_durably(directory_ + "/" + entry.batch_id, entry.path);
}

void BackgroundQueue::remove(const std::string& batch_id) const {
  ::unlink((directory_ + "/" + batch_id).c_str());
}

bool BackgroundQueue::contains(const std::string& batch_id) const {
  return ::access((directory_ + "/" + batch_id).c_str(), F_OK) == 0;
}

Result<std::vector<BackgroundQueue::Entry>> BackgroundQueue::list() const {
  std::vector<std::pair<std::int64_t, Entry>> found;  // by when they came: ids tell that to the second only
  boost::system::error_code error;
  for (fs::directory_iterator it(directory_, error), end; !error && it != end; it.increment(error)) {
    const std::string id = it->path().filename().string();
    // Ids have no dot: temporary files and the log do.
    if (id.find('.') != std::string::npos) continue;
    auto path = read_regular_file(it->path().string(), kLongestPath);
    struct stat status {};
    if (!path || ::lstat(it->path().c_str(), &status) != 0) continue;  // it was removed meanwhile
    const std::int64_t came_ns = status.st_mtim.tv_sec * std::int64_t{1'000'000'000} + status.st_mtim.tv_nsec;
    found.emplace_back(came_ns, Entry{id, std::move(*path)});
  }
  if (error) return fail(cannot(directory_, error.value()));
  std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Entry> entries;
  for (auto& [came_ns, entry] : found) entries.push_back(std::move(entry));
  return entries;
}

std::optional<ProcessIdentity> BackgroundQueue::driver() const {
  const auto text = read_regular_file(lock_path_, kLongestPath);
  if (!text) return std::nullopt;
  ProcessIdentity identity;
  const char* const end = text->data() + text->size();
  const auto pid = std::from_chars(text->data(), end, identity.pid);
  if (pid.ec != std::errc() || pid.ptr == end) return std::nullopt;
  if (std::from_chars(pid.ptr + 1, end, identity.start_ticks).ec != std::errc()) return std::nullopt;
  return is_alive(identity) ? std::optional(identity) : std::nullopt;
}

Result<std::optional<Fd>> BackgroundQueue::lock(int patience_milliseconds) const {
  Fd fd(::open(lock_path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return fail(cannot(lock_path_, errno));
  for (int waited = 0; ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0; waited += kAskMilliseconds) {
    if (errno != EWOULDBLOCK && errno != EINTR) return fail(cannot(lock_path_, errno));
    if (waited >= patience_milliseconds) return std::optional<Fd>();
    ::poll(nullptr, 0, kAskMilliseconds);  // no descriptor tells of a lock that becomes free
  }
  const ProcessIdentity self = own_identity();
  const std::string text = fmt::format("{} {}\n", self.pid, self.start_ticks);
  if (::ftruncate(fd.get(), 0) != 0 || !write_all(fd.get(), text)) return fail(cannot(lock_path_, errno));
  return std::optional(std::move(fd));
}

}  // namespace allot
