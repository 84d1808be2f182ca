# SPDX-License-Identifier: MIT
# One function per kind of target.

# The build tree mirrors the installed tree, so that programs find each other by the same relative paths.
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/${CMAKE_INSTALL_BINDIR}")
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/${CMAKE_INSTALL_LIBDIR}")
set(ALLOT_PLUGIN_DIR "${CMAKE_INSTALL_LIBDIR}/allot/plugins")
set(ALLOT_LIBEXEC_DIR "${CMAKE_INSTALL_LIBEXECDIR}/allot")
set(ALLOT_CLUSTER_CONFIG_DIR "${CMAKE_INSTALL_DATADIR}/allot/cluster_configs")
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

if(ALLOT_SANITIZE)  # a list of commas, which generator expressions would split
  set(ALLOT_SANITIZERS_ON ON)
endif()
add_library(allot_options INTERFACE)
target_compile_features(allot_options INTERFACE cxx_std_20)
target_include_directories(allot_options INTERFACE "${CMAKE_SOURCE_DIR}")
target_compile_options(allot_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual
                       # g++ 12 sees overlaps in std::string's operator+ that are not there (GCC bug 105651)
                       $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>
                       # and, with sanitizers in it, members of std::function that nobody has set; that the thread
                       # sanitizer does not see fences (Asio has some) is known
                       $<$<AND:$<CXX_COMPILER_ID:GNU>,$<BOOL:${ALLOT_SANITIZERS_ON}>>:-Wno-maybe-uninitialized -Wno-tsan>
                       $<$<BOOL:${ALLOT_WARNINGS_AS_ERRORS}>:-Werror>)
target_compile_definitions(allot_options INTERFACE
  _FILE_OFFSET_BITS=64 ALLOT_VERSION="${PROJECT_VERSION}" $<$<BOOL:${ALLOT_FAULT_POINTS}>:ALLOT_FAULT_POINTS>)
if(ALLOT_SANITIZE)
  target_compile_options(allot_options INTERFACE -fsanitize=${ALLOT_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(allot_options INTERFACE -fsanitize=${ALLOT_SANITIZE})
  target_compile_definitions(allot_options INTERFACE ALLOT_SANITIZED)
endif()
target_link_libraries(allot_options INTERFACE tl::expected Threads::Threads)

# Objects of one folder of the house; `allot_add_main_library` puts them into liballot.so.
function(allot_add_component name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LIBRARIES")
  add_library(allot_${name} OBJECT ${arg_SOURCES})
  set_target_properties(allot_${name} PROPERTIES POSITION_INDEPENDENT_CODE ON)
  target_link_libraries(allot_${name} PUBLIC allot_options ${arg_LIBRARIES})
  set_property(GLOBAL APPEND PROPERTY ALLOT_COMPONENTS allot_${name})
endfunction()

function(allot_add_main_library)
  get_property(components GLOBAL PROPERTY ALLOT_COMPONENTS)
  add_library(allot SHARED)
  set_target_properties(allot PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}
                        EXPORT_NAME allot)
  foreach(component IN LISTS components)
    target_sources(allot PRIVATE $<TARGET_OBJECTS:${component}>)
    target_link_libraries(allot PRIVATE $<BUILD_INTERFACE:${component}>)
  endforeach()
  target_link_libraries(allot PUBLIC tl::expected PRIVATE Boost::filesystem fmt::fmt Threads::Threads ${CMAKE_DL_LIBS})
  target_compile_features(allot PUBLIC cxx_std_20)
  target_include_directories(allot PUBLIC $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}>
                             $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/allot>)
endfunction()

# A dlopen-able plugin: liballot_NAME.so in the plugin directory, one exported symbol.
function(allot_add_plugin name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LIBRARIES")
  add_library(allot_plugin_${name} MODULE ${arg_SOURCES})
  set_target_properties(allot_plugin_${name} PROPERTIES
    OUTPUT_NAME allot_${name} LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/${ALLOT_PLUGIN_DIR}"
    CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON INSTALL_RPATH "$ORIGIN/../..")
  target_link_libraries(allot_plugin_${name} PRIVATE allot allot_options ${arg_LIBRARIES})
  install(TARGETS allot_plugin_${name} LIBRARY DESTINATION "${ALLOT_PLUGIN_DIR}")
endfunction()

function(allot_add_program name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "DESTINATION" "SOURCES;LIBRARIES")
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE allot allot_options ${arg_LIBRARIES})
  if(arg_DESTINATION)
    file(RELATIVE_PATH to_lib "/${arg_DESTINATION}" "/${CMAKE_INSTALL_LIBDIR}")
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/${arg_DESTINATION}"
                          INSTALL_RPATH "$ORIGIN/${to_lib}")
    install(TARGETS ${name} RUNTIME DESTINATION "${arg_DESTINATION}")
  endif()
endfunction()

# A Catch2 program in tests/. Registers one ctest entry per test case; labels are for `ctest -L`.
function(allot_add_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "TIMEOUT" "SOURCES;LIBRARIES;LABELS;ARGUMENTS")
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  if(ALLOT_SANITIZE)  # every process that a test starts carries the sanitizer
    math(EXPR arg_TIMEOUT "${arg_TIMEOUT} * 4")
  endif()
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE allot allot_options allot_test_main ${arg_LIBRARIES})
  target_compile_definitions(${name} PRIVATE ALLOT_BINARY_DIR="${CMAKE_BINARY_DIR}" ALLOT_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  catch_discover_tests(${name} TEST_PREFIX "${name}: " EXTRA_ARGS ${arg_ARGUMENTS}
                       PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "${arg_LABELS}")
endfunction()
