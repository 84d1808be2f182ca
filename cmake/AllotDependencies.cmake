# SPDX-License-Identifier: MIT
# Every dependency, and every difference between Debian releases, in one place.
find_package(Threads REQUIRED)
find_package(tl-expected REQUIRED)
find_package(Boost REQUIRED COMPONENTS filesystem)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(tomlplusplus REQUIRED)
find_package(CLI11 REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
# Header only (XXH_INLINE_ALL): the guard is linked statically, and there is nothing to link.
set_target_properties(PkgConfig::XXHASH PROPERTIES INTERFACE_LINK_LIBRARIES "")
pkg_check_modules(HWLOC REQUIRED IMPORTED_TARGET hwloc)

# Optional: without it everything but the Slurm agent is built. It comes without a pkg-config file.
find_path(SLURM_INCLUDE_DIR slurm/slurm.h)
find_library(SLURM_LIBRARY slurm)
if(SLURM_INCLUDE_DIR AND SLURM_LIBRARY)
  set(SLURM_FOUND TRUE)
  add_library(allot_libslurm INTERFACE)
  target_include_directories(allot_libslurm SYSTEM INTERFACE "${SLURM_INCLUDE_DIR}")
  target_link_libraries(allot_libslurm INTERFACE "${SLURM_LIBRARY}")
else()
  message(STATUS "libslurm is not here: the slurm plugin will say so (Debian: libslurm-dev)")
endif()

if(ALLOT_BUILD_TESTS)
  # Catch2 2.13 (Debian 12) is one header; 3 (Debian 13) is a library. tests/support/catch.h includes the right one.
  find_package(Catch2 REQUIRED)
  add_library(allot_catch2 INTERFACE)
  if(Catch2_VERSION VERSION_LESS 3)
    target_link_libraries(allot_catch2 INTERFACE Catch2::Catch2)
  else()
    target_link_libraries(allot_catch2 INTERFACE Catch2::Catch2)
    target_compile_definitions(allot_catch2 INTERFACE ALLOT_CATCH2_V3)
  endif()
endif()
