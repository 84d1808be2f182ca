// SPDX-License-Identifier: MIT
// Named places where a test build can be killed. Compiled to nothing unless ALLOT_FAULT_POINTS is defined.
//
// ALLOT_FAULT=NAME:N[,NAME:N…] kills the process with SIGKILL at its N-th passage of NAME (1-based, counted per
// process). ALLOT_SABOTAGE=NAME[,NAME…] makes a build lie on purpose, so that the checker can be shown to notice. Both
// are read from the environment of driver, worker node and guard alike; ALLOT_FAULT_FLAG=PATH makes a fault fire in one
// process only: the first that can create PATH with O_EXCL. ALLOT_FAULT_ROLE=PROGRAM: only in processes of that name.
#pragma once

namespace allot {

#ifdef ALLOT_FAULT_POINTS
void pass_fault_point(const char* name);
bool is_sabotaged(const char* name);
#define ALLOT_FAULT_POINT(name) ::allot::pass_fault_point(name)
#define ALLOT_SABOTAGED(name) ::allot::is_sabotaged(name)
#else
#define ALLOT_FAULT_POINT(name) ((void)0)
#define ALLOT_SABOTAGED(name) false
#endif

}  // namespace allot
