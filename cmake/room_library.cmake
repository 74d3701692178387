# room_library(<room> [FOLDER <folder>] [SRCS ...] [HDRS ...] [TESTS ...] [DEPS ...] [PRIVATE_DEPS ...]
#              [TEST_DEPS ...])
#
# One static library for each room (ARCHITECTURE.md, table of rooms). The only include root that a
# room offers is build/<preset>/rooms/<room>/, which holds one link, <room>, to its sources: an
# include of a room that is not among DEPS does not compile. Paths are relative to the room.
#   DEPS          rooms and libraries that the room's headers use: inferd::base, absl::status, ...
#   PRIVATE_DEPS  libraries that only its sources use
#   TESTS         sources of <room>_test, one binary a room, ctest label "unit.<room>"
#   TEST_DEPS     what only the tests use
#   FOLDER        where its sources lie and the only folder it sees of its own; default: <room>. A part
#                 of a room that must not know the rest is a library of its own: governance/verify
function(room_library room)
  cmake_parse_arguments(ROOM "" "FOLDER" "SRCS;HDRS;TESTS;DEPS;PRIVATE_DEPS;TEST_DEPS" ${ARGN})
  if(NOT ROOM_FOLDER)
    set(ROOM_FOLDER ${room})
  endif()
  set(view ${CMAKE_BINARY_DIR}/rooms/${room})
  cmake_path(GET ROOM_FOLDER PARENT_PATH parent)
  file(MAKE_DIRECTORY ${view}/${parent})
  file(CREATE_LINK ${PROJECT_SOURCE_DIR}/${ROOM_FOLDER} ${view}/${ROOM_FOLDER} SYMBOLIC)
  list(TRANSFORM ROOM_HDRS PREPEND ${view}/${ROOM_FOLDER}/)
  list(TRANSFORM ROOM_SRCS PREPEND ${PROJECT_SOURCE_DIR}/${ROOM_FOLDER}/)
  list(TRANSFORM ROOM_TESTS PREPEND ${PROJECT_SOURCE_DIR}/${ROOM_FOLDER}/)
  if(ROOM_SRCS)
    set(visibility PUBLIC)
    set(private PRIVATE)
    add_library(inferd_${room} STATIC ${ROOM_SRCS})
    target_link_libraries(inferd_${room} PRIVATE inferd_warnings ${ROOM_PRIVATE_DEPS})
  else()
    set(visibility INTERFACE)
    add_library(inferd_${room} INTERFACE)
  endif()
  add_library(inferd::${room} ALIAS inferd_${room})
  target_include_directories(inferd_${room} ${visibility} ${view})
  target_sources(inferd_${room} ${visibility} FILE_SET HEADERS BASE_DIRS ${view} FILES ${ROOM_HDRS})
  target_link_libraries(inferd_${room} ${visibility} inferd_flags ${ROOM_DEPS})
  if(ROOM_TESTS)
    room_test(${room}_test LABELS unit ${room} SRCS ${ROOM_TESTS}
              DEPS inferd::${room} ${ROOM_PRIVATE_DEPS} ${ROOM_TEST_DEPS})
  endif()
endfunction()

# room_test(<name> SRCS ... DEPS ... LABELS ... [TIMEOUT seconds])
# A GoogleTest binary whose tests ctest lists one by one. Sources are absolute, or relative to the
# current folder.
function(room_test name)
  cmake_parse_arguments(TEST "" "TIMEOUT" "SRCS;DEPS;LABELS" ${ARGN})
  if(NOT TEST_TIMEOUT)
    set(TEST_TIMEOUT 300)
  endif()
  add_executable(${name} ${TEST_SRCS})
  target_link_libraries(${name} PRIVATE ${TEST_DEPS} inferd_flags inferd_warnings
                                        GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE
    INFERD_SOURCE_DIR="${PROJECT_SOURCE_DIR}" INFERD_BINARY_DIR="${CMAKE_BINARY_DIR}")
  # One label that `ctest -L` finds by each of its parts: a list would not survive discovery.
  string(JOIN "." label ${TEST_LABELS})
  set(environment)
  if(INFERD_SANITIZE MATCHES thread)  # for the processes that a test starts, too
    set(environment ENVIRONMENT TSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/tests/tsan.supp)
  endif()
  list(GET TEST_LABELS 0 kind)  # tests/CMakeLists.txt makes a target of some kinds
  set_property(GLOBAL APPEND PROPERTY inferd_tests_${kind} ${name})
  gtest_discover_tests(${name} DISCOVERY_TIMEOUT 60
    PROPERTIES LABELS "${label}" TIMEOUT ${TEST_TIMEOUT} ${environment})
endfunction()
