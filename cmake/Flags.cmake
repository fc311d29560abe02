# The warnings, hardening and sanitizer flags of our own code, as the target
# sluice_flags. -Wsign-conversion stays off: the C interfaces below (libuv,
# llhttp, sockets) mix int and size_t so much that casts would hide the rest.
add_library(sluice_flags INTERFACE)
target_compile_options(sluice_flags INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wnon-virtual-dtor -Woverloaded-virtual
  -Wcast-align -Wunused -Wformat=2 -Wimplicit-fallthrough
  -fno-omit-frame-pointer -fstack-protector-strong)

option(SLUICE_WERROR "Treat warnings as errors" ON)
if(SLUICE_WERROR)
  target_compile_options(sluice_flags INTERFACE -Werror)
endif()

if(SLUICE_SANITIZE)
  # -Wno-maybe-uninitialized: the instrumentation hides from g++ what it must
  # see to know; the release build still has the warning.
  add_compile_options(-fsanitize=${SLUICE_SANITIZE} -fno-sanitize-recover=all
    $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  add_link_options(-fsanitize=${SLUICE_SANITIZE})
elseif(NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
  add_compile_definitions(_FORTIFY_SOURCE=2)
endif()
if(SLUICE_FUZZ)
  # Coverage of our own code steers the fuzzer; only the targets have its main().
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
# Programs only, no shared libraries: -fPIE spares the detour through the tables
# that -fPIC needs, and what nobody calls is left out.
add_compile_options(-fPIE -ffunction-sections -fdata-sections)
add_link_options(-pie -Wl,--gc-sections)
# Hardening that the compiler may not know on every processor: returns and
# indirect jumps land where they may only (CET), and no stack jumps over a guard.
include(CheckCXXCompilerFlag)
foreach(flag -fcf-protection=full -fstack-clash-protection)
  string(MAKE_C_IDENTIFIER "SLUICE_HAS${flag}" has)
  check_cxx_compiler_flag(${flag} ${has})
  if(${has})
    add_compile_options(${flag})
  endif()
endforeach()
add_link_options(-Wl,-z,relro,-z,now -Wl,-z,noexecstack)
