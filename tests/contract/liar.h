// SPDX-License-Identifier: MIT
// A good plugin with one defect put in front of it, each taken from a system that had it. The suite must notice.
#pragma once

#include <memory>
#include <string>

#include "protocol/plugin.h"

namespace allot::contract {

struct DefectInfo {
  std::string name;
  std::string noticed_by;  ///< the test case that must fail
};

/// Nothing for an unknown name.
const DefectInfo* find_defect(const std::string& name);

/// `honest` with the defect, which must be known.
std::shared_ptr<Plugin> make_liar(std::shared_ptr<Plugin> honest, const std::string& defect);

}  // namespace allot::contract
