# The dashboard's files as data of the library sluice_admin.
#
# uPlot comes from npm's registry, pinned by admin/dashboard/package-lock.json;
# `./dev build` puts it below build/npm. UPLOT_DIR may name another folder that
# has its dist files. Without it the dashboard has everything but charts.
find_path(UPLOT_DIR uPlot.iife.min.js NO_DEFAULT_PATH
  PATHS ${CMAKE_SOURCE_DIR}/build/npm/node_modules/uplot/dist /usr/share/nodejs/uplot/dist
        /usr/share/javascript/uplot
  DOC "Where uPlot.iife.min.js lies")

set(_folder ${CMAKE_CURRENT_SOURCE_DIR}/admin/dashboard)
set(_files
  "/|text/html|${_folder}/index.html"
  "/favicon.svg|image/svg+xml|${_folder}/favicon.svg"
  "/dashboard.css|text/css|${_folder}/dashboard.css"
  "/dashboard.js|text/javascript|${_folder}/dashboard.js"
  "/panels.js|text/javascript|${_folder}/panels.js"
  "/charts.js|text/javascript|${_folder}/charts.js"
  "/format.js|text/javascript|${_folder}/format.js")
set(_uplot_js ${_folder}/no_charts.txt)
set(_uplot_css ${_folder}/no_charts.txt)
set(_uplot_license ${_folder}/no_charts.txt)
if(UPLOT_DIR)
  set(_uplot_js ${UPLOT_DIR}/uPlot.iife.min.js)
  set(_uplot_css ${UPLOT_DIR}/uPlot.min.css)
  if(EXISTS ${UPLOT_DIR}/../LICENSE)
    set(_uplot_license ${UPLOT_DIR}/../LICENSE)
  endif()
else()
  message(WARNING "uPlot was not found: the dashboard will have no charts (./dev build fetches it)")
endif()
list(APPEND _files
  "/uplot.js|text/javascript|${_uplot_js}"
  "/uplot.css|text/css|${_uplot_css}"
  "/uplot-license.txt|text/plain|${_uplot_license}")

set(_sources)
foreach(_file ${_files})
  string(REGEX REPLACE "^.*\\|" "" _source "${_file}")
  list(APPEND _sources ${_source})
endforeach()
set(_generated ${CMAKE_CURRENT_BINARY_DIR}/dashboard_files.cc)
string(REPLACE ";" "," _listed "${_files}")
add_custom_command(OUTPUT ${_generated}
  COMMAND ${CMAKE_COMMAND} -DOUTPUT=${_generated} "-DFILES=${_listed}"
          -P ${CMAKE_CURRENT_SOURCE_DIR}/cmake/Embed.cmake
  DEPENDS ${_sources} ${CMAKE_CURRENT_SOURCE_DIR}/cmake/Embed.cmake
  COMMENT "Embedding the dashboard" VERBATIM)
target_sources(sluice_admin PRIVATE ${_generated})
