// SPDX-License-Identifier: MIT
// The socket between driver and worker node: whatever comes in is a message or an error, and a message that was read is
// written in one way only. The first byte says where the stream is cut in two.
#include "tests/fuzz/fuzz.h"
#include "worker_node/wire.h"

namespace {

void check_encoding(const allot::wire::Message& message) {
  const std::string bytes = allot::wire::encode(message);
  allot::wire::Decoder decoder;
  decoder.append(bytes);
  auto again = decoder.next();
  allot::fuzz::require(again && *again, "what encode writes is read");
  allot::fuzz::require(allot::wire::encode(**again) == bytes, "reading loses nothing");
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view stream = allot::fuzz::as_text(data + 1, size - 1);
  const std::size_t cut = stream.size() * data[0] / 256;
  allot::wire::Decoder decoder;
  for (const std::string_view part : {stream.substr(0, cut), stream.substr(cut)}) {
    decoder.append(part);
    for (;;) {
      auto message = decoder.next();
      if (!message) return 0;  // not our protocol: the connection would be closed
      if (!*message) break;
      check_encoding(**message);
    }
  }
  return 0;
}
