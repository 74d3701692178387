# What every target of ours is compiled with. Nothing here knows a room.

find_program(INFERD_CCACHE ccache)
if(INFERD_CCACHE)
  set(CMAKE_C_COMPILER_LAUNCHER ${INFERD_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${INFERD_CCACHE})
endif()
find_program(INFERD_MOLD mold)
if(INFERD_MOLD)
  add_link_options(-fuse-ld=mold)
endif()

# x86-64-v2: the daemon starts anywhere and names what it misses. Wider instructions live in
# one file for each instruction set (cpu/), chosen at run time.
# -ffp-contract=off: the numeric contract says where products are fused (docs/design/0002).
add_library(inferd_flags INTERFACE)
target_compile_options(inferd_flags INTERFACE -march=x86-64-v2 -ffp-contract=off -fno-math-errno)
add_library(inferd_warnings INTERFACE)
target_compile_options(inferd_warnings INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Wnon-virtual-dtor -Wold-style-cast -Werror)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 sees uninitialised values in optimised StatusOr and std::string where there are none.
  target_compile_options(inferd_warnings INTERFACE -Wno-maybe-uninitialized -Wno-restrict)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  # From 18 on clang gives constrained templates other names than g++ 12 gave those in abseil.
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-fclang-abi-compat=17>)
  # libstdc++ 12's own std::stable_sort calls what it declares deprecated.
  target_compile_options(inferd_warnings INTERFACE -Wthread-safety -Wno-deprecated-declarations)
endif()

if(INFERD_SANITIZE)
  add_compile_options(-fsanitize=${INFERD_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${INFERD_SANITIZE})
endif()
