// SPDX-License-Identifier: MIT
#include "ledger/environment.h"

#include <sys/stat.h>

#include "process/fd.h"
#include "tests/support/catch.h"
#include "tests/support/temp_directory.h"
#include "tests/unit/ledger/mentions.h"

using namespace allot;
using test::mentions;
using test::put_file;

TEST_CASE("secrets are known by their names") {
  for (const char* name : {"GITHUB_TOKEN",
                           "github_token",
                           "MyToken",
                           "CI_JOB_TOKEN_RO",
                           "DB_PASSWORD",
                           "PGPASSWORD",
                           "MYSQL_PWD",
                           "SSHPASS",
                           "CLIENT_SECRET_V2",
                           "AWS_SECRET_ACCESS_KEY",
                           "AWS_ACCESS_KEY_ID",
                           "AWS_SESSION_TOKEN",
                           "AWS_SESSION_ID",
                           "API_KEY",
                           "OPENAI_APIKEY",
                           "SSH_AUTH_SOCK",
                           "DOCKER_AUTH_CONFIG",
                           "NPM_CONFIG__AUTH",
                           "GPG_PASSPHRASE",
                           "GOOGLE_APPLICATION_CREDENTIALS",
                           "KRB5CCNAME",
                           "MAGIC_COOKIE"}) {
    INFO(name);
    CHECK(is_secret_name(name));
  }
  for (const char* name : {"PATH", "HOME", "PWD", "OLDPWD", "TOKENIZERS_PARALLELISM", "MONKEY", "KEYBOARD_LAYOUT",
                           "COMPASS_HOME", "AUTHOR", "LANG", "OMP_NUM_THREADS", "", "PATTERN", "BYPASS"}) {
    INFO(name);
    CHECK_FALSE(is_secret_name(name));
  }
}

TEST_CASE("a URL with a password is a secret whatever it is called") {
  for (const char* value : {"postgres://me:word@host/db", "x=1 http://a http://u:p@proxy:80", "a://:p@h"}) {
    INFO(value);
    CHECK(is_secret("DATABASE_URL", value));
  }
  for (const char* value :
       {"", "postgres://me@host:5432/db", "http://host:80/a@b", "a://u:@h", "me:word@host", "://"}) {
    INFO(value);
    CHECK_FALSE(is_secret("DATABASE_URL", value));
  }
  CHECK(is_secret("MY_TOKEN", ""));
}

TEST_CASE("what the node sets is not taken from the submitter") {
  for (const char* name : {"SLURM_JOB_ID", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "CUDA_VISIBLE_DEVICES", "TMPDIR",
                           "ALLOT_ATTEMPT", "JOB_ID", "ARRAY_STEP_ID"}) {
    INFO(name);
    CHECK(is_node_name(name));
  }
  for (const char* name : {"PATH", "CUDA_HOME", "TMP", "MY_JOB_ID", "SLURM", "slurm_job_id"}) {
    INFO(name);
    CHECK_FALSE(is_node_name(name));
  }
}

TEST_CASE("capturing leaves out secrets, the node's own and what is no variable") {
  std::string entries[] = {"PATH=/bin", "X_TOKEN=t", "no_equals", "=empty", "EMPTY=", "A=b=c", "SLURM_JOB_ID=1"};
  char* variables[] = {entries[0].data(), entries[1].data(), entries[2].data(), entries[3].data(),
                       entries[4].data(), entries[5].data(), entries[6].data(), nullptr};
  CHECK(capture_environment(variables) == Environment{{"PATH", "/bin"}, {"EMPTY", ""}, {"A", "b=c"}});
}

TEST_CASE("an environment of any bytes is written for its owner only and read back") {
  test::TempDirectory directory;
  const std::string path = directory / "environment";
  Environment environment = {{"A", ""}, {"B", "line\nline\x01\xFF"}, {"C", "x=y"}, {"BASH_FUNC_f%%", "() { :; }"}};
  environment.emplace_back("BIG", std::string(1u << 20, 'b'));
  REQUIRE(write_environment(path, environment));
  auto back = read_environment(path);
  REQUIRE(back);
  CHECK(*back == environment);
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);
  REQUIRE(write_environment(path, {}));
  back = read_environment(path);
  REQUIRE(back);
  CHECK(back->empty());
}

TEST_CASE("an environment that lost bytes or has others is not taken for a smaller one") {
  test::TempDirectory directory;
  const std::string path = directory / "environment";
  REQUIRE(write_environment(path, {{"PATH", "/bin"}, {"HOME", "/root"}}));
  const std::string whole = *read_file(path);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    INFO("cut to " << size);
    put_file(path, whole.substr(0, size));
    const auto damaged = read_environment(path);
    REQUIRE_FALSE(damaged);
    CHECK(damaged.error().code == ErrorCode::gave_up);
    CHECK(mentions(damaged.error().message, {path, "damaged"}));
  }
  std::string other = whole;
  other[whole.size() - 2] ^= 1;
  put_file(path, other);
  auto damaged = read_environment(path);
  REQUIRE_FALSE(damaged);
  CHECK(mentions(damaged.error().message, {path, "checksum"}));
  // As it was written at first.
  put_file(path, whole.substr(16));
  const auto old = read_environment(path);
  REQUIRE(old);
  CHECK(old->size() == 2);
}

TEST_CASE("an environment that cannot be kept or read is an error that says where") {
  test::TempDirectory directory;
  const std::string path = directory / "environment";
  for (const Environment& bad :
       {Environment{{"", "x"}}, Environment{{"A=B", "x"}}, Environment{{"A", std::string(1, '\0')}},
        Environment{{std::string("A\0B", 3), "x"}}}) {
    auto result = write_environment(path, bad);
    REQUIRE_FALSE(result);
    CHECK(result.error().code == ErrorCode::fix_request);
  }
  auto missing = read_environment(path);
  REQUIRE_FALSE(missing);
  CHECK(mentions(missing.error().message, {path}));
  for (const std::string& bytes : {std::string("A=b"), std::string("A=b\0nothing\0", 12), std::string("=b\0", 3)}) {
    put_file(path, bytes);
    auto damaged = read_environment(path);
    REQUIRE_FALSE(damaged);
    CHECK(damaged.error().code == ErrorCode::gave_up);
    CHECK(mentions(damaged.error().message, {path, "at byte"}));
  }
}
