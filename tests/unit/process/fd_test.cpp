// SPDX-License-Identifier: MIT
#include "process/fd.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

#include "tests/support/catch.h"
#include "tests/support/temp_directory.h"

using namespace allot;

TEST_CASE("a descriptor is closed with its owner and moves with it") {
  int raw = -1;
  {
    Fd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    raw = fd.get();
    Fd moved = std::move(fd);
    CHECK_FALSE(fd);  // NOLINT(bugprone-use-after-move): that it is empty is the point
    CHECK(moved.get() == raw);
    CHECK(::fcntl(raw, F_GETFD) >= 0);
  }
  CHECK(::fcntl(raw, F_GETFD) == -1);
}

TEST_CASE("errno is told with its words and its name, and says what to do next") {
  CHECK(errno_text(EACCES) == "Permission denied (EACCES)");
  CHECK(errno_text(99999).find("99999") != std::string::npos);
  CHECK(errno_error(ENOSPC, "x").code == ErrorCode::retry_later);
  CHECK(errno_error(EMFILE, "x").code == ErrorCode::retry_later);
  CHECK(errno_error(ENOENT, "/nowhere").code == ErrorCode::fix_request);
  CHECK(errno_error(ENOENT, "/nowhere").message == "/nowhere: No such file or directory (ENOENT)");
}

TEST_CASE("a file is replaced as a whole, or stays as it was") {
  test::TempDirectory directory;
  const std::string path = directory / "file";
  REQUIRE(write_file_durably(path, "first", 0640));
  REQUIRE(write_file_durably(path, "second", 0640));
  auto text = read_file(path);
  REQUIRE(text);
  CHECK(*text == "second");
  struct stat info;
  REQUIRE(::stat(path.c_str(), &info) == 0);
  CHECK((info.st_mode & 07777) == 0640);
  CHECK_FALSE(write_file_durably(directory / "missing/file", "x"));
  CHECK(read_file(directory / "missing").error().message.find("missing: No such file") != std::string::npos);
  CHECK(read_file(path, 3).error().code == ErrorCode::gave_up);
}

TEST_CASE("reads and writes are whole") {
  test::TempDirectory directory;
  const std::string path = directory / "file";
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  const std::string bytes(300'000, 'x');
  std::size_t written = 0;
  REQUIRE(write_all(fd.get(), bytes, &written));
  CHECK(written == bytes.size());
  std::string back(400'000, '\0');
  CHECK(pread_all(fd.get(), back.data(), back.size(), 0) == 300'000);
  CHECK(pread_all(fd.get(), back.data(), 10, 299'995) == 5);
  CHECK_FALSE(write_all(-1, "x", &written));
  CHECK(written == 0);
}
