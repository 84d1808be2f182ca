# SPDX-License-Identifier: MIT
# What `cmake --install` gives beside programs and plugins (AllotTargets.cmake): the library, the headers of the C++
# API, a CMake package and a pkg-config file. Nothing installed names the place it was installed to, so the tree may be
# moved as a whole.
include(CMakePackageConfigHelpers)

set(ALLOT_CMAKE_DIR "${CMAKE_INSTALL_LIBDIR}/cmake/allot")
set(ALLOT_HEADER_DIR "${CMAKE_INSTALL_INCLUDEDIR}/allot")

install(TARGETS allot EXPORT allot_targets LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(EXPORT allot_targets FILE allotTargets.cmake NAMESPACE allot:: DESTINATION "${ALLOT_CMAKE_DIR}")

# The C++ API: what a program that submits, a plugin, or a reader of batches includes. Headers that these do not need
# stay inside; tests/integration compiles each of these by itself against what was installed.
set(ALLOT_PUBLIC_HEADERS
  ledger/batch_directory.h ledger/driver_records.h ledger/fold.h ledger/folded_task.h ledger/output_store.h ledger/record.h ledger/record_file.h ledger/task_table.h
  process/fd.h process/install_paths.h
  engine/cluster_config_file.h
  engine/retry_policy.h)
file(GLOB protocol_headers CONFIGURE_DEPENDS RELATIVE "${CMAKE_SOURCE_DIR}" "${CMAKE_SOURCE_DIR}/protocol/*.h")
foreach(header IN LISTS protocol_headers ALLOT_PUBLIC_HEADERS)
  cmake_path(GET header PARENT_PATH folder)
  install(FILES "${CMAKE_SOURCE_DIR}/${header}" DESTINATION "${ALLOT_HEADER_DIR}/${folder}")
endforeach()

configure_package_config_file("${CMAKE_CURRENT_LIST_DIR}/allotConfig.cmake.in" "${CMAKE_BINARY_DIR}/allotConfig.cmake"
                              INSTALL_DESTINATION "${ALLOT_CMAKE_DIR}" PATH_VARS ALLOT_PLUGIN_DIR
                              NO_CHECK_REQUIRED_COMPONENTS_MACRO)
write_basic_package_version_file("${CMAKE_BINARY_DIR}/allotConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_BINARY_DIR}/allotConfig.cmake" "${CMAKE_BINARY_DIR}/allotConfigVersion.cmake"
        DESTINATION "${ALLOT_CMAKE_DIR}")

file(RELATIVE_PATH pkgconfig_to_prefix "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
string(REGEX REPLACE "/$" "" pkgconfig_to_prefix "${pkgconfig_to_prefix}")
configure_file("${CMAKE_CURRENT_LIST_DIR}/allot.pc.in" "${CMAKE_BINARY_DIR}/allot.pc" @ONLY)
install(FILES "${CMAKE_BINARY_DIR}/allot.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")

install(FILES "${CMAKE_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}")

# What --json prints, for the programs that read it.
install(DIRECTORY "${CMAKE_SOURCE_DIR}/docs/schema/" DESTINATION "${CMAKE_INSTALL_DATADIR}/allot/schema" FILES_MATCHING
        PATTERN "*.json")
