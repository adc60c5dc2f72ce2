# Debian packages, made by CPack from a build whose prefix is /usr: ./dev package. Each install() names the package that
# its files are in.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME svmd)
set(CPACK_PACKAGE_CONTACT "the svmd authors <svmd@svmd.org>")
set(CPACK_PACKAGE_VENDOR svmd)
set(CPACK_COMPONENTS_ALL svmd libsvmd1 libsvmd-dev python3-svmd svmd-ctl svmd-exporter)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_GROUPING IGNORE)
set(CPACK_SET_DESTDIR ON)
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${CMAKE_BINARY_DIR} ${CMAKE_BINARY_DIR}/libclient/src)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS_POLICY ">=")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(debian ${CMAKE_CURRENT_LIST_DIR}/debian)

# What every package has of its own accord, and what it says about itself: a line, and a paragraph behind it.
macro(svmd_package name section summary text)
  string(TOUPPER ${name} upper)
  set(CPACK_DEBIAN_${upper}_PACKAGE_NAME ${name})
  set(CPACK_DEBIAN_${upper}_PACKAGE_SECTION ${section})
  set(CPACK_DEBIAN_${upper}_PACKAGE_PRIORITY optional)
  set(CPACK_DEBIAN_${upper}_DESCRIPTION "${summary}\n${text}")
  install(FILES ${CMAKE_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${name} RENAME copyright
          COMPONENT ${name})
  install(FILES ${debian}/changelog DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${name} RENAME changelog.Debian
          COMPONENT ${name})
  install(FILES ${debian}/${name}.lintian-overrides DESTINATION ${CMAKE_INSTALL_DATADIR}/lintian/overrides
          RENAME ${name} COMPONENT ${name})
endmacro()

svmd_package(svmd admin "shared virtual memory over the CPU and devices (daemon)"
"svmd owns a range of addresses that means the same bytes in every process
and on every device of a machine, decides where its pages live, and keeps
account of who has how much memory where.
.
This package has the daemon, the process that holds its descriptors while
it is restarted, and their units.")
svmd_package(libsvmd1 libs "shared virtual memory over the CPU and devices (library)"
"svmd owns a range of addresses that means the same bytes in every process
and on every device of a machine, and decides where its pages live.
.
This package has the library that programs ask it with.")
svmd_package(libsvmd-dev libdevel "shared virtual memory over the CPU and devices (development)"
"svmd owns a range of addresses that means the same bytes in every process
and on every device of a machine, and decides where its pages live.
.
This package has what programs are built with that use its library.")
svmd_package(python3-svmd python "shared virtual memory over the CPU and devices (Python)"
"svmd owns a range of addresses that means the same bytes in every process
and on every device of a machine, and decides where its pages live.
.
This package has its library for Python, where a range is a memoryview or
a numpy array.")
svmd_package(svmd-ctl admin "shared virtual memory over the CPU and devices (tools)"
"svmd owns a range of addresses that means the same bytes in every process
and on every device of a machine, and decides where its pages live.
.
This package has svmd-ctl, which shows and changes what a running svmd
does, and svmd-run, which gives an unmodified program a heap in it.")
svmd_package(svmd-exporter net "shared virtual memory over the CPU and devices (metrics)"
"svmd owns a range of addresses that means the same bytes in every process
and on every device of a machine, and decides where its pages live.
.
This package has the program that answers Prometheus with what a running
svmd says of itself, alerts for Prometheus, and a dashboard for Grafana.")
set(CPACK_DEBIAN_SVMD-EXPORTER_PACKAGE_DEPENDS "svmd (>= ${PROJECT_VERSION}-1), libsvmd1 (>= ${PROJECT_VERSION}-1)")
set(CPACK_DEBIAN_SVMD-EXPORTER_PACKAGE_SUGGESTS prometheus)
set(CPACK_DEBIAN_SVMD-EXPORTER_PACKAGE_CONTROL_EXTRA ${debian}/exporter/postinst ${debian}/exporter/prerm
    ${debian}/exporter/postrm)
set(CPACK_DEBIAN_LIBSVMD-DEV_PACKAGE_DEPENDS "libsvmd1 (= ${PROJECT_VERSION}-1), libprotobuf-c-dev")
set(CPACK_DEBIAN_PYTHON3-SVMD_PACKAGE_DEPENDS "libsvmd1 (>= ${PROJECT_VERSION}-1), python3, python3-cffi")
set(CPACK_DEBIAN_PYTHON3-SVMD_PACKAGE_RECOMMENDS python3-numpy)
set(CPACK_DEBIAN_PYTHON3-SVMD_PACKAGE_ARCHITECTURE all)
set(CPACK_DEBIAN_PYTHON3-SVMD_PACKAGE_CONTROL_EXTRA ${debian}/python3/postinst ${debian}/python3/prerm)
set(CPACK_DEBIAN_SVMD-CTL_PACKAGE_DEPENDS "libsvmd1 (>= ${PROJECT_VERSION}-1)")
set(CPACK_DEBIAN_LIBSVMD1_PACKAGE_CONTROL_EXTRA ${debian}/triggers)
# What svmd is reloaded with.
set(CPACK_DEBIAN_SVMD_PACKAGE_DEPENDS "svmd-ctl (>= ${PROJECT_VERSION}-1), libsvmd1 (>= ${PROJECT_VERSION}-1), systemd | systemd-sysusers")
set(CPACK_DEBIAN_SVMD_PACKAGE_RECOMMENDS "default-dbus-system-bus | dbus-system-bus")
set(CPACK_DEBIAN_SVMD_PACKAGE_SUGGESTS polkitd)
set(CPACK_DEBIAN_SVMD_PACKAGE_CONTROL_EXTRA ${debian}/postinst ${debian}/prerm ${debian}/postrm ${debian}/conffiles)
install(FILES ${debian}/svmd.conf DESTINATION ${CMAKE_INSTALL_FULL_SYSCONFDIR}/svmd COMPONENT svmd)

set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_CURRENT_LIST_DIR}/compress.cmake)
include(CPack)
