// SPDX-License-Identifier: MIT
#include "worker_node/channel.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>
#include <exception>

namespace allot {

namespace asio = boost::asio;

void Channel::start(OnMessage on_message, OnClosed on_closed) {
  on_message_ = std::move(on_message);
  on_closed_ = std::move(on_closed);
  read();
}

void Channel::read() {
  auto self = shared_from_this();
  socket_.async_read_some(asio::buffer(block_), [self](const boost::system::error_code& error, std::size_t size) {
    if (!self->socket_.is_open()) return;
    if (error) {
      self->fail(error == asio::error::eof ? "the other side is gone" : error.message());
      return;
    }
    self->decoder_.append({self->block_, size});
    for (;;) {
      auto message = self->decoder_.next();
      if (!message) {
        self->fail(message.error().message);
        return;
      }
      if (!*message) break;
      try {
        self->on_message_(std::move(**message));
      } catch (const std::exception& refused) {  // such as memory; what comes next makes no sense without
        self->fail(std::string("a message cannot be handled: ") + refused.what());
        return;
      }
      if (!self->socket_.is_open()) return;  // the handler closed it
    }
    self->read();
  });
}

void Channel::send(const wire::Message& message) {
  if (!socket_.is_open()) return;
  outgoing_.push_back(wire::encode(message));
  unsent_ += outgoing_.back().size();
  if (!writing_) write();
}

void Channel::write() {
  writing_ = true;
  auto self = shared_from_this();
  asio::async_write(socket_, asio::buffer(outgoing_.front()),
                    [self](const boost::system::error_code& error, std::size_t size) {
                      self->writing_ = false;
                      self->unsent_ -= size;
                      self->outgoing_.pop_front();
                      // A fault shows in the read as well, after what the other side still sent.
                      if (!error && !self->outgoing_.empty() && self->socket_.is_open()) self->write();
                    });
}

void Channel::fail(const std::string& why) {
  auto on_closed = std::move(on_closed_);
  close();
  if (on_closed) on_closed(why);
}

void Channel::close() {
  boost::system::error_code ignored;
  socket_.close(ignored);
  on_closed_ = nullptr;
}

}  // namespace allot
