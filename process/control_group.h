// SPDX-License-Identifier: MIT
// Control groups (cgroup v2): the one thing that can promise that nothing of a tree of processes is left. A process
// cannot leave its group by forking, by setsid(2), or by clearing its environment.
#pragma once

#include <chrono>
#include <string>

namespace allot {

/// Makes the group `name` below the caller's own group. Returns its absolute directory; empty where that is not
/// possible: no cgroup v2 is mounted, the caller may not write there, or the kernel (before Linux 5.14) cannot kill a
/// group as a whole.
std::string make_control_group(const std::string& name);

/// Moves the calling process into the group; what it starts from now on is in it, too. False: it stays where it is.
bool join_control_group(const std::string& directory);

/// Kills everything in the group and below it and waits until nothing of it lives. False if something still does after
/// `at_most`, or the kernel refuses. A group that is not there is empty.
bool empty_control_group(const std::string& directory, std::chrono::milliseconds at_most);

/// Removes an empty group with the groups below it. One that is not empty stays.
void remove_control_group(const std::string& directory);

}  // namespace allot
