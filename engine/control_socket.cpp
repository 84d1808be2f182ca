// SPDX-License-Identifier: MIT
#include "engine/control_socket.h"

#include <dirent.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "process/machine.h"

namespace allot {
namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::json;

constexpr std::size_t kMostClients = 256;
constexpr std::size_t kLongestRequest = 16u << 20;
constexpr std::string_view kPrefix = "driver-";
constexpr std::string_view kSuffix = ".ctl";

std::optional<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) return std::nullopt;
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

// The other end's user, as the kernel knows it.
bool is_own_peer(int fd) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == ::geteuid() || peer.uid == 0;
}

// "driver-PID-TICKS.ctl"
std::optional<ProcessIdentity> identity_of(std::string_view name) {
  if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) return std::nullopt;
  name = name.substr(kPrefix.size(), name.size() - kPrefix.size() - kSuffix.size());
  ProcessIdentity identity;
  const char* const end = name.data() + name.size();
  const auto pid = std::from_chars(name.data(), end, identity.pid);
  if (pid.ec != std::errc() || pid.ptr == end || *pid.ptr != '-') return std::nullopt;
  const auto ticks = std::from_chars(pid.ptr + 1, end, identity.start_ticks);
  return ticks.ec == std::errc() && ticks.ptr == end ? std::optional(identity) : std::nullopt;
}

void remove_left_sockets(const std::string& directory) {
  DIR* entries = ::opendir(directory.c_str());
  if (entries == nullptr) return;
  while (const dirent* entry = ::readdir(entries)) {
    const auto identity = identity_of(entry->d_name);
    if (identity && !is_alive(*identity)) ::unlink((directory + "/" + entry->d_name).c_str());
  }
  ::closedir(entries);
}

std::string line_of(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

// Waits for `events`; false when the time is over.
bool wait_for(int fd, short events, Clock::time_point until, int stop_descriptor = -1) {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
    pollfd waiting[] = {{fd, events, 0}, {stop_descriptor, POLLIN, 0}};
    const int ready = ::poll(waiting, 2, static_cast<int>(std::max<std::int64_t>(0, left)));
    if (ready > 0) return waiting[0].revents != 0;
    if (ready == 0 || errno != EINTR) return false;
  }
}

}  // namespace

std::string control_socket_path(const ProcessIdentity& driver) {
  const std::string directory = runtime_directory();
  if (directory.empty()) return "";
  return fmt::format("{}/{}{}-{}{}", directory, kPrefix, driver.pid, driver.start_ticks, kSuffix);
}

Result<ControlServer> ControlServer::open() {
  const std::string path = control_socket_path(own_identity());
  const auto address = address_of(path);
  if (!address) {
    return fail(ErrorCode::fix_request, "there is no private directory for sockets; set XDG_RUNTIME_DIR");
  }
  remove_left_sockets(runtime_directory());
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail(errno_error(errno, "the driver's control socket"));
  ::unlink(path.c_str());
  // The directory is private, so nobody can connect before the mode is set.
  const bool is_bound = ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) == 0;
  if (!is_bound || ::chmod(path.c_str(), 0600) != 0 || ::listen(fd.get(), SOMAXCONN) != 0) {
    return fail(errno_error(errno, path));
  }
  return ControlServer(std::move(fd), path);
}

ControlServer::~ControlServer() {
  stop_listening();
}

void ControlServer::stop_listening() {
  if (!listening_) return;
  ::unlink(path_.c_str());
  listening_.reset();
}

void ControlServer::add_descriptors(std::vector<pollfd>& polled) const {
  if (listening_ && clients_.size() < kMostClients) polled.push_back({listening_.get(), POLLIN, 0});
  for (const auto& [ticket, client] : clients_) {
    const short wanted = client.out.empty() ? POLLIN : POLLOUT;
    polled.push_back({client.fd.get(), wanted, 0});
  }
}

void ControlServer::accept_clients() {
  while (listening_ && clients_.size() < kMostClients) {
    Fd fd(::accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd) return;
    if (is_own_peer(fd.get())) clients_[next_++].fd = std::move(fd);
  }
}

