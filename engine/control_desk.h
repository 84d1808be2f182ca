// SPDX-License-Identifier: MIT
// What can be asked of a driver over its control socket, and how it answers. docs/batches.md has every request.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/control_socket.h"
#include "engine/driver.h"

namespace allot {

/// Serves the requests about the batches of one driver. Thread rule: the driver's thread.
class ControlDesk {
 public:
  /// Takes a request that is not about a batch that is driven; false: nobody knows it.
  using Other = std::function<bool(ControlServer::Ticket, const nlohmann::json&)>;

  /// Both outlive the desk.
  ControlDesk(Driver& driver, ControlServer& server, Other other = {})
      : driver_(driver), server_(server), other_(std::move(other)) {}

  /// Takes in requests, and answers those that have been settled. `polled`: what the server gave to be polled, as
  /// poll(2) left it; where nothing of it is ready, it looks for requests now and then only.
  void serve(const std::vector<pollfd>& polled);
  /// The driver does no more: what is open is answered as it stands.
  void settle_all();

 private:
  // A request whose answer waits for processes to end or for the distributor.
  struct Open {
    ControlServer::Ticket ticket = 0;
    std::string batch;
    bool is_cancel = false;
    CancelCount cancelled;
    std::uint64_t count = 0;
    Driver::Clock::time_point deadline{};
  };

  void take(const ControlServer::Request& request);
  void take_for(BatchRun& run, const std::string& op, ControlServer::Ticket ticket, const nlohmann::json& body);
  void settle(bool all);

  Driver& driver_;
  ControlServer& server_;
  Other other_;
  std::vector<Open> open_;
  Driver::Clock::time_point next_look_{};
};

/// The selection as a request has it: "steps" (as parse_steps reads them) and "states" (of waiting, queued, running).
Result<TaskSelection> selection_from_json(const nlohmann::json& request);
void selection_to_json(const TaskSelection& selection, nlohmann::json& request);

/// A request about a batch.
nlohmann::json batch_request(const std::string& op, const std::string& batch_path);

}  // namespace allot
