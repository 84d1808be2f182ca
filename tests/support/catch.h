// SPDX-License-Identifier: MIT
// Catch2 2.13 (Debian 12) or 3 (Debian 13), whichever is there.
#pragma once

#ifdef ALLOT_CATCH2_V3
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif
