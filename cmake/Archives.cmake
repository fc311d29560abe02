# SLUICE_STATIC: the archives that Debian ships take the place of its shared
# libraries. What stays shared is listed in docs/limits.md: glibc, and BoringSSL,
# of which Debian has no archive (BORINGSSL_ROOT may name one).

# In place of a pkg-config target's libraries, these archives.
function(sluice_link_archives target)
  set(archives)
  foreach(archive ${ARGN})
    find_library(SLUICE_${archive} NAMES ${archive} REQUIRED)
    mark_as_advanced(SLUICE_${archive})
    list(APPEND archives ${SLUICE_${archive}})
  endforeach()
  set_target_properties(${target} PROPERTIES
    INTERFACE_LINK_LIBRARIES "${archives};Threads::Threads;${CMAKE_DL_LIBS}")
endfunction()

set(SLUICE_FMT fmt::fmt)
if(SLUICE_STATIC)
  sluice_link_archives(PkgConfig::LIBUV libuv_a.a)
  sluice_link_archives(PkgConfig::CARES libcares.a)
  sluice_link_archives(PkgConfig::NCURSES libncursesw.a libtinfo.a)
  # Debian has no archive of fmt; its headers have all of it.
  set(SLUICE_FMT fmt::fmt-header-only)
  add_link_options(-static-libstdc++ -static-libgcc)
endif()
