// SPDX-License-Identifier: MIT
// How a driver is asked for something while it drives: a line of JSON over a socket on its own host, and a line back.
//
// The socket lies in the runtime directory (0700), has mode 0600, and both ends check that the other is of the same
// user. Its name is made of the driver's pid and start time, which the batch's newest claim tells.
#pragma once

#include <poll.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "ledger/batch_directory.h"
#include "process/fd.h"
#include "process/identity.h"
#include "protocol/result.h"

namespace allot {

/// Path of the socket of a driver on this host; empty if there is no runtime directory.
std::string control_socket_path(const ProcessIdentity& driver);

/// The driver's end. Never blocks. Thread rule: one thread.
class ControlServer {
 public:
  using Ticket = std::uint64_t;
  struct Request {
    Ticket ticket = 0;
    nlohmann::json body;  ///< an object
  };

  /// Listens; removes sockets that drivers which were killed have left. Errors: retry_later, fix_request (no runtime
  /// directory).
  static Result<ControlServer> open();
  ControlServer(ControlServer&&) noexcept = default;
  ControlServer& operator=(ControlServer&&) noexcept = delete;
  ~ControlServer();

  /// Appends what is to be polled.
  void add_descriptors(std::vector<pollfd>& polled) const;
  /// Takes in what has come. What is no JSON object is answered and dropped here.
  std::vector<Request> serve();
  /// Answers a request, at any time; one whose asker has gone is forgotten.
  void answer(Ticket ticket, const nlohmann::json& reply);
  /// Sends what can be sent now.
  void send();
  /// Nobody can ask any more; what has been asked can still be answered.
  void stop_listening();
  /// Requests that have not been answered.
  std::size_t open_requests() const;
  /// Sends what is left to be sent, for a second at most.
  void flush();

 private:
  struct Client {
    Fd fd;
    std::string in, out;
    bool is_asking = false;  // its request has not been answered
    bool is_over = false;    // closed once `out` is sent
  };
  ControlServer(Fd fd, std::string path) : listening_(std::move(fd)), path_(std::move(path)) {}
  void accept_clients();
  void read_from(Ticket ticket, Client& client, std::vector<Request>& requests);
  static bool send_to(Client& client);

  Fd listening_;
  std::string path_;
  std::map<Ticket, Client> clients_;
  bool has_answers_ = false;
  Ticket next_ = 1;
};

/// {"error": text, "code": name}.
nlohmann::json error_reply(const Error& error);

/// Asks a driver on this host. Errors: not_available (it does not listen: it has ended, or is of an older version),
/// gone (it ended before it answered), retry_later (no answer in time), and the driver's own. `stop_descriptor`: once
/// it can be read, no answer is waited for any longer (retry_later); what has been asked may be done all the same.
Result<nlohmann::json> ask_driver(const ProcessIdentity& driver, const nlohmann::json& request,
                                  std::chrono::milliseconds timeout, int stop_descriptor = -1);

}  // namespace allot
