// SPDX-License-Identifier: MIT
#include "engine/delimited_reader.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "engine/unnamed_file.h"

namespace allot {
namespace {

constexpr std::size_t kBlockBytes = 1u << 20;

bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

std::int64_t change_time_ns(const struct stat& status) {
  return std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec;
}

}  // namespace

Result<DelimitedReader> DelimitedReader::open(const std::string& path, char delimiter, int interrupt_descriptor) {
  if (path == "-") {
    Fd fd(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3));
    if (!fd) return fail(ErrorCode::fix_request, "standard input: " + errno_text(errno));
    return DelimitedReader(std::move(fd), "standard input", delimiter, interrupt_descriptor);
  }
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const std::string shown = path.empty() ? "\"\"" : path;
  if (!fd) return fail(ErrorCode::fix_request, shown + ": cannot be read: " + errno_text(errno));
  struct stat status {};
  if (::fstat(fd.get(), &status) == 0 && S_ISDIR(status.st_mode)) {
    return fail(ErrorCode::fix_request, path + ": is a directory; name a file, or - for standard input");
  }
  return DelimitedReader(std::move(fd), path, delimiter, interrupt_descriptor);
}

DelimitedReader::DelimitedReader(Fd fd, std::string name, char delimiter, int interrupt_descriptor)
    : fd_(std::move(fd)), name_(std::move(name)), delimiter_(delimiter), interrupt_descriptor_(interrupt_descriptor) {
  note_state();
}

void DelimitedReader::note_state() {
  start_ = ::lseek(fd_.get(), 0, SEEK_CUR);
  struct stat status {};
  if (::fstat(fd_.get(), &status) != 0) return;
  size_ = status.st_size;
  changed_ns_ = change_time_ns(status);
}

Error DelimitedReader::too_long() const {
  return {ErrorCode::fix_request,
          fmt::format("{}:{}: longer than {} MiB; no task may be that large", name_, number_ + 1, kMaxItemBytes >> 20)};
}

Result<bool> DelimitedReader::fill() {
  if (at_end_) return false;
  if (begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (end_ == buffer_.size()) {
    if (end_ > kMaxItemBytes) return fail(too_long());
    buffer_.resize(std::max(kBlockBytes, std::min(2 * end_, kMaxItemBytes + kBlockBytes)));
  }
  for (;;) {
    if (interrupt_descriptor_ >= 0) {
      pollfd waiting[2] = {{interrupt_descriptor_, POLLIN, 0}, {fd_.get(), POLLIN, 0}};
      if (::poll(waiting, 2, -1) < 0 && errno != EINTR) {
        return fail(errno_error(errno, name_));
      }
      if (waiting[0].revents != 0) return fail(ErrorCode::gave_up, name_ + ": interrupted while it was read");
      if (waiting[1].revents == 0) continue;
    }
    const ssize_t got = ::read(fd_.get(), buffer_.data() + end_, buffer_.size() - end_);
    if (got > 0) {
      end_ += static_cast<std::size_t>(got);
      return true;
    }
    if (got == 0) {
      at_end_ = true;
      return false;
    }
    if (errno == EINTR || errno == EAGAIN) {
      if (errno == EAGAIN && interrupt_descriptor_ < 0) {
        pollfd waiting{fd_.get(), POLLIN, 0};
        ::poll(&waiting, 1, -1);
      }
      continue;
    }
    return fail(ErrorCode::fix_request, name_ + ": cannot be read: " + errno_text(errno));
  }
}

Result<std::optional<std::string_view>> DelimitedReader::next() {
  std::size_t searched = 0;
  for (;;) {
    const char* from = buffer_.data() + begin_;
    const std::size_t size = end_ - begin_;
    if (size > searched) {
      const void* found = std::memchr(from + searched, delimiter_, size - searched);
      if (found != nullptr) {
        const auto length = static_cast<std::size_t>(static_cast<const char*>(found) - from);
        if (length > kMaxItemBytes) return fail(too_long());
        begin_ += length + 1;
        ++number_;
        return std::string_view(from, length);
      }
    }
    searched = size;
    auto more = fill();
    if (!more) return fail(std::move(more.error()));
    if (!*more) {
      if (begin_ == end_) return std::nullopt;
      const std::string_view last(buffer_.data() + begin_, end_ - begin_);
      begin_ = end_;
      ++number_;
      return last;
    }
  }
}

Result<void> DelimitedReader::skip_byte_order_mark() {
  constexpr std::string_view kMark = "\xEF\xBB\xBF";
  skips_mark_ = true;
  while (end_ - begin_ < kMark.size()) {
    auto more = fill();
    if (!more) return fail(std::move(more.error()));
    if (!*more) break;
  }
  if (std::string_view(buffer_).substr(begin_, end_ - begin_).starts_with(kMark)) begin_ += kMark.size();
  return {};
}

Result<std::optional<char>> DelimitedReader::first_visible_byte() {
  std::size_t searched = 0;
  for (;;) {
    for (; begin_ + searched < end_; ++searched) {
      const char c = buffer_[begin_ + searched];
      if (!is_blank(c)) return c;
    }
    auto more = fill();
    if (!more) return fail(std::move(more.error()));
    if (!*more) return std::nullopt;
  }
}

Result<void> DelimitedReader::rewind() {
  struct stat status {};
  if (::fstat(fd_.get(), &status) != 0 || ::lseek(fd_.get(), start_, SEEK_SET) < 0) {
    return fail(ErrorCode::fix_request, name_ + ": cannot be read a second time: " + errno_text(errno));
  }
  if (status.st_size != size_ || change_time_ns(status) != changed_ns_) {
    return fail(ErrorCode::fix_request, name_ + ": changed while it was read; start again when nobody writes to it");
  }
  begin_ = end_ = 0;
  number_ = 0;
  at_end_ = false;
  return skips_mark_ ? skip_byte_order_mark() : Result<void>();
}

Result<void> DelimitedReader::spool() {
  auto copy = make_unnamed_file();
  if (!copy) return fail(copy.error().with_context("keeping a copy of " + name_));
  for (;;) {
    if (!write_all(copy->get(), std::string_view(buffer_).substr(begin_, end_ - begin_))) {
      return fail(errno_error(
          errno, "keeping a copy of " + name_ + " in a temporary file (set TMPDIR to where there is room)"));
    }
    begin_ = end_ = 0;
    auto more = fill();
    if (!more) return fail(std::move(more.error()));
    if (!*more) break;
  }
  fd_ = std::move(*copy);
  ::lseek(fd_.get(), 0, SEEK_SET);
  note_state();
  return rewind();
}

}  // namespace allot
