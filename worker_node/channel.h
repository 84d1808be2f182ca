// SPDX-License-Identifier: MIT
// A connection that carries wire messages both ways.
#pragma once

#include <boost/asio/local/stream_protocol.hpp>
#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "worker_node/wire.h"

namespace allot {

/// Thread rule: everything from the io_context's thread. Kept alive by its owner; reads and writes under way keep it,
/// too. The handlers must not own it: they go with it.
class Channel : public std::enable_shared_from_this<Channel> {
 public:
  using Socket = boost::asio::local::stream_protocol::socket;
  using OnMessage = std::function<void(wire::Message)>;
  using OnClosed = std::function<void(const std::string& why)>;

  explicit Channel(Socket socket) : socket_(std::move(socket)) {}

  /// Starts reading. `on_closed` comes once: end of file, a fault of the connection, or bytes that are not the
  /// protocol; not after close().
  void start(OnMessage on_message, OnClosed on_closed);
  void send(const wire::Message& message);
  void close();
  bool is_open() const { return socket_.is_open(); }
  std::size_t unsent_bytes() const { return unsent_; }

 private:
  void read();
  void write();
  void fail(const std::string& why);

  Socket socket_;
  wire::Decoder decoder_;
  OnMessage on_message_;
  OnClosed on_closed_;
  std::deque<std::string> outgoing_;
  std::size_t unsent_ = 0;
  bool writing_ = false;
  char block_[65536];
};

}  // namespace allot
