// SPDX-License-Identifier: MIT
// The batches that are left to the background driver of a cluster on this host, kept so that none is forgotten when it
// dies, and where that driver is found.
//
// Below $XDG_STATE_HOME/allot/background/HOST/CLUSTER-HASH: a file per batch, named by its id, which holds its path;
// and driver.log. In the runtime directory of the host: a lock that the driver holds while it lives, which names it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "process/fd.h"
#include "process/identity.h"
#include "protocol/result.h"

namespace allot {

/// A value but for the lock. Thread rule: as for files.
class BackgroundQueue {
 public:
  /// `cluster`: a name, or the path of a file. Makes the directory (0700). Errors: fix_request (no place for it).
  static Result<BackgroundQueue> open(const std::string& cluster);

  /// The same for who only looks: makes nothing.
  static Result<BackgroundQueue> at(const std::string& cluster);

  /// Whether open() can make the directory, as far as that shows without trying; makes nothing. Errors: fix_request.
  Result<void> check_place() const;

  struct Entry {
    std::string batch_id;
    std::string path;
  };
  /// Durable. Adding it again is fine.
  Result<void> add(const Entry& entry) const;
  void remove(const std::string& batch_id) const;
  bool contains(const std::string& batch_id) const;
  /// The oldest first. Errors: those of reading the directory.
  Result<std::vector<Entry>> list() const;

  std::string log_path() const { return directory_ + "/driver.log"; }

  /// The driver, if one lives.
  std::optional<ProcessIdentity> driver() const;
  /// Becomes the driver, as long as the descriptor is open. Nothing: another one is (after `patience`: it may be
  /// leaving).
  Result<std::optional<Fd>> lock(int patience_milliseconds) const;

 private:
  std::string directory_;
  std::string lock_path_;
};

}  // namespace allot
