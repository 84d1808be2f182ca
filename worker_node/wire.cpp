// SPDX-License-Identifier: MIT
#include "worker_node/wire.h"

#include <cstring>
#include <type_traits>

namespace allot::wire {
namespace {

class Writer {
 public:
  explicit Writer(std::string& bytes) : bytes_(bytes) {}

  template <class T>
  requires std::is_integral_v<T> || std::is_enum_v<T>
  void operator()(const T& value) {
    auto number = static_cast<std::uint64_t>(value);
    for (std::size_t i = 0; i < sizeof(T); ++i) {
      bytes_.push_back(static_cast<char>(number & 0xff));
      number >>= 8;
    }
  }
  void operator()(const std::string& text) {
    (*this)(static_cast<std::uint32_t>(text.size()));
    bytes_ += text;
  }
  template <class T>
  void operator()(const std::vector<T>& list) {
    (*this)(static_cast<std::uint32_t>(list.size()));
    for (const T& item : list) fields(*this, const_cast<T&>(item));
  }

 private:
  std::string& bytes_;
};

class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}

  template <class T>
  requires std::is_integral_v<T> || std::is_enum_v<T>
  void operator()(T& value) {
    if (bytes_.size() < sizeof(T)) {
      good_ = false;
      return;
    }
    std::uint64_t number = 0;
    for (std::size_t i = sizeof(T); i-- > 0;) number = (number << 8) | static_cast<unsigned char>(bytes_[i]);
    bytes_.remove_prefix(sizeof(T));
    value = static_cast<T>(number);
  }
  void operator()(std::string& text) {
    std::uint32_t size = 0;
    (*this)(size);
    if (!good_ || size > bytes_.size()) {
      good_ = false;
      return;
    }
    text.assign(bytes_.substr(0, size));
    bytes_.remove_prefix(size);
  }
  template <class T>
  void operator()(std::vector<T>& list) {
    std::uint32_t size = 0;
    (*this)(size);
    // Every item takes at least a byte: a length that cannot be true allocates nothing.
    if (!good_ || size > bytes_.size()) {
      good_ = false;
      return;
    }
    for (std::uint32_t i = 0; i < size && good_; ++i) {
      list.emplace_back();
      fields(*this, list.back());
    }
  }

  bool finished() const { return good_ && bytes_.empty(); }

 private:
  std::string_view bytes_;
  bool good_ = true;
};

// One list of fields for both directions.
template <class Io>
void fields(Io& io, StepRange& v) {
  io(v.first);
  io(v.count);
}
template <class Io>
void fields(Io& io, RunKey& v) {
  io(v.step);
  io(v.submission);
  io(v.restart);
}
template <class Io>
void fields(Io& io, SlotState& v) {
  io(v.writer);
  io(v.guard_pid);
  io(v.guard_start_ticks);
}
template <class Io>
void fields(Io& io, Greet& v) {
  io(v.version);
  io(v.batch_format);
  io(v.batch_id);
  io(v.epoch);
}
template <class Io>
void fields(Io& io, Welcome& v) {
  io(v.pid);
  io(v.start_ticks);
  io(v.host);
  io(v.slots);
  io(v.running);
}
template <class Io>
void fields(Io& io, Refused& v) {
  io(v.text);
}
template <class Io>
void fields(Io& io, SubmissionInfo& v) {
  io(v.number);
  io(v.id_base);
  io(v.is_array);
  io(v.step_origin);
  io(v.attempt);
  io(v.round);
  io(v.cores);
  io(v.memory_limit_bytes);
  io(v.runtime_limit_milliseconds);
}
template <class Io>
void fields(Io& io, Hand& v) {
  io(v.submission);
  io(v.steps);
}
template <class Io>
void fields(Io& io, Terminate& v) {
  io(v.submission);
  io(v.steps);
  io(v.grace_milliseconds);
  io(v.reason);
}
template <class Io>
void fields(Io& io, Recall& v) {
  io(v.submission);
  io(v.steps);
}
template <class Io>
void fields(Io& io, Limit& v) {
  io(v.slots);
}
template <class Io>
void fields(Io& io, Leave& v) {
  io(v.grace_milliseconds);
}
template <class Io>
void fields(Io& io, Records& v) {
  io(v.writer);
  io(v.offset);
  io(v.bytes);
}
template <class Io>
void fields(Io& io, Returned& v) {
  io(v.reason);
  io(v.submission);
  io(v.steps);
}
template <class Io>
void fields(Io& io, Alive& v) {
  io(v.running);
}
template <class Io>
void fields(Io& io, Notice& v) {
  io(v.kind);
  io(v.text);
}

template <std::size_t I = 0>
std::optional<Message> decode(std::size_t type, std::string_view body) {
  if constexpr (I == std::variant_size_v<Message>) {
    return std::nullopt;
  } else {
    if (type != I) return decode<I + 1>(type, body);
    std::variant_alternative_t<I, Message> value;
    Reader reader(body);
    fields(reader, value);
    if (!reader.finished()) return std::nullopt;
    return Message(std::move(value));
  }
}

}  // namespace

std::string encode(const Message& message) {
  std::string bytes(4, '\0');
  bytes.push_back(static_cast<char>(message.index()));
  Writer writer(bytes);
  std::visit([&writer](const auto& value) { fields(writer, const_cast<std::remove_cvref_t<decltype(value)>&>(value)); },
             message);
  const auto length = static_cast<std::uint32_t>(bytes.size() - 4);
  for (int i = 0; i < 4; ++i) bytes[static_cast<std::size_t>(i)] = static_cast<char>((length >> (8 * i)) & 0xff);
  return bytes;
}

Result<std::optional<Message>> Decoder::next() {
  const std::string_view open = std::string_view(buffer_).substr(used_);
  const auto drop_used = [this] {
    buffer_.erase(0, used_);
    used_ = 0;
  };
  if (open.size() < 4) {
    drop_used();
    return std::optional<Message>();
  }
  std::uint32_t length = 0;
  for (int i = 3; i >= 0; --i) length = (length << 8) | static_cast<unsigned char>(open[static_cast<std::size_t>(i)]);
  if (length == 0 || length > kMaxMessageBytes) {
    return fail(ErrorCode::gave_up, "a message of " + std::to_string(length) + " bytes: not allot's protocol");
  }
  if (open.size() < 4ull + length) {
    drop_used();
    return std::optional<Message>();
  }
  auto message = decode(static_cast<unsigned char>(open[4]), open.substr(5, length - 1));
  used_ += 4ull + length;
  if (!message) {
    return fail(ErrorCode::gave_up, "a message of type " + std::to_string(static_cast<unsigned char>(open[4])) +
                                        " that this version cannot read");
  }
  return message;
}

}  // namespace allot::wire
