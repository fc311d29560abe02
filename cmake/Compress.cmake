# CPack runs this between installing and packing: Debian has manual pages and
# changelogs compressed. -n, so that the same input gives the same file.
set(share "${CPACK_TEMPORARY_DIRECTORY}${CPACK_PACKAGING_INSTALL_PREFIX}/share")
file(GLOB documents "${share}/man/man*/*" "${share}/doc/sluice/changelog" "${share}/doc/sluice/CHANGELOG.md")
if(NOT documents)
  message(FATAL_ERROR "${share} has no manual pages")
endif()
execute_process(COMMAND gzip -9n ${documents} COMMAND_ERROR_IS_FATAL ANY)
