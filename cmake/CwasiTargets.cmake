# Flags every first-party target gets; third-party code is linked as SYSTEM and never sees them.
add_library(cwasi_options INTERFACE)
target_compile_options(cwasi_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wold-style-cast -Wnon-virtual-dtor
  -Woverloaded-virtual -Wundef -Wimplicit-fallthrough -Wformat=2 -Wdeprecated-copy-dtor
  $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety>
  $<$<BOOL:${CWASI_WERROR}>:-Werror> -fno-omit-frame-pointer)
target_include_directories(cwasi_options INTERFACE ${CMAKE_SOURCE_DIR}/src)
if(CWASI_SANITIZE)
  # GCC's manual: with a sanitizer, -Wmaybe-uninitialized has false positives (here: in <regex>).
  target_compile_options(cwasi_options INTERFACE -fsanitize=${CWASI_SANITIZE} -fno-sanitize-recover=all
    $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  target_link_options(cwasi_options INTERFACE -fsanitize=${CWASI_SANITIZE})
endif()
if(CWASI_FUZZ)  # coverage instrumentation for the code under test, not only for the harness
  target_compile_options(cwasi_options INTERFACE -fsanitize=fuzzer-no-link)
endif()

# Where this build's files lie, for tests and benchmarks.
function(cwasi_test_paths)
  add_library(test_paths STATIC ${CMAKE_SOURCE_DIR}/test/support/paths.cc)
  target_include_directories(test_paths PUBLIC ${CMAKE_SOURCE_DIR})
  target_link_libraries(test_paths PRIVATE cwasi_options)
  target_compile_definitions(test_paths PRIVATE CWASI_GUEST_DIR="${CWASI_GUEST_DIR}"
    CWASI_BIN_DIR="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}" CWASI_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
endfunction()

# cwasi_test(name SOURCES a_test.cc [LABEL unit] DEPS cwasi::x [GUESTS g ...]): one test binary.
# test/support/paths.h says where the guests are; the binary depends on those listed.
function(cwasi_test name)
  cmake_parse_arguments(A "" "LABEL" "SOURCES;DEPS;GUESTS" ${ARGN})
  if(NOT A_LABEL)
    set(A_LABEL unit)
  endif()
  add_executable(${name} ${A_SOURCES})
  # Tests are compiled by the lint build's compiler, but not linted: gtest's macros cost minutes a file.
  set_target_properties(${name} PROPERTIES CXX_CLANG_TIDY "")
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})  # test/support
  target_link_libraries(${name} PRIVATE cwasi_options ${A_DEPS} test_paths GTest::gmock GTest::gtest_main)
  foreach(guest ${A_GUESTS})
    add_dependencies(${name} guest_${guest})
  endforeach()
  gtest_discover_tests(${name} PROPERTIES LABELS ${A_LABEL} DISCOVERY_MODE PRE_TEST)
endfunction()

# cwasi_layer(base SOURCES a.cc HEADERS a.h TESTS a_test.cc [TEST_DEPS ...] [GUESTS ...] DEPS cwasi::other)
# A library, a header set that is compiled header by header, and one test binary labelled "unit".
# Paths are relative to the layer's folder.
function(cwasi_layer name)
  cmake_parse_arguments(A "" "" "SOURCES;HEADERS;TESTS;DEPS;PRIVATE_DEPS;TEST_DEPS;GUESTS" ${ARGN})
  add_library(${name} STATIC ${A_SOURCES})
  add_library(cwasi::${name} ALIAS ${name})
  target_sources(${name} PUBLIC FILE_SET HEADERS BASE_DIRS ${CMAKE_SOURCE_DIR}/src FILES ${A_HEADERS})
  set_target_properties(${name} PROPERTIES VERIFY_INTERFACE_HEADER_SETS ON)
  target_link_libraries(${name} PUBLIC cwasi_options ${A_DEPS} PRIVATE ${A_PRIVATE_DEPS})
  if(BUILD_TESTING AND A_TESTS)
    cwasi_test(${name}_test SOURCES ${A_TESTS} DEPS ${name} ${A_TEST_DEPS} GUESTS ${A_GUESTS})
  endif()
endfunction()
