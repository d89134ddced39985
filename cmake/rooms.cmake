# defib_room(NAME SOURCES a.cc ... LINKS lib ...): one static library a room.
# defib_test(NAME SOURCES a_test.cc ... LINKS lib ...): one test program, run by ctest as NAME.
include(GoogleTest)
find_package(GTest REQUIRED)

function(defib_room name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINKS" ${ARGN})
  add_library(defib_${name} STATIC ${ARG_SOURCES})
  target_include_directories(defib_${name} PUBLIC ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(defib_${name} PUBLIC ${ARG_LINKS})
endfunction()

function(defib_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINKS" ${ARGN})
  if(DEFIB_FUZZERS)
    return()
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LINKS} GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE DEFIB_SOURCE_DIR="${PROJECT_SOURCE_DIR}" DEFIB_BINARY_DIR="${PROJECT_BINARY_DIR}")
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT 300)
endfunction()
