// SPDX-License-Identifier: MIT
// Where the parts of this installation lie, found from where liballot.so lies: the tree may be moved as a whole.
#pragma once

#include <string>

namespace allot {

std::string worker_node_program();                        ///< allot-worker-node
std::string guard_program();                              ///< allot-guard
std::string element_program();                            ///< allot-element
std::string agent_program(const std::string& scheduler);  ///< allot-SCHEDULER-agent, which there may not be
std::string plugin_directory();                           ///< of liballot_NAME.so
std::string cluster_config_directory();                   ///< of the clusters that come with allot

}  // namespace allot
