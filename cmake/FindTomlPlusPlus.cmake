# toml++ as TomlPlusPlus::TomlPlusPlus. Header only, compiled without
# exceptions: a bad file is a result, not a throw.
find_path(TOMLPLUSPLUS_INCLUDE_DIR toml++/toml.h)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(TomlPlusPlus REQUIRED_VARS TOMLPLUSPLUS_INCLUDE_DIR)
if(TomlPlusPlus_FOUND AND NOT TARGET TomlPlusPlus::TomlPlusPlus)
  add_library(TomlPlusPlus::TomlPlusPlus INTERFACE IMPORTED)
  target_include_directories(TomlPlusPlus::TomlPlusPlus SYSTEM INTERFACE ${TOMLPLUSPLUS_INCLUDE_DIR})
  target_compile_definitions(TomlPlusPlus::TomlPlusPlus INTERFACE TOML_EXCEPTIONS=0)
endif()
mark_as_advanced(TOMLPLUSPLUS_INCLUDE_DIR)