void ControlServer::read_from(Ticket ticket, Client& client, std::vector<Request>& requests) {
  char bytes[65'536];
  while (!client.is_over) {
    const ssize_t count = ::recv(client.fd.get(), bytes, sizeof bytes, 0);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
    if (count <= 0) {
      // What it has asked for is done all the same: it may have waited in vain while this process was stopped.
      client.is_over = true;
      client.is_asking = false;
      client.out.clear();
      break;
    }
    client.in.append(bytes, static_cast<std::size_t>(count));
    if (client.in.size() > kLongestRequest) client.is_over = true;
  }
  const auto newline = client.in.find('\n');
  if (client.is_asking || newline == std::string::npos) return;
  json body = json::parse(client.in.begin(), client.in.begin() + static_cast<std::ptrdiff_t>(newline), nullptr, false);
  client.in.erase(0, newline + 1);
  client.is_asking = true;
  if (body.is_object()) {
    requests.push_back({ticket, std::move(body)});
  } else {
    answer(ticket, error_reply({ErrorCode::fix_request, "the request is no JSON object"}));
  }
}

bool ControlServer::send_to(Client& client) {
  while (!client.out.empty()) {
    const ssize_t count = ::send(client.fd.get(), client.out.data(), client.out.size(), MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno == EAGAIN || errno == EWOULDBLOCK;
    client.out.erase(0, static_cast<std::size_t>(count));
  }
  return true;
}

std::vector<ControlServer::Request> ControlServer::serve() {
  std::vector<Request> requests;
  accept_clients();
  for (auto& [ticket, client] : clients_) read_from(ticket, client, requests);
  has_answers_ = true;  // or some that have gone
  return requests;
}

void ControlServer::send() {
  if (!std::exchange(has_answers_, false)) return;
  for (auto client = clients_.begin(); client != clients_.end();) {
    const bool is_good = send_to(client->second);
    const bool is_done = client->second.is_over && client->second.out.empty();
    has_answers_ = has_answers_ || (is_good && !client->second.out.empty());
    client = is_good && !is_done ? std::next(client) : clients_.erase(client);
  }
}

void ControlServer::answer(Ticket ticket, const json& reply) {
  const auto client = clients_.find(ticket);
  if (client == clients_.end()) return;
  client->second.is_asking = false;
  client->second.out += line_of(reply);
  has_answers_ = true;
}

std::size_t ControlServer::open_requests() const {
  std::size_t count = 0;
  for (const auto& [ticket, client] : clients_) count += client.is_asking ? 1 : 0;
  return count;
}

void ControlServer::flush() {
  const auto until = Clock::now() + std::chrono::seconds(1);
  for (auto& [ticket, client] : clients_) {
    while (send_to(client) && !client.out.empty() && wait_for(client.fd.get(), POLLOUT, until)) {
    }
  }
}

json error_reply(const Error& error) {
  return {{"error", error.message}, {"code", static_cast<unsigned>(error.code)}};
}

Result<json> ask_driver(const ProcessIdentity& driver, const json& request, std::chrono::milliseconds timeout,
                        int stop_descriptor) {
  const auto until = Clock::now() + timeout;
  const std::string who = fmt::format("process {}", driver.pid);
  const auto address = address_of(control_socket_path(driver));
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail(errno_error(errno, "a socket"));
  if (!address || ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0) {
    if (address && errno == EAGAIN) return fail(ErrorCode::retry_later, who + " is too busy to be asked; try again");
    return fail(ErrorCode::not_available,
                who + " cannot be asked: it does not listen" + (address ? " (" + errno_text(errno) + ")" : ""));
  }
  if (!is_own_peer(fd.get())) return fail(ErrorCode::fix_request, who + " belongs to another user");
  std::string out = line_of(request), in;
  while (!out.empty()) {
    const ssize_t count = ::send(fd.get(), out.data(), out.size(), MSG_NOSIGNAL);
    if (count >= 0) {
      out.erase(0, static_cast<std::size_t>(count));
    } else if (errno != EINTR && (errno != EAGAIN || !wait_for(fd.get(), POLLOUT, until, stop_descriptor))) {
      return fail(ErrorCode::gone, who + " does not listen any more");
    }
  }
  for (char bytes[65'536]; in.find('\n') == std::string::npos;) {
    if (!wait_for(fd.get(), POLLIN, until, stop_descriptor)) {
      return fail(ErrorCode::retry_later, who + " has not answered in time");
    }
    const ssize_t count = ::recv(fd.get(), bytes, sizeof bytes, 0);
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (count <= 0) return fail(ErrorCode::gone, who + " ended before it answered");
    in.append(bytes, static_cast<std::size_t>(count));
  }
  json reply = json::parse(in, nullptr, false);
  if (!reply.is_object()) return fail(ErrorCode::gave_up, who + " gave an answer that is no JSON object");
  if (!reply.contains("error")) return reply;
  const json& text = reply["error"];
  const json code = reply.contains("code") ? reply["code"] : json();
  const bool is_known = code.is_number_unsigned() && code <= static_cast<int>(ErrorCode::not_available);
  return fail(is_known ? static_cast<ErrorCode>(code.get<int>()) : ErrorCode::gave_up,
              text.is_string() ? text.get<std::string>() : "no reason given");
}

}  // namespace allot
