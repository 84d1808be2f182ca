// SPDX-License-Identifier: MIT
#include "ledger/environment.h"

#include <algorithm>
#include <array>

#include "ledger/bytes.h"
#include "ledger/checksum.h"
#include "process/fd.h"

namespace allot {
namespace {

// By byte, not by locale: names that match must be the same on every host.
char upper(char c) {
  return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
}

bool starts_with_any(std::string_view name, auto const& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(), [&](std::string_view p) { return name.starts_with(p); });
}

bool is_any(std::string_view name, auto const& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// A word counts where it stands between underscores or at an end, so that TOKENIZERS_PARALLELISM, COMPASS_HOME or
// MONKEY_COUNT are no secrets.
bool has_component(std::string_view name, auto const& words) {
  while (true) {
    const std::size_t end = name.find('_');
    if (is_any(name.substr(0, end), words)) return true;
    if (end == std::string_view::npos) return false;
    name.remove_prefix(end + 1);
  }
}

constexpr std::array<std::string_view, 9> kSecretParts = {
    "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "CREDENTIAL", "PRIVKEY", "PRIVATE_KEY", "ACCESS_KEY", "APIKEY"};
constexpr std::array<std::string_view, 8> kSecretWords = {"TOKEN", "TOKENS", "PASS", "PASSCODE",
                                                          "AUTH",  "COOKIE", "JWT",  "PAT"};
constexpr std::array<std::string_view, 4> kSecretEnds = {"TOKEN", "_KEY", "_KEYS", "_PWD"};
constexpr std::array<std::string_view, 1> kSecretStarts = {"AWS_SESSION"};
constexpr std::array<std::string_view, 4> kSecretNames = {"SSHPASS", "GPG_AGENT_INFO", "KRB5CCNAME", "KEY"};

// "scheme://user:password@host", anywhere in the text.
bool has_password_in_url(std::string_view text) {
  constexpr std::string_view kMark = "://";
  for (std::size_t at = text.find(kMark); at != std::string_view::npos; at = text.find(kMark)) {
    text.remove_prefix(at + kMark.size());
    const std::string_view authority = text.substr(0, text.find_first_of("/?# \t\n"));
    const std::size_t end = authority.rfind('@');
    if (end == std::string_view::npos) continue;
    const std::size_t colon = authority.find(':');
    if (colon + 1 < end) return true;
  }
  return false;
}

constexpr std::array<std::string_view, 6> kNodeStarts = {"SLURM_", "OMPI_", "PMIX_", "PMI_", "PRTE_", "ALLOT_"};
constexpr std::array<std::string_view, 9> kNodeNames = {"CUDA_VISIBLE_DEVICES",
                                                        "GPU_DEVICE_ORDINAL",
                                                        "ROCR_VISIBLE_DEVICES",
                                                        "HIP_VISIBLE_DEVICES",
                                                        "ZE_AFFINITY_MASK",
                                                        "TMPDIR",
                                                        "JOB_ID",
                                                        "ARRAY_STEP_ID",
                                                        "HOSTNAME"};

constexpr std::string_view kEnvironmentHeader = "ALLOTEN1";
constexpr std::size_t kHeaderBytes = 16;  // with u32 length and u32 checksum of what follows

}  // namespace

bool is_secret_name(std::string_view name) {
  std::string text(name);
  std::transform(text.begin(), text.end(), text.begin(), upper);
  const std::string_view upper_name = text;
  return std::any_of(kSecretParts.begin(), kSecretParts.end(),
                     [&](std::string_view p) { return upper_name.find(p) != std::string_view::npos; }) ||
         std::any_of(kSecretEnds.begin(), kSecretEnds.end(),
                     [&](std::string_view e) { return upper_name.ends_with(e); }) ||
         starts_with_any(upper_name, kSecretStarts) || is_any(upper_name, kSecretNames) ||
         has_component(upper_name, kSecretWords);
}

bool is_secret(std::string_view name, std::string_view value) {
  return is_secret_name(name) || has_password_in_url(value);
}

bool is_node_name(std::string_view name) {
  return starts_with_any(name, kNodeStarts) || is_any(name, kNodeNames);
}

Environment capture_environment(char* const* variables) {
  Environment environment;
  for (; *variables != nullptr; ++variables) {
    const std::string_view entry = *variables;
    const std::size_t equals = entry.find('=');
    if (equals == std::string_view::npos || equals == 0) continue;
    const std::string_view name = entry.substr(0, equals);
    const std::string_view value = entry.substr(equals + 1);
    if (is_secret(name, value) || is_node_name(name)) continue;
    environment.emplace_back(name, value);
  }
  return environment;
}

Result<void> write_environment(const std::string& path, const Environment& environment) {
  std::string bytes(kEnvironmentHeader);
  bytes.resize(kHeaderBytes);
  for (const auto& [name, value] : environment) {
    if (name.empty() || name.find('=') != std::string::npos || name.find('\0') != std::string::npos ||
        value.find('\0') != std::string::npos) {
      return fail(ErrorCode::fix_request,
                  path + ": the variable '" + name.substr(0, name.find('\0')) +
                      "' cannot be kept: a name must be given and hold no '=', and neither name "
                      "nor value may hold a NUL byte");
    }
    bytes.append(name).append(1, '=').append(value).append(1, '\0');
  }
  const std::string_view payload = std::string_view(bytes).substr(kHeaderBytes);
  if (payload.size() > UINT32_MAX) return fail(ErrorCode::fix_request, path + ": the environment is too large");
  ledger::store(bytes.data() + kEnvironmentHeader.size(), static_cast<std::uint32_t>(payload.size()));
  ledger::store(bytes.data() + kEnvironmentHeader.size() + 4, ledger::checksum(payload));
  return write_file_durably(path, bytes, 0600);
}

Result<Environment> read_environment(const std::string& path) {
  auto bytes = read_regular_file(path);
  if (!bytes) return fail(bytes.error().with_context("the batch's environment cannot be read"));
  const auto damaged = [&](const std::string& why) {
    return fail(ErrorCode::gave_up,
                path + ": damaged (" + why + "), so no task can be run with the environment it was to have");
  };
  Environment environment;
  std::string_view rest = *bytes;
  if (rest.empty()) return damaged("it is empty");
  if (rest.starts_with(kEnvironmentHeader)) {
    if (rest.size() < kHeaderBytes) return damaged("it ends within its first bytes");
    const auto length = ledger::load<std::uint32_t>(rest.data() + kEnvironmentHeader.size());
    const auto sum = ledger::load<std::uint32_t>(rest.data() + kEnvironmentHeader.size() + 4);
    rest.remove_prefix(kHeaderBytes);
    if (rest.size() != length) {
      return damaged("it holds " + std::to_string(rest.size()) + " bytes of " + std::to_string(length));
    }
    if (ledger::checksum(rest) != sum) return damaged("its checksum does not match");
  }
  while (!rest.empty()) {
    const std::size_t end = rest.find('\0');
    const std::size_t equals = rest.substr(0, end).find('=');
    if (end == std::string_view::npos || equals == std::string_view::npos || equals == 0) {
      return fail(ErrorCode::gave_up, path + ": damaged at byte " + std::to_string(bytes->size() - rest.size()) +
                                          ": not NAME=VALUE with a NUL byte behind it");
    }
    environment.emplace_back(rest.substr(0, equals), rest.substr(equals + 1, end - equals - 1));
    rest.remove_prefix(end + 1);
  }
  return environment;
}

}  // namespace allot
