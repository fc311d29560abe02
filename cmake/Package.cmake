# Where everything is installed, and the Debian package: ./dev package.
#
# Debian's BoringSSL lies in a folder that the loader does not search, so the
# installed binary keeps its rpath; the package then depends on
# android-libboringssl. With BORINGSSL_ROOT the library must be static.
include(GNUInstallDirs)
# Packaging builds no tests.
set(CMAKE_SKIP_INSTALL_ALL_DEPENDENCY ON)

install(TARGETS sluice RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
set_target_properties(sluice PROPERTIES INSTALL_RPATH_USE_LINK_PATH ON)
install(FILES docs/man/sluice.1 docs/man/sluice-ctl.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES docs/man/sluice.toml.5 DESTINATION ${CMAKE_INSTALL_MANDIR}/man5)
install(FILES deploy/completion/sluice.bash DESTINATION share/bash-completion/completions RENAME sluice)
install(FILES deploy/completion/_sluice DESTINATION share/zsh/vendor-completions)
install(FILES deploy/completion/sluice.fish DESTINATION share/fish/vendor_completions.d)
install(FILES README.md CHANGELOG.md deploy/debian/changelog DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} RENAME copyright)
install(DIRECTORY deploy/examples DESTINATION ${CMAKE_INSTALL_DOCDIR} USE_SOURCE_PERMISSIONS)
install(FILES deploy/systemd/sluice.service deploy/systemd/sluice.socket DESTINATION lib/systemd/system)
install(FILES deploy/systemd/sluice.sysusers DESTINATION lib/sysusers.d RENAME sluice.conf)
install(FILES deploy/systemd/sluice.tmpfiles DESTINATION lib/tmpfiles.d RENAME sluice.conf)
install(FILES deploy/systemd/sluice.toml DESTINATION /etc/sluice)
install(FILES deploy/systemd/sluice.logrotate DESTINATION /etc/logrotate.d RENAME sluice)
install(FILES deploy/debian/lintian-overrides DESTINATION share/lintian/overrides RENAME sluice)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_CURRENT_SOURCE_DIR}/cmake/Compress.cmake)
set(CPACK_PACKAGE_CONTACT "sluice maintainers <sluice@example.org>" CACHE STRING "Maintainer of the Debian package")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "reverse proxy that splits between two versions and trips back")
set(CPACK_PACKAGE_DESCRIPTION
"sluice stands between clients and two versions of a service, blue (known
good) and green (the candidate). It moves traffic from one to the other in
steps, watches every request that it carries, and puts everything back on
blue by itself, within a second, when green goes bad.")
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS /usr/lib/${CMAKE_LIBRARY_ARCHITECTURE}/android)
set(CPACK_DEBIAN_PACKAGE_DEPENDS adduser)
# The roots that upstreams' certificates are checked against; what keeps the access log small.
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "ca-certificates, logrotate")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
foreach(script postinst prerm postrm conffiles)
  list(APPEND CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${CMAKE_CURRENT_SOURCE_DIR}/deploy/debian/${script})
endforeach()
include(CPack)
