// SPDX-License-Identifier: MIT
// The tasks' environment: taken at submission, kept in the batch without secrets.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "protocol/result.h"

namespace allot {

using Environment = std::vector<std::pair<std::string, std::string>>;

/// True for names that must not be written into a batch (they reach the tasks of a local worker node by inheritance):
/// secrets by pattern (…TOKEN, …SECRET…, …PASSWORD…, …_KEY, AWS_SESSION…, SSH_AUTH_SOCK, …) case-insensitive.
bool is_secret_name(std::string_view name);

/// The same for a variable that is not called so and holds a password all the same: a URL as
/// scheme://user:password@host (DATABASE_URL, https_proxy).
bool is_secret(std::string_view name, std::string_view value);

/// True for names that the node sets itself (SLURM_*, OMPI_*, PMIX_*, CUDA_VISIBLE_DEVICES, TMPDIR, ALLOT_*, JOB_ID,
/// ARRAY_STEP_ID): not taken from the submitter.
bool is_node_name(std::string_view name);

/// The part of `environ`-style `variables` that is written: neither secret nor the node's own. Entries without "=" are
/// dropped.
Environment capture_environment(char* const* variables);

/// Length and checksum, then NUL-separated NAME=VALUE; 0600, via a temporary name and rename.
Result<void> write_environment(const std::string& path, const Environment& environment);
/// Errors: gave_up with the reason, where it is not as it was written. One without length and checksum, as allot wrote
/// them at first, is read as it is; an empty file is no environment.
Result<Environment> read_environment(const std::string& path);

}  // namespace allot
