# BoringSSL, as BoringSSL::SSL and BoringSSL::Crypto.
#
# BORINGSSL_ROOT names a build of one's own (with include/ and lib/); without
# it Debian's android-libboringssl-dev is taken, whose libraries lie in a
# folder that the loader does not search, hence the rpath.
set(BORINGSSL_ROOT "" CACHE PATH "A BoringSSL build with include/ and lib/")
if(BORINGSSL_ROOT)
  set(_hints NO_DEFAULT_PATH PATHS ${BORINGSSL_ROOT})
  find_path(BORINGSSL_INCLUDE_DIR openssl/base.h ${_hints} PATH_SUFFIXES include)
  find_library(BORINGSSL_SSL_LIBRARY ssl ${_hints} PATH_SUFFIXES lib ssl .)
  find_library(BORINGSSL_CRYPTO_LIBRARY crypto ${_hints} PATH_SUFFIXES lib crypto .)
else()
  find_path(BORINGSSL_INCLUDE_DIR openssl/base.h NO_DEFAULT_PATH PATHS /usr/include/android)
  set(_dir /usr/lib/${CMAKE_LIBRARY_ARCHITECTURE}/android)
  find_library(BORINGSSL_SSL_LIBRARY ssl NO_DEFAULT_PATH PATHS ${_dir})
  find_library(BORINGSSL_CRYPTO_LIBRARY crypto NO_DEFAULT_PATH PATHS ${_dir})
endif()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(BoringSSL REQUIRED_VARS BORINGSSL_SSL_LIBRARY BORINGSSL_CRYPTO_LIBRARY
                                  BORINGSSL_INCLUDE_DIR)
if(BoringSSL_FOUND AND NOT TARGET BoringSSL::SSL)
  get_filename_component(_rpath ${BORINGSSL_CRYPTO_LIBRARY} DIRECTORY)
  add_library(BoringSSL::Crypto UNKNOWN IMPORTED)
  set_target_properties(BoringSSL::Crypto PROPERTIES IMPORTED_LOCATION ${BORINGSSL_CRYPTO_LIBRARY}
    INTERFACE_INCLUDE_DIRECTORIES ${BORINGSSL_INCLUDE_DIR} INTERFACE_LINK_OPTIONS "-Wl,-rpath,${_rpath}")
  add_library(BoringSSL::SSL UNKNOWN IMPORTED)
  set_target_properties(BoringSSL::SSL PROPERTIES IMPORTED_LOCATION ${BORINGSSL_SSL_LIBRARY}
    INTERFACE_LINK_LIBRARIES BoringSSL::Crypto)
endif()
mark_as_advanced(BORINGSSL_INCLUDE_DIR BORINGSSL_SSL_LIBRARY BORINGSSL_CRYPTO_LIBRARY)
