# llhttp, as Llhttp::Llhttp: the system's library where there is one
# (libllhttp-dev of newer Debians), else the C sources of Debian's node-llhttp,
# compiled here into a static library.
find_path(LLHTTP_INCLUDE_DIR llhttp.h PATH_SUFFIXES llhttp)
find_library(LLHTTP_LIBRARY llhttp)
find_path(LLHTTP_SOURCE_DIR llhttp.c PATHS /usr/share/llhttp NO_DEFAULT_PATH)
include(FindPackageHandleStandardArgs)
if(LLHTTP_LIBRARY)
  find_package_handle_standard_args(Llhttp REQUIRED_VARS LLHTTP_LIBRARY LLHTTP_INCLUDE_DIR)
else()
  find_path(LLHTTP_NODE_INCLUDE_DIR llhttp.h PATHS /usr/share/include/llhttp NO_DEFAULT_PATH)
  find_package_handle_standard_args(Llhttp REQUIRED_VARS LLHTTP_SOURCE_DIR LLHTTP_NODE_INCLUDE_DIR)
endif()
if(Llhttp_FOUND AND NOT TARGET Llhttp::Llhttp)
  if(LLHTTP_LIBRARY)
    add_library(Llhttp::Llhttp UNKNOWN IMPORTED)
    set_target_properties(Llhttp::Llhttp PROPERTIES IMPORTED_LOCATION ${LLHTTP_LIBRARY}
      INTERFACE_INCLUDE_DIRECTORIES ${LLHTTP_INCLUDE_DIR})
  else()
    add_library(sluice_llhttp STATIC ${LLHTTP_SOURCE_DIR}/api.c ${LLHTTP_SOURCE_DIR}/http.c
                                     ${LLHTTP_SOURCE_DIR}/llhttp.c)
    target_include_directories(sluice_llhttp SYSTEM PUBLIC ${LLHTTP_NODE_INCLUDE_DIR})
    target_compile_options(sluice_llhttp PRIVATE -O2 -w)
    add_library(Llhttp::Llhttp ALIAS sluice_llhttp)
  endif()
endif()
mark_as_advanced(LLHTTP_INCLUDE_DIR LLHTTP_LIBRARY LLHTTP_SOURCE_DIR LLHTTP_NODE_INCLUDE_DIR)
